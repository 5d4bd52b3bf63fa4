"""Going on from a checkpoint when something is not as it was: the records, the order of the sources, the disk, the folder."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from atomfield.data.errors import InputError, RunError
from atomfield.data.store import write_store
from atomfield.models import checkpoint
from atomfield.pretrain import checkpoint as training_checkpoint
from atomfield.pretrain import resume, state, stopping
from atomfield.pretrain.alone import alone_in
from atomfield.pretrain.loop import Position
from atomfield.pretrain.resume import changed, drop_rows_after
from atomfield.pretrain.stopping import StopRequest
from tests.pretrain.launch import OPTIONS, launch, rows
from tests.pretrain.test_start import temperatures
from tests.small import morse_clusters

pytest.importorskip("deepspeed", reason="needs the extra atomfield[train]")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumed")
    weak, strong = morse_clusters(24, 0, "weak"), morse_clusters(24, 1, "strong")
    write_store(weak, folder / "weak")
    write_store(strong, folder / "strong")
    for graph in strong:
        graph.quantities["forces"] *= 3
    write_store([*strong, *[replace(g, group=f"more-{g.group}") for g in strong]], folder / "stronger")
    bare = [replace(g, quantities={}) for g in weak]
    write_store([*weak[:16], *bare], folder / "gaps")
    write_store(
        [replace(g, group=f"{g.group}-{n}") for n, g in enumerate(temperatures(300.0, count=8))],
        folder / "kelvin",
    )

    def entry(name, *sources, **options):
        streams = [{"source": str(folder / s), "micro_batches": 1, "max_edges": 60} for s in sources]
        base = {**OPTIONS, "steps": 4, "save_every": 2, "streams": streams}
        return {**base, "out": str(folder / name), "report": str(folder / f"{name}-said"), **options}

    def changed(name, *sources, **options):
        return {**entry(name, *sources, **options), "report": str(folder / f"{name}-then")}

    def flow(name, **options):
        streams = [
            {
                "source": str(folder / "kelvin"),
                "objective": "next_step",
                "micro_batches": 1,
                "max_edges": 1100,
            }
        ]
        return entry(name, **{"streams": streams, **options})

    plan = [
        entry("records", "weak", "strong"),
        changed("records", "weak", "stronger", steps=6),
        entry("order", "weak", "strong"),
        changed("order", "strong", "weak", steps=6),
        entry("full", "weak", inject={"full": [3]}),
        changed("full", "weak"),
        entry("whole", "weak"),
        entry(
            "gaps", "gaps", streams=[{"source": str(folder / "gaps"), "micro_batches": 1, "max_edges": 20}]
        ),
        entry("spectator", "weak", wandb="offline"),
        changed("whole", "weak"),
        {**entry("whole", "weak", loss={"forces": 1.0}), "report": str(folder / "whole-other")},
        {**entry("whole", "weak", steps=3, max_time=1e-3), "report": str(folder / "whole-fewer")},
        entry("foreign", "weak"),
        flow("older", steps=6, inject={"uncentred": [], "crash": [5]}),
        {**flow("older", steps=6), "report": str(folder / "older-then")},
        flow("whole_older", steps=6, inject={"uncentred": []}),
        flow("newer"),
        {**flow("newer", steps=6), "report": str(folder / "newer-then")},
    ]
    (folder / "wandb.py").write_text(
        "def init(**options): raise RuntimeError('no service')\nSettings = dict\n"
    )
    (folder / "foreign" / "model").mkdir(parents=True)
    (folder / "foreign" / "metrics.jsonl").write_text("of a finetuning\n")
    launch(1, plan, folder)
    return folder


def said(runs, name):
    return (runs / f"{name}-0").read_text()


def constants(run, step):
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "constants.safetensors")


def test_scales_stay_those_that_the_weights_were_trained_with(runs):
    """The records were others at the second start: fitted anew, the energy scale would be larger under the same weights."""
    assert said(runs, "records-then") == "done"
    before, after = constants(runs / "records", 4), constants(runs / "records", 6)
    assert before.keys() == after.keys() and "atom_head.energy_scale" in before
    assert all(before[name].equal(after[name]) for name in before)
    published = checkpoint.load(runs / "records" / "model")
    assert published.atom_head.energy_scale.equal(before["atom_head.energy_scale"])


def test_a_run_of_a_version_that_centred_no_field_goes_on_as_it_was(runs):
    """Its weights learnt kelvin as they are; read as distances from the mean they would mean something else."""
    assert said(runs, "older-then") == said(runs, "newer-then") == "done"
    before, after = constants(runs / "older", 4), constants(runs / "older", 6)
    assert before.keys() == after.keys() and "backbone.embedding.input_mean" not in before
    assert all(before[name].equal(after[name]) for name in before)
    assert checkpoint.load(runs / "older" / "model").config.centred == ()
    for a, b in zip(rows(runs / "older"), rows(runs / "whole_older"), strict=True):
        assert a["train_loss"].hex() == b["train_loss"].hex()
    published = checkpoint.load(runs / "newer" / "model")
    assert published.config.centred == ("temperature",)
    mean = published.backbone.embedding.input_mean[0, published.config.field_inputs.index("temperature")]
    assert float(mean) == pytest.approx(300.0, abs=0.1)


def test_a_run_at_its_end_takes_no_other_settings(runs):
    """They would stand in its config.yaml beside weights that were trained with others."""
    assert said(runs, "whole-then") == said(runs, "whole-fewer") == "done"
    text = said(runs, "whole-other")
    assert text.startswith("InputError: ") and "has come to its end (step 4 of 4)" in text
    assert "loss.forces 10.0 -> 1.0. Give more `steps`, or another `out`" in text
    assert "forces: 10.0" in (runs / "whole" / "config.yaml").read_text()


def test_the_folder_of_another_run_is_left_alone(runs):
    text = said(runs, "foreign-said")
    assert text.startswith("InputError: ") and "holds a model and no training checkpoint" in text
    assert (runs / "foreign" / "metrics.jsonl").read_text() == "of a finetuning\n"
    assert not (runs / "foreign" / "config.yaml").exists()


def test_exchanged_sources_are_refused(runs):
    """Rows of heads are in the order of the levels, so weights would be those of another level, in tensors of one shape."""
    text = said(runs, "order-then")
    assert text.startswith("InputError: ")
    assert (
        "its network has levels ['weak', 'strong'], that of this configuration and its records ['strong', 'weak']"
        in text
    )
    first = (runs / "order" / "config.yaml").read_text()
    assert first.index("/weak") < first.index("/strong"), "the refused configuration replaced the run's own"


def test_a_disk_that_is_full_when_a_row_is_written(runs):
    text = said(runs, "full-said")
    assert text.startswith("RunError: ") and "the disk is full" in text and "step-00000002" in text
    assert said(runs, "full-then") == "done"
    for a, b in zip(rows(runs / "full"), rows(runs / "whole"), strict=True):
        assert a["train_loss"].hex() == b["train_loss"].hex()


def test_micro_batches_without_any_label_add_nothing(runs):
    assert said(runs, "gaps-said") == "done"
    assert len(rows(runs / "gaps")) == 4


def test_a_run_does_not_die_of_wandb(runs):
    assert said(runs, "spectator-said") == "done"
    assert len(rows(runs / "spectator")) == 4


def test_the_end_of_the_record_is_cut_off_and_the_rest_not_written_again(tmp_path, monkeypatch):
    file = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": n, "train_loss": 1.0}) + "\n" for n in range(1, 6)]
    file.write_text("".join(lines) + lines[0][:9])
    monkeypatch.setattr(Path, "write_text", None)  # a full disk: what is written anew is lost
    with file.open("a") as record:
        drop_rows_after(file, 3)
        record.write("more\n")
    assert file.read_text() == "".join(lines[:3]) + "more\n"


def test_what_a_rollback_gave_up_counts_as_time_spent(tmp_path, monkeypatch):
    """A run with a limit of time that goes back three times would take up to four times as long."""
    monkeypatch.setattr(training_checkpoint, "complete", lambda folder: [folder / "step-00000008"])
    monkeypatch.setattr(
        resume, "_restore", lambda run, folder: setattr(run, "here", Position(step=8, seconds=20.0))
    )
    run = SimpleNamespace(
        here=Position(step=13, seconds=50.0, data_ahead=2, rollbacks=1),
        checkpoints=tmp_path,
        guard=SimpleNamespace(spikes=[10, 13]),
    )
    record = SimpleNamespace(skipped=lambda row: None)
    resume.roll_back(run, record, SimpleNamespace(print=lambda text: None))
    assert run.here == Position(step=8, seconds=50.0, data_ahead=7, rollbacks=2)
    assert run.guard.spikes == []


def test_a_program_may_pretrain_twice(tmp_path):
    """As a notebook does; DeepSpeed remembered the process group of the first run."""
    write_store(morse_clusters(8), tmp_path / "atoms")
    streams = [{"source": str(tmp_path / "atoms"), "micro_batches": 1, "max_edges": 60}]
    runs = [{**OPTIONS, "streams": streams, "steps": 1, "out": str(tmp_path / name)} for name in "ab"]
    code = (
        "import json, sys; from atomfield.pretrain.config import PretrainConfig; from atomfield.pretrain.run import pretrain\n"
        "for options in json.loads(sys.argv[1]): pretrain(PretrainConfig(**options))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(runs)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "b" / "model" / "model.safetensors").is_file()


def test_a_folder_has_one_run(tmp_path):
    with alone_in(tmp_path, main=True):
        with alone_in(tmp_path, main=False):
            pass
        with (
            pytest.raises(InputError, match="another run is writing into this folder"),
            alone_in(tmp_path, main=True),
        ):
            raise AssertionError
    with alone_in(tmp_path, main=True):
        pass


def test_the_second_ctrl_c_ends_at_once():
    with StopRequest() as request:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # torchrun's own, right behind that of the terminal
        assert request.wanted == "SIGINT"
        request._since -= 2.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_that_failed_can_say_so_before_a_signal_ends_it(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 0.3)
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with pytest.raises(RunError), StopRequest():
            raise RunError("another rank is gone")
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert not came
        end = time.monotonic() + 20
        while not came and time.monotonic() < end:
            time.sleep(0.01)
        assert came == [signal.SIGTERM]
        with StopRequest():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert len(came) == 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_changed_setting_is_told_by_its_place():
    before = {
        "streams": [{"source": "a", "weight": 1.0}],
        "steps": 60,
        "log_every": 1,
        "loss": {"physics": {}},
    }
    now = {
        "streams": [{"source": "a", "weight": 2.0}, {"source": "b"}],
        "steps": 60,
        "log_every": 5,
        "loss": {"physics": {}},
    }
    assert changed(before, now) == ["streams.0.weight 1.0 -> 2.0", "streams.1.source not there -> b"]
    assert changed(now, before)[1] == "streams.1.source b -> not there"
    assert changed(now, now) == []


@pytest.mark.parametrize(("setting", "device"), [({"fused": True}, "meta"), ({"fused": False}, "cpu")])
def test_counts_of_steps_go_where_the_optimiser_keeps_them(setting, device):
    """A fused optimiser on a GPU has them beside the weights; on the CPU it would stop with an error at the next step."""
    engine = SimpleNamespace(client=SimpleNamespace(param_groups=[setting]))
    found = state._counts(engine, {"step": 7.0}, torch.zeros(3, device="meta"))
    assert found["step"].device.type == device
    if device == "cpu":
        assert float(found["step"]) == 7
