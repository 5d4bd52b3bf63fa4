"""Properties of molecules of a finished store: which frames, what the labels are, a tiny store from end to end."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from atomfield.data.errors import InputError
from atomfield.data.generate import __main__ as command
from atomfield.data.generate.corpus import Order, build_corpus, checked, config_path, read_yaml
from atomfield.data.generate.molecule_properties import (
    PROPERTIES,
    PropertiesConfig,
    chosen_records,
    opened,
    properties_of,
)
from atomfield.data.generate.xtb import closed_shell, label
from atomfield.data.graph import Graph
from atomfield.data.store import Store, write_store
from tests.extras import needs_tblite

SHAPES: dict[str, tuple[list[int], list[list[float]]]] = {
    "O": ([8, 1, 1], [[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]]),
    "N": ([7, 1, 1, 1], [[0, 0, 0.117], [0, 0.938, -0.272], [0.813, -0.469, -0.272], [-0.813, -0.469, -0.272]]),
    "C": ([6, 1, 1, 1, 1],
          [[0, 0, 0], [0.629, 0.629, 0.629], [-0.629, -0.629, 0.629], [-0.629, 0.629, -0.629], [0.629, -0.629, -0.629]]),
}  # fmt: skip


def molecule(
    smiles: str, energy: float, *, spin: float = 0.0, charge: float = 0.0, level: str = "gfn2-xtb",
    group: str | None = None, force: float = 0.1, factor: float = 1.0,
) -> Graph:  # fmt: skip
    numbers, positions = SHAPES[smiles]
    forces = torch.zeros(len(numbers), 3)
    forces[0, 0], forces[1, 0] = force, -force
    return Graph(
        positions=factor * torch.tensor(positions), species=torch.tensor(numbers), world="molecule",
        quantities={"energy": torch.tensor(energy), "forces": forces}, conditions={"charge": charge, "spin": spin},
        level=level, group=smiles if group is None else group, dataset="corpus/molecules",
    )  # fmt: skip


def labelled(smiles: str, factor: float = 1.0) -> Graph:
    numbers, positions = SHAPES[smiles]
    found = label(np.array(numbers), factor * np.array(positions))
    return molecule(smiles, found.energy, factor=factor)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    graphs = [
        molecule("O", -1.0), molecule("O", -3.0), molecule("O", -9.0, spin=2.0, level="spgfn2-xtb"),
        molecule("N", -5.0), molecule("C", -7.0), molecule("N", -8.0, group="N.O"), molecule("C", -9.0, charge=1.0),
        molecule("O", -2.0),
    ]  # fmt: skip
    write_store(graphs, tmp_path / "molecules")
    return tmp_path / "molecules"


# ---------------------------------------------------------------------- which
def test_one_closed_shell_frame_of_lowest_energy_for_each_molecule(store: Path, tmp_path: Path) -> None:
    config = PropertiesConfig(seed=1)
    stores = opened((str(store),))
    assert sorted(chosen_records(config, stores)) == [(0, 1), (0, 3), (0, 4)]
    few = chosen_records(PropertiesConfig(seed=1, most=2), stores)
    assert few == chosen_records(config, stores)[:2]
    assert chosen_records(config, stores, 0.4) == few[:1]
    ions = PropertiesConfig(seed=1, charges=(0, 1), most_atoms=4)
    assert sorted(chosen_records(ions, stores)) == [(0, 1), (0, 3)]
    write_store([molecule("N", -6.0), molecule("O", -3.0)], tmp_path / "second")
    both = opened((str(store), str(tmp_path / "second")))
    assert sorted(chosen_records(config, both)) == [(0, 1), (0, 4), (1, 0)]
    with pytest.raises(InputError, match="no molecule"):
        chosen_records(PropertiesConfig(seed=1, charges=(3,)), stores)


def test_sources_that_do_not_fit_are_named(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert command.main([*arguments, "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    write_store([molecule("O", 0.0, level="pbe")], tmp_path / "other")
    assert "--from goes with a config that labels finished molecules" in refused(
        "corpus/fields", "--from", "x"
    )
    assert "--from goes with a config" in refused("--from", "x")
    if util.find_spec("tblite") is None:
        return
    name = "corpus/molecule_properties"
    assert "needs a finished store" in refused(name)
    assert "is no store" in refused(name, "--from", str(tmp_path / "absent"))
    assert "has no molecules of level gfn2-xtb" in refused(name, "--from", str(tmp_path / "other"))
    assert "atomfield prepare" in refused(name, "--from", str(store), "--without", "x.csv")


def test_packaged_config() -> None:
    path = config_path("corpus/molecule_properties")
    content = read_yaml(path)
    assert content.pop("make") == "molecule_properties"
    assert checked(PropertiesConfig, content, path).charges == (0,)


# ---------------------------------------------------------------------- labels
@needs_tblite
def test_single_points_agree_with_the_labels_of_the_corpus() -> None:
    numbers, positions = (np.array(x) for x in SHAPES["O"])
    found, known = closed_shell(numbers, positions), label(numbers, positions)
    assert found.energy == pytest.approx(known.energy, abs=1e-8)
    assert found.lumo - found.homo == pytest.approx(known.gap, abs=1e-8)


@needs_tblite
def test_signs_and_sizes_of_solvation() -> None:
    """FreeSolv in eV: ammonia -0.186, methane +0.087; water -0.274. ALPB is within 0.13 eV, and less polar is less soluble."""
    water = {}
    for smiles, experiment in {"O": -0.274, "N": -0.186, "C": 0.087}.items():
        values, dropped = properties_of(labelled(smiles), 1e9)
        assert not dropped and set(values) == set(PROPERTIES)
        water[smiles] = values["solvation_energy_water"]
        assert abs(water[smiles] - experiment) < 0.13
        assert values["homo_energy"] < -8 < values["lumo_energy"]
    assert water["O"] < water["N"] < 0 < water["C"]
    values, _ = properties_of(labelled("C"), 1e9)
    assert values["solvation_energy_octanol"] < values["solvation_energy_water"]  # methane prefers octanol


@needs_tblite
def test_records_that_are_not_sound_have_no_label() -> None:
    good = labelled("O")
    assert properties_of(molecule("O", 0.0, force=2.0), 1.5) == ({}, ["record: force above 1.5 eV/angstrom"])
    moved = good.changed(quantities={**good.quantities, "energy": good.quantities["energy"] + 1e-3})
    assert properties_of(moved, 1.5)[1] == ["record: energy differs by more than 0.0001 eV from its store"]


@needs_tblite
def test_tiny_store_has_the_structures_and_is_the_same_for_any_jobs(tmp_path: Path) -> None:
    from_store = [
        labelled("O"),
        labelled("O", 1.03),
        labelled("N"),
        labelled("C"),
        molecule("C", -1e4, group="X"),
    ]
    write_store(from_store, tmp_path / "molecules")
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({"make": "molecule_properties", "seed": 2, "molecules_per_chunk": 2}))
    for name, jobs in (("a", 0), ("b", 2)):
        order = Order(tmp_path / name, jobs=jobs, sources=(str(tmp_path / "molecules"),), progress=False)
        report = build_corpus(str(config), order)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert report["labels"] == dict.fromkeys(sorted(PROPERTIES), 3)
    assert report["dropped"] == {"record: energy differs by more than 0.0001 eV from its store": 1}
    held = Store(tmp_path / "a")
    known = {g.group: g for g in reversed(from_store)}
    assert {g.group for g in held} == {"O", "N", "C"}
    for g in held:
        assert torch.equal(g.positions, known[g.group].positions)
        assert (g.level, g.world, g.conditions, g.dataset) == (
            "gfn2-xtb", "molecule", {"charge": 0.0, "spin": 0.0}, "corpus/molecule_properties",
        )  # fmt: skip
        assert set(g.quantities) == set(PROPERTIES) and "energy" not in g.quantities
        assert g.definition("solvation_energy_water").unit == "eV"
        assert "no experiment" in g.definition("homo_lumo_gap").meaning
    assert held.index["made_from"]
