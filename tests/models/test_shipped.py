"""Models of the package: names stand wherever a checkpoint does, offline, and what ships is small and what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import atomfield
from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.models import checkpoint, shipped
from tests.small import morse_clusters, small_network

LIMIT = 16_000_000
REAL = shipped.folders()
each_real_one = pytest.mark.parametrize(
    "name",
    sorted(REAL)
    or [
        pytest.param("none", marks=pytest.mark.skip(reason="no pretrained weights in models/pretrained yet"))
    ],
)


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one model, ``atomfield-t``, and an empty working folder."""
    folder = tmp_path / "package"
    checkpoint.save(small_network().eval(), folder / "atomfield-t", "card")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder / "atomfield-t"


def test_a_name_is_a_checkpoint(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = atomfield.load(one).predict(morse_clusters(1))[0]["energy"]
    assert atomfield.load("atomfield-t").predict(morse_clusters(1))[0]["energy"] == expected
    assert checkpoint.find("atomfield-t") == one
    (about,) = atomfield.pretrained().values()
    assert (about.name, about.folder, about.levels) == ("atomfield-t", one, ("morse", "wave"))
    assert about.parameters == sum(p.numel() for p in atomfield.load(one).net.parameters())
    assert main(["models"]) == 0
    assert f"sha256  {about.sha256}" in capsys.readouterr().out
    assert main(["inspect", "atomfield-t"]) == 0
    assert about.sha256[:12] in capsys.readouterr().out  # a table, which may fold it


def test_commands_and_configurations_take_names(one: Path) -> None:
    Path("c.xyz").write_text("3\n\nC 0 0 0\nH 0 0 1.1\nH 1.1 0 0\n")
    assert main(["predict", "atomfield-t", "c.xyz", "--out", "c.csv"]) == 0
    assert main(["simulate", "atomfield-t", "c.xyz", "--steps", "1", "--out", "relaxed"]) == 0
    Path("run.yaml").write_text("from: atomfield-t\ntarget: [energy, forces]\ntrain: [train.extxyz]\n")
    from atomfield.config import load_config
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.finetune.run import prepare_network
    from atomfield.finetune.tasks import task_of

    config = load_config(FinetuneConfig, "run.yaml")
    graphs = morse_clusters(12, level="mine")
    net, _ = prepare_network(
        config, checkpoint.load(config.start), task_of(config.target, graphs), "mine", graphs
    )
    assert net.config.levels == ("morse", "wave", "mine")


def test_transformers_take_the_folder_and_our_class_the_name(one: Path) -> None:
    from transformers import AutoModel

    from atomfield.models.hub import AtomFieldModel

    ours = checkpoint.load(one).state_dict()
    for theirs in (
        AutoModel.from_pretrained(atomfield.pretrained()["atomfield-t"].folder),
        AtomFieldModel.from_pretrained("atomfield-t"),
        AtomFieldModel.from_pretrained(pretrained_model_name_or_path="atomfield-t"),
    ):
        assert all(torch.equal(value, ours[key]) for key, value in theirs.net.state_dict().items())


def test_a_folder_of_that_name_comes_first(one: Path) -> None:
    other = checkpoint.save(small_network(seed=1).eval(), Path("atomfield-t"))
    assert checkpoint.find("atomfield-t") == other
    (other / "config.json").unlink()
    with pytest.raises(InputError, match="it hides the shipped model atomfield-t"):
        atomfield.load("atomfield-t")


def test_an_unknown_name_lists_those_that_ship(one: Path) -> None:
    for attempt in (atomfield.load, checkpoint.find):
        with pytest.raises(InputError, match=r"atomfield-xxl: .*or a shipped model: atomfield-t$"):
            attempt("atomfield-xxl")


# ---------------------------------------------------------------- what really ships
def test_all_weights_together_are_small() -> None:
    files = [f for f in shipped.FOLDER.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files if f.suffix == ".safetensors") <= LIMIT
    assert {f.name for f in files} <= {"config.json", "model.safetensors", "README.md"}


@each_real_one
def test_weights_are_single_precision_and_nothing_else(name: str) -> None:
    """Parameters in float32, constants in float64; no state of an optimiser, no second set of weights."""
    net = checkpoint.load(REAL[name])
    written = load_file(REAL[name] / "model.safetensors")
    assert {k.removeprefix(checkpoint.PREFIX) for k in written} == set(net.state_dict())
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert all(bool(torch.isfinite(v).all()) for v in written.values())
    assert net.uncertainty is None


@each_real_one
def test_the_card_says_which_file_it_is_about(name: str) -> None:
    card = (REAL[name] / "README.md").read_text(encoding="utf-8")
    assert atomfield.pretrained()[name].sha256 in card
    assert all(level in card for level in atomfield.pretrained()[name].levels)
    json.loads((REAL[name] / "config.json").read_text())


@each_real_one
def test_it_answers_for_molecules_and_crystals(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    from ase.build import bulk, molecule

    monkeypatch.chdir(tmp_path)
    model = atomfield.load(name)
    ethanol = molecule("CH3CH2OH", calculator=model.calculator(dtype="float64"))
    assert np.isfinite(ethanol.get_potential_energy())
    assert np.abs(ethanol.get_forces().sum(0)).max() < 1e-8
    copper = bulk("Cu", cubic=True)
    copper.calc = model.calculator()
    assert np.isfinite(copper.get_stress()).all()
    assert copper.calc.answering_level in model.net.config.crystal_levels
