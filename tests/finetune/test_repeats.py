"""A finetuning can be repeated."""

import io
import json

from rich.console import Console

from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from tests.small import morse_clusters


def test_the_same_command_gives_the_same_model_whatever_the_clock_says(tmp_path, monkeypatch):
    """The machine was busy, or not: validations come at the same steps, so the same weights are the best."""
    graphs = morse_clusters(24)
    parts = Parts(graphs[:16], graphs[16:20], graphs[20:])
    found = []
    for number, slow in enumerate((0.0, 3.0)):
        passed = iter(range(10**6))
        monkeypatch.setattr(
            "atomfield.pretrain.schedule.time.monotonic", lambda slow=slow, passed=passed: slow * next(passed)
        )
        config = FinetuneConfig(
            **{
                "from": "scratch", "train": ("memory",), "target": ("energy", "forces"), "steps": 40, "network": "xs",
                "out": tmp_path / f"run{number}", "least_records": 1, "uncertainty": "none",
            }
        )  # fmt: skip
        finetune(config, parts, console=Console(file=io.StringIO()))
        rows = [
            json.loads(line)
            for line in (tmp_path / f"run{number}" / "metrics.jsonl").read_text().splitlines()
        ]
        found.append([{k: v for k, v in row.items() if k != "seconds"} for row in rows])
    assert sum("valid_score" in row for row in found[0]) > 5
    assert found[0] == found[1]
