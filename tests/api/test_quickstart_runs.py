"""The finetunings of the quickstart: two at a time, in order, and ended together when one fails."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from atomfield import quickstart, quickstart_runs
from atomfield.data.errors import InputError
from atomfield.models import shipped
from atomfield.quickstart_tasks import TASKS

QUIET = Console(quiet=True)


def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: dict[str, str]) -> None:
    """Each finetuning is a program that notes its times; ``codes``: kind -> what it does instead."""

    def started(arguments, log, threads):
        kind, task = Path(arguments[arguments.index("--out") + 1]).parts[-1:-3:-1]
        file = str(tmp_path / (task + kind))
        note = f"import time; a = time.time(); time.sleep(0.3); open({file!r}, 'w').write(f'{{a}} {{time.time()}}')"
        return subprocess.Popen([sys.executable, "-c", codes.get(kind, note)])

    monkeypatch.setattr(quickstart_runs, "_started", started)


def test_two_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs(monkeypatch, tmp_path, {})
    runs = quickstart.finetunings(tmp_path)[:4]
    shown = quickstart_runs.finetune_all(runs, 0, "cpu", QUIET)
    assert len(shown) == 4 and shown[0].startswith("atomfield finetune --from scratch --train ")
    times = [tuple(map(float, f.read_text().split())) for f in tmp_path.iterdir() if f.is_file()]
    together = max(sum(a <= start < b for a, b in times) for start, _ in times)
    assert len(times) == 4 and together <= 2


@pytest.mark.parametrize(("code", "error"), [(2, InputError), (1, RuntimeError)])
def test_one_that_fails_ends_the_others(
    code: int, error: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs(
        monkeypatch,
        tmp_path,
        {"scratch": f"raise SystemExit({code})", "pretrained": "import time; time.sleep(60)"},
    )
    begun = time.monotonic()
    with pytest.raises(error, match="scratch of task_molecules"):
        quickstart_runs.finetune_all(quickstart.finetunings(tmp_path), 0, "cpu", QUIET)
    assert time.monotonic() - begun < 20


def test_the_shipped_model_is_a_beginning_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert quickstart.starts() == ["pretrained", "scratch"]
    (tmp_path / quickstart.SHIPPED).mkdir()
    (tmp_path / quickstart.SHIPPED / "config.json").write_text("{}")
    assert quickstart.starts() == ["shipped", "pretrained", "scratch"]
    runs = quickstart.finetunings(tmp_path)
    assert len(runs) == 3 * len(TASKS)
    assert {r.start for r in runs if r.kind == "shipped"} == {quickstart.SHIPPED}
    key = TASKS[1].metrics[0][0]
    metrics = {
        f"task_crystals/{kind}/{key}": value
        for kind, value in (("shipped", 2.0), ("pretrained", 3.0), ("scratch", 4.0))
    }
    table = quickstart.summary(metrics)
    assert list(table.columns)[2:5] == [
        "atomfield-s, finetuned",
        "pretrained here, finetuned",
        "from scratch",
    ]
    row = next(r for r in table.rows if r[1] == TASKS[1].metrics[0][1])
    assert row[2:5] == ["2.00", "3.00", "4.00"]
