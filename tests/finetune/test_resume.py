"""A finetuning that is ended midway goes on from its last state to the bits of one that nobody disturbed."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from atomfield.cli import main
from atomfield.data.errors import InputError, Interrupted, RunError
from atomfield.data.quantities import scalar_property
from atomfield.data.store import write_store
from atomfield.finetune import guard, resume, run, train
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import trained
from atomfield.models import checkpoint
from atomfield.pretrain import penalties
from atomfield.pretrain.checkpoint import complete
from tests.small import morse_clusters, small_network, waves

from .test_run import SMALL

STEPS = 12


class Killed(BaseException):
    """In place of a SIGKILL."""


@pytest.fixture(autouse=True)
def a_state_every_other_step(monkeypatch):
    """By a clock that each step moves, whatever writing costs."""
    clock = itertools.count()
    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(resume, "EVERY", 2.0)
    monkeypatch.setattr(resume, "SHARE", math.inf)
    monkeypatch.setattr(penalties, "SHORTEST", 3)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    return checkpoint.save(small_network(), tmp_path_factory.mktemp("resume") / "start")


def surface():
    graphs = morse_clusters(14)
    return Parts(graphs[:10], graphs[10:], graphs[10:], True)


def scores():
    """Property heads have a dropout, so the generator counts."""
    graphs = [
        replace(g, quantities={"score": torch.pdist(g.positions).mean().double()}, properties={"score": scalar_property("score")})
        for g in morse_clusters(14)
    ]  # fmt: skip
    return Parts(graphs[:10], graphs[10:], graphs[10:], True)


def flows():
    graphs = [replace(g, conditions={"diffusivity": 1.0}) for g in waves(5)]
    return Parts(graphs[:3], graphs[3:], graphs[3:], True)


def config_of(out, start, **options):
    given = {"from": str(start), "train": ("memory",), "target": ("energy", "forces"), "out": out, "steps": STEPS,
             "least_records": 1}  # fmt: skip
    own = {"network": SMALL} if str(start) == "scratch" else {}
    return FinetuneConfig(**{**given, **own, **options})


def quiet():
    return Console(file=io.StringIO(), width=300)


def weights_after(config, parts, console=None):
    return dict(trained(config, parts, console or quiet()).net.state_dict())


def log_of(config):
    rows = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def killed(monkeypatch, config, parts, step, how=None):
    """Run until the training step of this number is about to be made; ``how``: the signal that comes with it."""
    calls, real = itertools.count(1), train.training_step

    def killing(*given):
        if next(calls) == step:
            if how is None:
                raise Killed
            os.kill(os.getpid(), how)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(train, "training_step", killing)
        with pytest.raises(Killed if how is None else Interrupted) as caught:
            weights_after(config, parts)
    return caught.value


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert [k for k in first if not torch.equal(first[k], second[k])] == []


CASES = {
    "full": (scores, {"target": ("score",), "strategy": "full"}),
    "lora": (surface, {"strategy": "lora"}),
    "heads": (surface, {"strategy": "heads", "dtype": "float64"}),
    "scratch": (scores, {"from": "scratch", "target": ("score",)}),
    "replay": (surface, {"strategy": "full", "level": "mine"}),
    "trials": (flows, {"target": ("concentration",), "loss": {"physics": {"advection_diffusion": 3.0}}, "steps": 24}),
    "trials with dropout": (scores, {"target": ("score",), "loss": {"physics": {"net_charge": 1.0}}, "steps": 24}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_kills_at_any_step_change_no_bit(case, start, tmp_path, monkeypatch):
    data, options = CASES[case]
    parts = data()
    if case == "replay":
        old = [replace(g, group=f"old-{n}") for n, g in enumerate(morse_clusters(12, 5))]
        write_store(old, tmp_path / "old")
        options = {**options, "replay": (str(tmp_path / "old"),)}
    whole = config_of(tmp_path / "whole", start, **options)
    expected = weights_after(whole, parts)
    broken = whole.model_copy(update={"out": tmp_path / "broken"})
    rng = random.Random(case)
    for _ in range(2):
        killed(monkeypatch, broken, parts, rng.randint(3, STEPS // 2))
    console = quiet()
    assert_same(weights_after(broken, parts, console), expected)
    assert log_of(broken) == log_of(whole)
    assert "Going on from" in console.file.getvalue()
    assert not (broken.out / "unfinished").exists(), "a finished run keeps its state"
    if case == "trials":
        assert any("trial/off_advection_diffusion" in row for row in log_of(whole))


PROGRAM = """
import sys
from pathlib import Path
from atomfield.finetune import resume
from tests.finetune import test_resume as tests
resume.EVERY, resume.SHARE = 0.0, float("inf")
tests.weights_after(tests.config_of(Path(sys.argv[1]), "scratch", steps=30), tests.surface())
"""


def test_a_process_that_is_killed_leaves_a_state_to_go_on_from(tmp_path):
    whole, broken = (config_of(tmp_path / name, "scratch", steps=30) for name in ("whole", "broken"))
    expected = weights_after(whole, surface())
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", PROGRAM, str(broken.out)])
    while process.poll() is None and not complete(broken.out / "unfinished"):
        time.sleep(0.02)
    time.sleep(0.5 * random.random())
    process.kill()
    process.wait()
    assert_same(weights_after(broken, surface()), expected)
    assert log_of(broken) == log_of(whole)


def test_a_run_bounded_by_time_counts_what_was_spent(start, tmp_path, monkeypatch):
    """By a clock that its readings move: the rate goes on where it was, and the run is as long as the other."""
    clock = itertools.count()
    monkeypatch.setattr(train, "seconds_of", lambda name: lambda: 0.01 * next(clock))
    whole, broken = (
        config_of(tmp_path / name, start, steps=None, max_time=0.8) for name in ("whole", "broken")
    )
    weights_after(whole, surface())
    killed(monkeypatch, broken, surface(), 8)
    weights_after(broken, surface())
    rates = [{row["step"]: row["learning_rate"] for row in log_of(config)} for config in (whole, broken)]
    assert rates[0].keys() == rates[1].keys()
    assert list(rates[1].values()) == pytest.approx(list(rates[0].values()), rel=1e-6)


# ---------------------------------------------------------------- signals
def test_a_signal_saves_and_says_how_to_go_on(start, tmp_path, monkeypatch, capsys):
    write_store(morse_clusters(14), tmp_path / "data")
    command = ["finetune", "--from", str(start), "--train", str(tmp_path / "data"), "--target", "energy,forces", "--strategy",
               "heads", "--set", f"steps={STEPS}", "--set", "uncertainty=none", "--out", str(tmp_path / "run")]  # fmt: skip
    real, calls = train.training_step, itertools.count(1)
    asked = lambda *given: (next(calls) == 5 and os.kill(os.getpid(), signal.SIGTERM), real(*given))[1]  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(train, "training_step", asked)
        assert main(command) == 75
    folder = tmp_path / "run" / "unfinished"
    said = f"atomfield: SIGTERM: saved step 5 in {folder}; the same command goes on"
    assert capsys.readouterr().err.rstrip().endswith(said)
    assert [path.name for path in complete(folder)][-1] == "step-00000005"
    assert main([*command, "--set", "learning_rate=0.02"]) == 2
    assert "was given something else: learning_rate None -> 0.02. To go on" in capsys.readouterr().err
    assert "learning_rate: null" in (tmp_path / "run" / "config.yaml").read_text(), (
        "refused, it replaced the run's"
    )
    assert main(command) == 0
    assert f"Going on from {folder / 'step-00000005'} (step 5)" in capsys.readouterr().err
    assert not folder.exists() and (tmp_path / "run" / "report.html").exists()


def test_ctrl_c_goes_on_too(start, tmp_path, monkeypatch):
    whole, broken = (config_of(tmp_path / name, start, strategy="heads") for name in ("whole", "broken"))
    expected = weights_after(whole, surface())
    error = killed(monkeypatch, broken, surface(), 7, signal.SIGINT)
    assert error.code == 75 and str(error).startswith("SIGINT: saved step 7 in")
    assert_same(weights_after(broken, surface()), expected)


def test_a_full_disk_costs_the_state_and_not_the_run(start, tmp_path, monkeypatch, capsys):
    def full(*given, **named):
        raise RunError("the disk is full")

    monkeypatch.setattr(resume.checkpoint, "save", full)
    weights_after(config_of(tmp_path, start, strategy="heads"), surface())
    said = " ".join(capsys.readouterr().err.split())
    assert "the state of the training could not be kept, it goes on without: the disk is full" in said


@pytest.mark.parametrize("case", ["trials", "trials with dropout"])
def test_a_signal_in_a_trial_ends_it_at_once(case, start, tmp_path, monkeypatch):
    data, options = CASES[case]
    parts = data()
    whole, broken = (config_of(tmp_path / name, start, **options) for name in ("whole", "broken"))
    expected = weights_after(whole, parts)
    calls, real = itertools.count(1), guard.training_step

    def killing(*given):
        if (number := next(calls)) == 5:  # in the second copy
            os.kill(os.getpid(), signal.SIGTERM)
        assert number <= 5, "the trial goes on"
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(guard, "training_step", killing)
        with pytest.raises(Interrupted, match="SIGTERM: saved step 4 in"):
            weights_after(broken, parts)
    assert not any("trial/with_all" in row for row in log_of(broken))
    assert_same(weights_after(broken, parts), expected)
    assert log_of(broken) == log_of(whole)
    assert any("trial/with_all" in row for row in log_of(broken))


def test_a_signal_while_the_weights_are_chosen_is_heard(start, tmp_path, monkeypatch):
    """The first validation is made the best one, so that it has to be compared with the end."""
    judged = train.validate
    later = lambda net, ema, *rest: {k: v * ema.updates for k, v in judged(net, ema, *rest).items()}  # noqa: E731
    monkeypatch.setattr(train, "validate", later)
    whole, broken = (config_of(tmp_path / name, start, strategy="heads") for name in ("whole", "broken"))
    expected = weights_after(whole, surface())
    real = train.record_by_record
    asked = lambda *given: (os.kill(os.getpid(), signal.SIGTERM), real(*given))[1]  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(train, "record_by_record", asked)
        with pytest.raises(Interrupted, match="SIGTERM: saved step 12 in"):
            weights_after(broken, surface())
    monkeypatch.setattr(train, "training_step", lambda *given: pytest.fail("trained again"))
    assert_same(weights_after(broken, surface()), expected)


def test_what_follows_the_training_may_be_killed_too(start, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "EVERY", 0.0)
    whole, broken = (config_of(tmp_path / name, start, strategy="heads") for name in ("whole", "broken"))
    expected = weights_after(whole, surface())
    with monkeypatch.context() as patch:
        patch.setattr(run, "forgotten", lambda *given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            weights_after(broken, surface())
    monkeypatch.setattr(train, "training_step", lambda *given: pytest.fail("trained again"))
    assert_same(weights_after(broken, surface()), expected)


# ---------------------------------------------------------------- what does not fit
@pytest.fixture
def broken(start, tmp_path, monkeypatch):
    """A run that was interrupted after step 6."""
    config = config_of(tmp_path / "broken", start, strategy="heads")
    killed(monkeypatch, config, surface(), 6, signal.SIGTERM)
    return config


def refusal(config, parts):
    with pytest.raises(InputError) as caught:
        weights_after(config, parts)
    return str(caught.value)


def test_what_another_run_was_given_is_named(broken, start, tmp_path):
    parts = surface()
    said = refusal(broken.model_copy(update={"seed": 1, "steps": 20}), parts)
    assert said.startswith(
        f"{broken.out / 'unfinished'}: a training that was interrupted here was given something else: "
    )
    assert "seed 0 -> 1" in said and "steps 12 -> 20" in said
    assert "choose another --out, or remove this folder" in said
    wrong = replace(
        parts.train[3], quantities={**parts.train[3].quantities, "energy": torch.tensor(-31.0).double()}
    )
    said = refusal(broken, Parts([*parts.train[:3], wrong, *parts.train[4:]], parts.valid, parts.test, True))
    assert "training records (sha256 " in said and "validation records" not in said
    other = checkpoint.save(small_network(seed=1), tmp_path / "other")
    assert "the checkpoint of --from (sha256 " in refusal(
        broken.model_copy(update={"start": str(other)}), parts
    )


def older(monkeypatch):
    """States as a version wrote them that lacked two settings and did not look at the validation records."""
    real = resume.given

    def known(*given):
        found = real(*given)
        del found["settings"]["clock"], found["settings"]["loss"]["element"]
        del found["content"]["validation records"]
        return found

    monkeypatch.setattr(resume, "given", known)


def test_what_an_older_version_did_not_know_is_as_it_was_then(start, tmp_path, monkeypatch):
    config = config_of(tmp_path, start, strategy="heads")
    with monkeypatch.context() as patch:
        older(patch)
        killed(monkeypatch, config, surface(), 6, signal.SIGTERM)
    said = refusal(config.model_copy(update={"clock": "processor", "seed": 1}), surface())
    assert "given something else: clock wall -> processor; seed 0 -> 1. To go on" in said
    console = quiet()
    weights_after(config, surface(), console)
    assert "(step 6)" in console.file.getvalue()


def test_a_full_memory_leads_on(start, tmp_path, monkeypatch):
    """The smaller batches that come to mind are refused, with what to give instead; pieces go on with the same training."""
    whole, broken = (
        config_of(tmp_path / name, start, dtype="float64", strategy="full") for name in ("whole", "broken")
    )
    expected = weights_after(whole, surface())
    calls, real, sizes = itertools.count(1), train.training_step, []

    def full(engine, net, micro_batches, weights):
        sizes.append([m.batch.num_edges for m in micro_batches])
        if next(calls) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(engine, net, micro_batches, weights)

    monkeypatch.setattr(train, "training_step", full)
    with pytest.raises(RunError, match=r"full .* with batches of 2000 pairs.* --set piece_edges=1000"):
        weights_after(broken, surface())
    said = refusal(broken.model_copy(update={"max_edges": 50}), surface())
    assert "something else: max_edges None -> 50. For less memory leave the size of batches as it was" in said
    assert (
        "give --set piece_edges=N, which cuts the same batches into pieces of N pairs; to begin anew" in said
    )
    before, console = len(sizes), quiet()
    found = weights_after(broken.model_copy(update={"piece_edges": 50}), surface(), console)
    assert "(step 4)" in console.file.getvalue()
    assert all(len(one) == 1 for one in sizes[:before]) and any(len(one) > 1 for one in sizes[before:])
    assert max(map(max, sizes[before:])) <= 50 < max(map(max, sizes[:before]))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-6, atol=1e-9)


def test_another_limit_of_time_is_followed_from_where_the_training_is(start, tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(train, "seconds_of", lambda name: lambda: 0.01 * next(clock))
    config = config_of(tmp_path, start, steps=None, max_time=0.8, strategy="heads")
    killed(monkeypatch, config, surface(), 8)
    console = quiet()
    weights_after(config.model_copy(update={"max_time": 1.6}), surface(), console)
    assert "the schedule follows what changed: max_time 0.8 -> 1.6" in console.file.getvalue()
    rows = log_of(config)
    times = [json.loads(line)["seconds"] for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert 1.5 < times[-1] < 1.7 and times == sorted(times)
    assert rows[-1]["learning_rate"] < 0.1 * max(row["learning_rate"] for row in rows)


def test_what_does_not_touch_the_weights_may_change(broken, tmp_path):
    out = shutil.move(broken.out, tmp_path / "moved")
    moved = broken.model_copy(update={"out": Path(out), "uncertainty": "none", "train": ("elsewhere",)})
    console = quiet()
    weights_after(moved, surface(), console)
    assert "(step 6)" in console.file.getvalue()


def test_the_folder_of_a_pretraining_is_left_alone(start, tmp_path):
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    assert (
        refusal(config_of(tmp_path, start), surface())
        == f"{tmp_path}: is the folder of a pretraining; choose another --out"
    )
    assert [path.name for path in complete(tmp_path / "checkpoints")] == ["step-00000002"]


def test_damage_is_found_and_the_file_is_named(broken):
    newest = complete(broken.out / "unfinished")[-1]
    rng = random.Random(0)
    assert {"training.safetensors", "ema.safetensors", "best.safetensors", "constants.safetensors", "random.safetensors",
            "trainer.json", "manifest.json"} == {file.name for file in newest.iterdir()}  # fmt: skip
    for file in sorted(newest.iterdir()):
        whole = file.read_bytes()
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(data))
        said = refusal(broken, surface())
        assert (
            f"{file.name}: " in said and "damaged" in said and f"remove the folder {newest} to go on" in said
        )
        file.write_bytes(whole)
    log = broken.out / "metrics.jsonl"
    log.write_text("")
    assert "metrics.jsonl: has 0 rows up to step 6, the state has" in refusal(broken, surface())
