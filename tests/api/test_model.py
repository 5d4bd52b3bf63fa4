from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import atomfield
from atomfield.data.errors import InputError
from atomfield.models import checkpoint
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import crystal, flow, network, water


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    return checkpoint.cast(network("s"), torch.float32).requires_grad_(True)


@pytest.fixture
def model(net: AtomFieldNet, tmp_path: Path) -> atomfield.Model:
    return atomfield.load(checkpoint.save(net, tmp_path / "run" / "model"), dtype="float64")


def test_the_import_is_light() -> None:
    """No torch, and none of what is heavier; the public names are still there."""
    code = """
import sys, time
start = time.perf_counter()
import atomfield
seconds = time.perf_counter() - start
heavy = {"torch", "numpy", "ase", "rdkit", "pymatgen", "deepspeed", "wandb", "transformers", "datasets"} & set(sys.modules)
assert not heavy, heavy
assert seconds < 0.3, seconds
assert {"load", "Model", "Graph", "read"} <= set(dir(atomfield))
assert atomfield.__version__
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        atomfield.lod  # noqa: B018


def test_load_gives_the_same_bits_in_a_fresh_process(
    net: AtomFieldNet, model: atomfield.Model, tmp_path: Path
) -> None:
    expected = float(model.predict([water()])[0]["energy"])
    code = f"""
import atomfield
from ase import Atoms
positions = {water().positions.tolist()}
atoms = Atoms("OHH", positions, info=dict(charge=0, spin=0))
print(repr(float(atomfield.load({str(tmp_path / "run")!r}, dtype="float64").predict([atoms])[0]["energy"])))
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == expected


def test_dtype_and_summary(model: atomfield.Model, tmp_path: Path) -> None:
    single = atomfield.load(tmp_path / "run" / "model", dtype="float32")
    assert single.net.dtype == torch.float32
    assert single.net.masses.dtype == torch.float64
    about = model.summary
    assert about["parameters"] == sum(p.numel() for p in model.net.parameters())
    assert about["dtype"] == "float64"
    assert about["levels"] == list(model.net.config.levels)
    assert about["properties"] == {p.name: p.kind for p in model.net.config.properties}
    assert "float64" in repr(model)


def test_every_kind_of_item(model: atomfield.Model) -> None:
    atoms = Atoms("OHH", water().positions.numpy(), info={"charge": 0, "spin": 0})
    found = model.predict(["CCO", atoms, water(), crystal(), flow()])
    assert found[0]["forces"].shape == (9, 3)
    assert found[1]["energy"] == pytest.approx(found[2]["energy"], rel=1e-13)
    assert found[3]["stress"].shape == (3, 3)
    assert found[4]["velocity"].shape == (20, 3)
    assert model.embed([atoms])[0]["invariant"].shape == (6,)
    assert model.rollout(flow(), steps=2)["pressure"].shape == (3, 20)


def test_calculator(model: atomfield.Model) -> None:
    atoms = Atoms("OHH", water().positions.numpy(), info={"charge": 0, "spin": 0})
    atoms.calc = model.calculator(dtype="float64", device="cpu")
    expected = model.predict([water()])[0]
    assert atoms.get_potential_energy() == pytest.approx(float(expected["energy"]), rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-12)


def test_training_step_leaves_gradients(model: atomfield.Model) -> None:
    labelled = Atoms("OHH", water().positions.numpy())
    labelled.calc = SinglePointCalculator(labelled, energy=-1.0, forces=np.zeros((3, 3)))
    loss = model.training_step([labelled])
    assert np.isfinite(loss)
    gradients = [p.grad for p in model.net.backbone.layers.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in gradients) > 0
    assert model.training_step([labelled]) == loss  # reset, and no step was taken
    assert model.training_step([Atoms("OHH", water().positions.numpy())]) != loss
    with pytest.raises(InputError, match="takes atoms"):
        model.training_step([flow()])


def test_mistakes(model: atomfield.Model, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"nowhere: there is no such folder, expected a checkpoint: a folder with config\.json",
    ):
        atomfield.load("nowhere")
    with pytest.raises(InputError, match="say hub=True"):
        atomfield.load("org/name")
    with pytest.raises(InputError, match=r"a folder without config\.json"):
        atomfield.load(tmp_path)
    with pytest.raises(InputError, match="expected 'org/name'"):
        atomfield.load("nowhere", hub=True)
    with pytest.raises(InputError, match="float32 or float64"):
        atomfield.load(tmp_path / "run", dtype="half")
    with pytest.raises(InputError, match="got one str"):
        model.predict("CCO")
    with pytest.raises(InputError, match="needs a field as a Graph, got Atoms"):
        model.rollout(Atoms("H"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there are no items"):
        model.training_step([])


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(model: atomfield.Model, tmp_path: Path, device: str) -> None:
    from atomfield.models import checkpoint

    folder = checkpoint.save(model.net, tmp_path / "model")
    with pytest.raises(InputError, match=f"device '{device}' cannot be used"):
        atomfield.load(folder, device=device)
    with pytest.raises(InputError, match=f"device '{device}' cannot be used"):
        model.calculator(device=device)
