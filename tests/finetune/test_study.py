"""Folds, learning curves and searches: what is trained on what, and what they write."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.data.quantities import scalar_property
from atomfield.data.store import write_store
from atomfield.finetune import parts as reading
from atomfield.finetune import trained_on
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.folds import by_groups, summary
from atomfield.finetune.learning_curve import part_of
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.study import study
from atomfield.models import checkpoint
from tests.small import morse_clusters, small_network


@pytest.fixture
def start(tmp_path) -> Path:
    return checkpoint.save(small_network(), tmp_path / "start")


def scored(count, seed=0):
    return [
        replace(g, quantities={"score": torch.pdist(g.positions).mean().double()}, properties={"score": scalar_property("score")},
                id=f"mol-{i}", group=f"group-{seed}-{i}")
        for i, g in enumerate(morse_clusters(count, seed=seed, level=""))
    ]  # fmt: skip


def settings(start, tmp_path, **options):
    write_store(scored(40), tmp_path / "data") if not (tmp_path / "data").exists() else None
    given = {
        "from": str(start),
        "train": (str(tmp_path / "data"),),
        "target": ("score",),
        "strategy": "frozen",
    }
    return FinetuneConfig(**{**given, "out": tmp_path / "run", "pooling": "mean", **options})


def quiet(width=200):
    return Console(file=io.StringIO(), width=width)


def test_an_evaluation_on_training_records_says_so(start, tmp_path, capsys):
    study(settings(start, tmp_path, uncertainty="none"), quiet())
    write_store(scored(8, seed=9), tmp_path / "new")
    words = ["--target", "score", "--out", str(tmp_path / "judged")]
    assert main(["evaluate", str(tmp_path / "run"), str(tmp_path / "data"), *words]) == 0
    said = "32 of 40 records have the molecule of a record that this checkpoint was trained on: their errors say nothing about"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in (tmp_path / "judged" / "report.html").read_text()
    assert main(["evaluate", str(tmp_path / "run"), str(tmp_path / "new"), *words]) == 0
    assert "was trained on" not in capsys.readouterr().out
    more = settings(
        tmp_path / "run", tmp_path, train=(str(tmp_path / "new"),), out=tmp_path / "more", least_records=1
    )
    study(more, quiet())
    assert trained_on.note(tmp_path / "more", scored(40)).startswith("32 of 40 records"), (
        "the start's are forgotten"
    )
    (tmp_path / "more" / "model" / trained_on.FILE).write_text("[]")
    with pytest.raises(InputError, match="trained_on.json: is damaged"):
        trained_on.note(tmp_path / "more", scored(8))
    assert trained_on.note(start, scored(8)) == ""


# ---------------------------------------------------------------- folds
def test_every_record_is_tested_once_and_the_spread_is_told(start, tmp_path):
    console = quiet()
    metrics = study(settings(start, tmp_path, folds=3), console)
    folds = [json.loads((tmp_path / "run" / f"fold_{k}" / "metrics.json").read_text()) for k in range(3)]
    values = [f["score_mae"] for f in folds]
    assert metrics["score_mae"] == pytest.approx(np.mean(values))
    assert metrics["score_mae_std"] == pytest.approx(np.std(values, ddof=1))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["folds"] == 3
    assert "±" in console.file.getvalue() and (tmp_path / "run" / "report.html").exists()
    tested = [line.split(",")[0] for k in range(3)
              for line in (tmp_path / "run" / f"fold_{k}" / "predictions.csv").read_text().splitlines()[1:]]  # fmt: skip
    assert len(tested) == 40
    assert checkpoint.load(tmp_path / "run" / "fold_1")


def test_groups_stay_together_in_folds():
    groups = [f"g{i // 3}" for i in range(30)]
    folds = by_groups(groups, 4, seed=0)
    assert sorted(i for its in folds.values() for i in its) == list(range(30))
    of = {i: name for name, its in folds.items() for i in its}
    assert all(len({of[i] for i in range(30) if groups[i] == g}) == 1 for g in groups)
    assert max(map(len, folds.values())) - min(map(len, folds.values())) <= 3
    assert sorted(map(len, by_groups(["one"] * 10, 5, 0).values())) == [2] * 5
    with pytest.raises(InputError, match="found 2 records, expected at least one for each of 3 folds"):
        by_groups(["a", "b"], 3, 0)


def test_official_folds_are_read_by_id(start, tmp_path):
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"a": ["mol-1", "mol-5"], "b": ["mol-2", "mol-3", "mol-7"]}))
    metrics = study(settings(start, tmp_path, folds=str(file), by_id="id"), quiet())
    assert metrics["folds"] == 2
    assert len((tmp_path / "run" / "b" / "predictions.csv").read_text().splitlines()) == 4
    file.write_text(json.dumps({"train": [0, 1], "test": [2]}))
    with pytest.raises(InputError, match="it is one split"):
        study(settings(start, tmp_path, folds=str(file)), quiet())
    assert set(summary({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0}})) == {"folds", "x", "x_std"}


# ---------------------------------------------------------------- learning curve
def test_a_curve_has_nested_parts_and_its_control(start, tmp_path):
    write_store(scored(12, seed=9), tmp_path / "test")
    config = settings(
        start, tmp_path, test=(str(tmp_path / "test"),), learning_curve=(12, "all"), control=True, steps=4
    )
    metrics = study(config, quiet())
    assert {"score_mae_at_12", "score_mae_at_32", "scratch_score_mae_at_12", "score_mae"} <= set(metrics)
    assert metrics["score_mae"] == metrics["score_mae_at_32"] < metrics["baseline_score_mae"]
    assert (tmp_path / "run" / "learning_curve.png").stat().st_size > 5000
    control = tmp_path / "run" / "train_12" / "scratch"
    assert checkpoint.read_config(control).channels == 8
    assert not (control / "finished.json").exists(), "the run beside it is finished, too"
    with pytest.raises(InputError, match="found 32 training records, expected at least 500"):
        study(config.model_copy(update={"learning_curve": (500,), "out": tmp_path / "b"}), quiet())


def test_a_smaller_part_is_within_a_larger_one():
    graphs = scored(40)
    whole = Parts(graphs[:30], graphs[30:], [])
    small, large = (part_of(whole, n, 0) for n in (5, 20))
    assert {g.id for g in small.train} < {g.id for g in large.train}
    assert len(small.train) == 5 and len(small.valid) == 10 and len(part_of(whole, 30, 0).valid) == 10


# ---------------------------------------------------------------- search
def test_a_search_goes_on_and_leaves_the_test_part_alone(start, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    write_store(scored(12, seed=9), tmp_path / "test")
    opened = []
    original = reading.open_source

    def noted(source, *rest):
        opened.append(Path(source).name)
        return original(source, *rest)

    monkeypatch.setattr(reading, "open_source", noted)
    config = settings(start, tmp_path, test=(str(tmp_path / "test"),), strategy="heads", steps=4, search=2)
    from atomfield.finetune.search import search

    console = quiet()
    search(config, console)
    assert opened == ["data"]
    rows = json.loads((tmp_path / "run" / "search" / "trials.json").read_text())
    assert len(rows) == 2 and rows[0]["rate_factor"] == 1.0 and "best: trial" in console.file.getvalue()
    metrics = study(config.model_copy(update={"search": 3}), console)
    assert opened[-1] == "test" and np.isfinite(metrics["score_mae"])
    again = json.loads((tmp_path / "run" / "search" / "trials.json").read_text())
    assert len(again) == 3 and again[:2] == rows
    assert (tmp_path / "run" / "model").is_dir() and not (
        tmp_path / "run" / "search" / "trial_000" / "model"
    ).exists()
    with pytest.raises(InputError, match="has trials of other data or settings: steps 4 -> 5; give"):
        search(config.model_copy(update={"steps": 5}), quiet())


def test_each_fold_has_a_search_that_never_sees_its_test_records(start, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    seen = []

    def judged(one, parts, console):
        seen.append((one.out, {g.id for g in [*parts.train, *parts.valid, *parts.test]}))
        return abs(np.log(one.learning_rate / (2e-2 if "fold_0" in str(one.out) else 3e-3)))

    monkeypatch.setattr("atomfield.finetune.search.validation_score", judged)
    config = settings(start, tmp_path, strategy="heads", steps=4, folds=2, search=3)
    console = quiet()
    with monkeypatch.context() as patch:
        patch.setattr("atomfield.finetune.nested.finetune", stop_at(2))
        with pytest.raises(KeyboardInterrupt):
            study(config, console)
    assert (
        "nested search: 2 folds x (3 trials and one run) = 8 trainings of 4 steps each"
        in console.file.getvalue()
    )
    assert len(seen) == 6
    metrics = study(config, console)
    assert len(seen) == 6 and console.file.getvalue().count("finished before") == 1
    assert np.isfinite(metrics["score_mae"]) and metrics["folds"] == 2
    rates = []
    for k in range(2):
        folder = tmp_path / "run" / f"fold_{k}"
        trials = json.loads((folder / "search" / "trials.json").read_text())
        best = min(trials, key=lambda t: t["score"])
        rates.append(yaml.safe_load((folder / "config.yaml").read_text())["learning_rate"])
        assert rates[-1] == pytest.approx(1e-2 * best["rate_factor"])
        tested = {line.split(",")[0] for line in (folder / "predictions.csv").read_text().splitlines()[1:]}
        used = set.union(*[ids for out, ids in seen if folder in out.parents])
        assert len(tested) == 20 and len(used) == 20
    with pytest.raises(InputError, match="has trials of other data or settings"):
        study(config.model_copy(update={"folds": 4}), quiet())


def test_a_trial_that_was_interrupted_goes_on_and_one_that_failed_does_not(start, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from atomfield.finetune.search import search

    errors = iter([None, KeyboardInterrupt, None, RuntimeError, None])
    seen = []

    def judged(one, parts, console):
        error = next(errors)
        seen.append((one.out.name, one.learning_rate))
        if error is not None:
            raise error
        return 1.0

    monkeypatch.setattr("atomfield.finetune.search.validation_score", judged)
    config = settings(start, tmp_path, strategy="heads", steps=4, search=3)
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error):
            search(config, quiet())
    search(config, quiet())
    folders, rates = zip(*seen, strict=True)
    assert folders[:3] == ("trial_000", "trial_001", "trial_001") and rates[1] == rates[2] != rates[0]
    assert folders[4] != folders[3] and len(seen) == 5
    rows = json.loads((tmp_path / "run" / "search" / "trials.json").read_text())
    assert rows[0]["rate_factor"] == 1.0 and len(rows) == 3


def test_finished_folds_and_controls_are_not_trained_again_unless_their_records_changed(
    start, tmp_path, monkeypatch
):
    config = settings(start, tmp_path, folds=2, control=True, strategy="heads", steps=2, uncertainty="none")
    trained = []

    def stopping(number):
        def run(config, *rest, **named):
            trained.append(config.out.relative_to(tmp_path / "run").as_posix())
            if len(trained) == number:
                raise KeyboardInterrupt
            config.out.mkdir(parents=True, exist_ok=True)
            return {"score_mae": float(len(trained)), "baseline_score_mae": 2.0}

        monkeypatch.setattr("atomfield.finetune.nested.finetune", run)
        monkeypatch.setattr("atomfield.finetune.run.finetune", run)
        trained.clear()

    stopping(4)
    with pytest.raises(KeyboardInterrupt):
        study(config, quiet())
    assert trained == ["fold_0/scratch", "fold_0", "fold_1/scratch", "fold_1"]
    stopping(0)
    console = quiet()
    metrics = study(config, console)
    assert trained == ["fold_1"] and console.file.getvalue().count("finished before") == 2
    assert study(config, console) == metrics and trained == ["fold_1"]
    older = config.out / "fold_0" / "finished.json"
    kept = json.loads(older.read_text())
    del kept["asked"]["given"]["settings"]["clock"]  # as a version wrote it that had no such setting
    older.write_text(json.dumps(kept))
    study(config, console)
    assert trained == ["fold_1"]
    changed = scored(40)
    changed[7].quantities["score"] += 1
    shutil.rmtree(tmp_path / "data")
    write_store(changed, tmp_path / "data")
    study(config, console)
    assert len(trained) == 5


def stop_at(number):
    """As ``finetune``, but interrupted at the call of this number."""
    calls = []

    def run(*rest, **named):
        calls.append(rest)
        if len(calls) == number:
            raise KeyboardInterrupt
        return finetune(*rest, **named)

    return run


def test_a_curve_searches_at_each_number_of_records(start, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    write_store(scored(12, seed=9), tmp_path / "test")
    sizes = []

    def judged(one, parts, console):
        sizes.append((len(parts.train), parts.test_is_valid))
        return 1.0

    monkeypatch.setattr("atomfield.finetune.search.validation_score", judged)
    config = settings(
        start,
        tmp_path,
        strategy="heads",
        test=(str(tmp_path / "test"),),
        learning_curve=(12, "all"),
        steps=2,
        search=2,
    )
    metrics = study(config, quiet())
    assert sizes == [(12, True), (12, True), (32, True), (32, True)]
    assert {"score_mae_at_12", "score_mae_at_32"} <= set(metrics)


def test_a_search_without_optuna_says_what_to_install(start, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"needs Optuna: pip install 'atomfield\[search\]'"):
        study(settings(start, tmp_path, search=2), quiet())


# ---------------------------------------------------------------- the command line
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folds", "1"], "folds is 1, expected 2 or more"),
        (["--folds", "5", "--test", "x.csv"], "leave out valid and test"),
        (["--folds", "5", "--learning-curve", "20"], "folds and learning_curve are asked for at once"),
        (["--by-id", "name"], "by_id is for a file of folds"),
        (["--learning-curve", "50,most"], "found 'most', expected numbers of records such as 50,200,all"),
        (["--strategy", "scratch", "--control"], "control is the run from scratch"),
    ],
)
def test_settings_that_do_not_go_together(capsys, tmp_path, words, said):
    code = main(
        ["finetune", "--from", "c", "--train", "a.csv", "--target", "y", "--out", str(tmp_path / "r"), *words]
    )
    assert code == 2
    assert said in capsys.readouterr().err
