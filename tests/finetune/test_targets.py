"""Targets that are more than one number, several at once and with gaps: each is learned, measured and written."""

import csv
import io
from dataclasses import replace

import ase.io
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from ase import Atoms
from rich.console import Console

from atomfield.cli import main
from atomfield.data.errors import InputError, Provenance
from atomfield.data.quantities import declared_property
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.tasks import task_of
from atomfield.inference.predict import described
from atomfield.inference.write import write_predictions
from atomfield.model import load
from atomfield.pretrain.property_fits import fit_property
from tests.small import morse_clusters, waves

SMALL = {"channels": 8, "channels_unnatural": 4, "lmax": 2, "layers": 1, "radial_hidden": 8, "head_hidden": 8}
DECLARED = {
    "polar": "0e+2e",
    "born": "0e+1e+2e/atom",
    "dos": "6x0e",
    "shift": "0e/atom",
    "phase": "0e",
    "toxic": "0e",
}
PHASES = ("cubic", "hexagonal", "other")


def labelled(count):
    """Functions of the geometry that a small network can learn in a few steps, a third of some left out."""
    rng = np.random.default_rng(0)
    graphs = morse_clusters(count, level="")
    spread = [float(torch.pdist(g.positions).mean()) for g in graphs]
    thirds, middle = np.quantile(spread, [1 / 3, 2 / 3]), np.median(spread)
    found = []
    for graph, size in zip(graphs, spread, strict=True):
        x = graph.positions - graph.positions.mean(0)
        near = torch.exp(-torch.cdist(x, x)) - torch.eye(5, dtype=torch.float64)
        apart = x[:, None] - x[None]
        shift = near.sum(1) + graph.species.double()
        if rng.random() < 0.3:
            shift[0] = float("nan")
        values = {
            "polar": torch.einsum("ni,nj->ij", x, x),
            "born": torch.einsum("nk,nki,nkj->nij", near, apart, apart),
            "dos": torch.exp(-((size - torch.linspace(1.5, 2.2, 6, dtype=torch.float64)) ** 2) / 0.05),
            "shift": shift,
            "phase": torch.tensor(float((size > thirds).sum()), dtype=torch.float64),
            "toxic": torch.tensor(float(size > middle), dtype=torch.float64),
        }
        for name in ("phase", "toxic"):
            if rng.random() < 0.3:
                del values[name]
        own = {n: declared_property(n, DECLARED[n]) for n in values}
        found.append(replace(graph, quantities=values, properties=own))
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    graphs = labelled(70)
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("m",), "test": ("m",), "target": tuple(DECLARED), "network": SMALL, "steps": 60,
           "learning_rate": 1e-2, "nonnegative": ("dos",), "classes": {"phase": PHASES},
           "out": tmp_path_factory.mktemp("targets")}
    )  # fmt: skip
    parts = Parts(graphs[:40], graphs[40:55], graphs[55:])
    return config, parts, finetune(config, parts, console=Console(file=io.StringIO()))


@pytest.mark.parametrize("key", ["polar_mae", "born_mae", "dos_mae", "shift_mae", "phase_log_loss"])
def test_each_is_learned(trained, key):
    metrics = trained[2]
    assert metrics[key] < 0.95 * metrics[f"baseline_{key}"]


def test_each_is_measured_as_its_kind(trained):
    metrics = trained[2]
    assert {"polar_isotropic_mae", "polar_anisotropy_mae", "born_relative_error", "dos_sum_relative_rmse",
            "phase_macro_f1", "phase_macro_roc_auc", "toxic_roc_auc", "toxic_brier", "polar_interval90_coverage",
            "shift_interval90_coverage"} <= set(metrics)  # fmt: skip
    assert 0.7 < metrics["born_interval90_coverage"] <= 1


def test_files_and_pictures_are_there(trained):
    config = trained[0]
    names = {p.name for p in config.out.iterdir()}
    assert {
        "worst.png",
        "parity.png",
        "classifier_phase.png",
        "calibration.png",
        "predictions.extxyz",
    } <= names
    card = (config.out / "model" / "README.md").read_text()
    for part in (
        "irreps 0e+1e+2e, per atom",
        "classes cubic, hexagonal, other",
        "| polar_mae |",
        "Intervals are conformal",
    ):
        assert part in card, part


def test_predictions_have_their_shapes_and_columns(trained, tmp_path):
    config, parts, _ = trained
    model = load(config.out)
    graphs = [replace(g, quantities={}, properties={}) for g in parts.test[:3]]
    found = model.predict(graphs)
    one = found[0]
    assert one["polar"].shape == (3, 3) and one["born"].shape == (5, 3, 3) and one["shift"].shape == (5,)
    assert (one["dos_lower"] >= 0).all() and one["born_std"].shape == (5,)
    assert sum(float(one[f"phase_p_{c}"]) for c in PHASES) == pytest.approx(1.0)
    assert float(one["phase"]) in (0.0, 1.0, 2.0) and 0 <= float(one["toxic"]) <= 1
    path = write_predictions([described(g, model.net.config) for g in graphs], found, tmp_path / "out.csv")
    row = next(csv.DictReader(path.read_text().splitlines()))
    assert {
        "polar_xx",
        "polar_yz",
        "polar_std",
        "polar_lower_xx",
        "dos_0",
        "dos_5",
        "phase_p_cubic",
        "ood_score",
    } <= set(row)
    assert "born" not in row and "polar_yx" not in row


def test_files_of_predictions_have_the_names_of_classes(trained, tmp_path):
    config, parts, _ = trained
    frames = ase.io.read(config.out / "predictions.extxyz", ":")
    for atoms, graph in zip(frames, parts.test, strict=True):
        chances = [atoms.info[f"phase_p_{c}"] for c in PHASES]
        assert atoms.info["phase"] == PHASES[int(np.argmax(chances))]
        label = graph.quantities.get("phase")
        assert atoms.info.get("REF_phase") == (None if label is None else PHASES[int(label)])
    assert sum("REF_phase" in atoms.info for atoms in frames) > 3
    bare = [Atoms(g.species.numpy(), g.positions.numpy()) for g in parts.test[:3]]
    ase.io.write(tmp_path / "bare.xyz", bare)
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"out.{suffix}"
        assert main(["predict", str(config.out), str(tmp_path / "bare.xyz"), "--out", str(out)]) == 0
        table = (pyarrow.csv.read_csv if suffix == "csv" else pyarrow.parquet.read_table)(out)
        for row in table.to_pylist():
            assert row["phase"] == max(PHASES, key=lambda c: row[f"phase_p_{c}"]) and 0 < row["toxic"] < 1


def test_what_makes_no_sense_is_refused():
    every = {n: declared_property(n, d) for n, d in DECLARED.items()}
    graphs = [replace(g, properties=every) for g in labelled(12)]
    same = [replace(g, quantities={"polar": torch.eye(3).double()}) for g in graphs]
    with pytest.raises(InputError, match="is the same in all 12 training values"):
        fit_property("polar", same, "auto", "auto")
    turned = [replace(g, quantities={"shift": -g.quantities["shift"]}, provenance=Provenance("a.xyz", i)) for i, g in
              enumerate(graphs)]  # fmt: skip
    with pytest.raises(
        InputError, match=r"a.xyz \(record 0\): target 'shift' is said to be nonnegative, found -"
    ):
        fit_property("shift", turned, "auto", "auto", nonnegative=True)
    one = [replace(g, quantities={"phase": torch.tensor(1.0).double()}) for g in graphs]
    with pytest.raises(InputError, match="is 'hexagonal' in all 12 training records"):
        fit_property("phase", one, "auto", "auto", classes=PHASES)
    toxic = [replace(g, quantities={"toxic": torch.tensor(1.0).double()}) for g in graphs]
    with pytest.raises(InputError, match="is 1 in all 12 training records, expected both classes"):
        fit_property("toxic", toxic, "auto", "auto")
    constant = [replace(g, quantities={"toxic": torch.tensor(2.5).double()}) for g in graphs]
    with pytest.raises(InputError, match=r"is 2.5 in all 12 training records; there is nothing to learn"):
        fit_property("toxic", constant, "auto", "auto")


def steady_fields(count):
    """A scalar that is a local function of another one: the steady state of nothing but itself."""
    found = []
    for graph in waves(count):
        now = graph.snapshot(0)
        c = now.quantities["concentration"]
        found.append(replace(now, quantities={"permeability": c, "solution": torch.tanh(2 * c) + 0.3}))
    return found


def test_a_steady_field_is_learned_and_its_solution_is_no_input(tmp_path):
    graphs = steady_fields(30)
    assert task_of(("solution",), graphs).steady
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("m",), "test": ("m",), "target": ("solution",), "steps": 60,
           "learning_rate": 1e-2, "network": {**SMALL, "lmax": 1}, "out": tmp_path}
    )  # fmt: skip
    metrics = finetune(
        config, Parts(graphs[:16], graphs[16:23], graphs[23:]), console=Console(file=io.StringIO())
    )
    assert metrics["solution_relative_l2"] < 0.5 * metrics["baseline_solution_relative_l2"]
    assert (tmp_path / "steady_solution_worst.png").stat().st_size > 5000
    model = load(tmp_path)
    known, unknown = (
        graphs[25],
        replace(graphs[25], quantities={"permeability": graphs[25].quantities["permeability"]}),
    )
    a, b = model.predict([known])[0], model.predict([unknown])[0]
    np.testing.assert_array_equal(a["solution"], b["solution"])
    assert "solution_std" in a and a["solution"].shape == (64,)


def test_classes_may_be_two_and_may_be_numbers():
    config = {"from": "scratch", "train": ("m",), "target": ("phase",)}
    assert FinetuneConfig(**config, classes={"phase": [1, 2.0, "other"]}).classes == {
        "phase": ("1", "2", "other")
    }
    with pytest.raises(ValueError, match=r"has true, as YAML reads yes.*in quotes"):
        FinetuneConfig(**config, classes={"phase": [True, False]})
    graphs = [g for g in labelled(30) if "toxic" in g.quantities]
    fit = fit_property("toxic", graphs, "auto", "auto", classes=("harmless", "toxic"))
    assert fit.config.kind == "multiclass" and fit.config.classes == ("harmless", "toxic")


def test_whole_numbers_that_may_be_classes_are_told():
    graphs = [replace(g, quantities={"phase": torch.tensor(float(i % 3)).double()},
                      properties={"phase": declared_property("phase", "0e")}) for i, g in enumerate(labelled(30))]  # fmt: skip
    fit = fit_property("phase", graphs, "auto", "auto")
    assert fit.config.kind == "regression"
    assert "its labels are 0,1,2 alone: if these are classes, --set classes.phase=[0,1,2]" in fit.reason
    spread = [replace(g, quantities={"phase": torch.tensor(0.1 * i).double()}) for i, g in enumerate(graphs)]
    assert "classes" not in fit_property("phase", spread, "auto", "auto").reason
