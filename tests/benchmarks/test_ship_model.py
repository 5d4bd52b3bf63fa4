"""Dropping a checkpoint into the package: default levels, precision, what is left out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase.build import bulk, molecule

from atomfield.data.store import write_store
from atomfield.inference.convert import graph_from_atoms
from atomfield.models import checkpoint
from atomfield.models.grow import PER_LEVEL, PER_PROPERTY
from atomfield.models.network import graphs_to_batch
from benchmarks import ship_model
from tests.small import morse_clusters, small_network


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The checkpoint of a run with two levels of atoms, in float64 and with a part that only pretraining needs."""
    net = small_network(levels=("a", "", "b", "flow"), auxiliary=("elements",)).double().eval()
    with torch.no_grad():
        net.atom_head.reference.zero_()
        net.atom_head.reference[0, [1, 6]] = -1.0
        net.atom_head.reference[2, 29] = -1.0
    return checkpoint.save(net, tmp_path / "run" / "model", "the card of the run")


def test_what_ships(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--from",
        str(run.parent),
        "--name",
        "atomfield-t",
        "--crystals",
        "b",
        "--strip",
        "--into",
        str(tmp_path / "out"),
    ]
    assert ship_model.main(words) == 0
    assert "crystals: b" in capsys.readouterr().out
    net = checkpoint.load(tmp_path / "out" / "atomfield-t")
    assert (net.config.default_level_atoms, net.config.crystal_levels, net.config.auxiliary) == (
        "a",
        ("b",),
        (),
    )
    assert net.dtype == torch.float32
    assert net.atom_head.reference.dtype == torch.float64
    assert (tmp_path / "out" / "atomfield-t" / "README.md").read_text() == "the card of the run"
    before = checkpoint.load(run, dtype=torch.float32).state_dict()
    after = net.state_dict()
    assert net.config.levels == ("a", "b", "flow")
    assert set(before) - set(after)
    assert net.config.properties == () and len(before["property_head.scale"]) > 0
    for name, value in after.items():
        head, _, part = name.partition("property_head.")
        if not head and part in PER_PROPERTY:
            assert len(value) == 0, name
            continue
        old = before[name][[0, 2, 3]] if name in PER_LEVEL else before[name]
        assert torch.equal(old, value), name
    clusters = morse_clusters(2, level="b")
    batch = graphs_to_batch(net.config, clusters)
    assert torch.equal(checkpoint.load(run, dtype=torch.float32)(batch)["energy"], net(batch)["energy"])


def test_elements_of_several_levels_are_told(run: Path) -> None:
    net = checkpoint.load(run)
    net.config = net.config.model_copy(update={"crystal_levels": ("b",)})
    assert ship_model.several(net) == []
    net.config = net.config.model_copy(update={"crystal_levels": ("b", "flow")})
    with torch.no_grad():
        net.atom_head.reference[3, 29] = -1.0
    assert ship_model.several(net) == ["Cu: b, flow"]


def test_pairs_of_elements_come_from_the_corpus(tmp_path: Path) -> None:
    crystals = [
        graph_from_atoms(atoms, level=level)
        for atoms, level in (
            (bulk("Cu"), "b"),
            (bulk("NaCl", "rocksalt", a=5.6), "b"),
            (molecule("H2O"), "a"),
        )
    ]
    write_store(crystals, tmp_path / "store")
    assert ship_model.element_pairs([str(tmp_path / "store")]) == {"b": ("Na-Cl", "Cu")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--molecules", "c"], "level 'c' is unknown to this model, expected one of a, b, flow"),
        (["--crystals", "flow"], "level 'flow' has no reference energies"),
    ],
)
def test_what_is_refused(
    words: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ship_model.main(["--from", str(run), "--name", "t", *words, "--into", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_broken_weights_and_too_many_of_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = checkpoint.load(run)
    net.atom_head.energy.data[0] = float("nan")
    checkpoint.save(net, tmp_path / "broken")
    words = ["--name", "t", "--into", str(tmp_path / "out")]
    assert ship_model.main(["--from", str(tmp_path / "broken"), *words]) == 2
    assert "tensor 'atom_head.energy' has values that are no numbers" in capsys.readouterr().err
    monkeypatch.setattr(ship_model, "LIMIT", 1000)
    assert ship_model.main(["--from", str(run), *words]) == 2
    assert "expected at most" in capsys.readouterr().err
