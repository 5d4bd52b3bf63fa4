"""Crystals at their minima in miniature: what is relaxed is a minimum, phonons and properties are those of the potential."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomfield.data.excluding import composition
from atomfield.data.generate import crystal_structures as structures
from atomfield.data.generate.corpus import Order
from atomfield.data.generate.crystal_corpus import LEVELS
from atomfield.data.generate.crystal_minima import (
    FREE_ATOMS,
    PROPERTIES,
    Chunk,
    MinimaConfig,
    build_minima,
    chunks_of,
    elemental_energies,
    minima_of,
    properties_of,
)
from atomfield.data.generate.lattices import build
from atomfield.data.generate.phonons import squared_wavenumbers
from atomfield.data.generate.potentials import label_all, potential, relax
from atomfield.data.generate.relaxation import relax_all
from atomfield.data.store import Store

METALS, HALIDES = potential("eam-zhou-2004"), potential("joung-cheatham-2008")
SMALL = MinimaConfig(
    seed=1,
    records={"metals": 3, "halides": 3, "chalcogenides": 3, "rare-gases": 3},
    variants_of_each_oxide=0,
    frames=2,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Store, dict]:
    folder: Path = tmp_path_factory.mktemp("minima") / "store"
    report = build_minima(SMALL, Order(folder, jobs=0, progress=False))
    assert json.loads((folder / "report.json").read_text()) == report
    return Store(folder), report


# ---------------------------------------------------------------------- relaxation
def test_crystals_relaxed_together_are_those_relaxed_alone():
    crystals = [
        build("L1_2", ("Ni", "Cu"), structures.METAL_VOLUMES),
        build("hcp", ("Ti",), structures.METAL_VOLUMES),
    ]
    for number, atoms in enumerate(crystals):
        atoms.rattle(0.05, seed=number)
        atoms.set_cell(atoms.cell.array @ np.diag([1.03, 0.98, 1.01]), scale_atoms=True)
    alone = [atoms.copy() for atoms in crystals]
    assert relax_all(crystals, METALS, tolerance=2e-4) == [True, True]
    for one, other in zip(crystals, alone, strict=True):
        assert relax(other, METALS, steps=200, tolerance=2e-4)
        together, apart = label_all(METALS, [one, other])
        assert together.energy == pytest.approx(apart.energy, abs=1e-5)
        assert abs(together.forces).max() < 2e-4
        assert one.get_volume() == pytest.approx(other.get_volume(), rel=1e-3)


def test_too_few_steps_are_not_called_a_minimum():
    atoms = bulk("NaCl", "rocksalt", a=5.0)
    assert relax_all([atoms], HALIDES, steps=3) == [False]


# ---------------------------------------------------------------------- phonons
def test_wave_vectors_of_a_supercell_are_its_vibrations_at_gamma():
    atoms = build("B2", ("Ni", "Al"), structures.METAL_VOLUMES)
    relax_all([atoms], METALS)
    waves = squared_wavenumbers(atoms, METALS, (2, 1, 2))
    whole = squared_wavenumbers(atoms.repeat((2, 1, 2)), METALS, (1, 1, 1))
    np.testing.assert_allclose(np.sort(waves.ravel()), whole[0], atol=2e-4 * whole.max())
    np.testing.assert_allclose(waves[0, :3], 0, atol=1e-6 * whole.max())


def test_the_unit_is_that_of_two_masses_on_a_spring():
    """At Gamma the two sublattices of rock salt move against each other: k = E'', reduced mass."""
    atoms = bulk("NaCl", "rocksalt", a=5.592)
    energies = []
    for shift in (-0.02, 0.0, 0.02):
        moved = atoms.copy()
        moved.positions[1, 0] += shift
        energies.append(label_all(HALIDES, [moved])[0].energy)
    stiffness = (energies[0] - 2 * energies[1] + energies[2]) / 0.02**2 * 16.0217663  # N/m
    masses = atoms.get_masses() * 1.66053907e-27
    expected = (stiffness * masses.sum() / masses.prod()) ** 0.5 / (2 * np.pi * 2.99792458e10)
    found = squared_wavenumbers(atoms, HALIDES, (1, 1, 1))[0, 3:] ** 0.5
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_a_crystal_on_a_saddle_is_refused():
    assert properties_of(build("sc", ("Cu",), structures.METAL_VOLUMES), "metals", METALS) is None


# ---------------------------------------------------------------------- properties
def test_free_atoms_are_the_zero_of_cohesive_energies():
    for family in FREE_ATOMS:
        chosen = potential(LEVELS[family])
        lone = [Atoms(s, cell=np.eye(3) * 40, pbc=True) for s in chosen.elements]
        assert [x.energy for x in label_all(chosen, lone)] == pytest.approx([0.0] * len(lone), abs=1e-4)


def test_properties_are_those_of_the_published_potential():
    atoms = build("fcc", ("Cu",), structures.METAL_VOLUMES)
    relax_all([atoms], METALS)
    found = properties_of(atoms, "metals", METALS)
    assert found is not None
    assert found["bulk_modulus"] == pytest.approx(138, abs=1)
    assert found["cohesive_energy"] == pytest.approx(3.54, abs=0.005)
    assert found["formation_energy"] == pytest.approx(0.0, abs=1e-4)
    assert elemental_energies("metals")["Fe"] == pytest.approx(-4.29, abs=0.005)


# ---------------------------------------------------------------------- the store
def test_minima_have_properties_and_frames_have_none(stored):
    store, report = stored
    graphs = list(store)
    assert len(graphs) == sum(report["levels"].values())
    minima = [g for g in graphs if g.properties]
    assert len(minima) == sum(report["minima"].values()) >= 9
    for g in minima:
        assert g.properties == {name: PROPERTIES[name] for name in g.properties}
        assert not any(q.extensive for q in g.properties.values())
        assert float(g.quantities["forces"].abs().max()) < 0.02
        lacks = {n for n in PROPERTIES if n not in g.quantities}
        match g.level:
            case "joung-cheatham-2008":
                assert lacks == {"cohesive_energy", "formation_energy"}
            case "sw-zhou-2013":
                assert lacks == {"formation_energy"}
            case _:
                assert lacks == set()
    groups = [g.group for g in minima]
    assert len(set(groups)) == len(groups)
    assert {g.group for g in graphs} == set(groups)
    for g in graphs:
        assert g.dataset == "corpus/crystal_minima"
        assert g.num_nodes <= 32


def test_a_composition_of_another_source_is_never_drawn():
    chunks, counts = chunks_of(SMALL, {})
    taken = {
        composition(g.species.numpy()): "a test set" for c in chunks for g in minima_of(one_of(c)).graphs
    }
    assert len(taken) == 4
    fewer, left = chunks_of(SMALL, taken)
    assert counts["excluded"] == {}
    assert left["excluded"] == {
        "a test set": sum(len(c.numbers) for c in chunks) - sum(len(c.numbers) for c in fewer)
    }
    assert left["excluded"]["a test set"] >= 4


def one_of(chunk: Chunk) -> Chunk:
    return Chunk(chunk.seed, chunk.family, chunk.numbers[:1], chunk.variants, 1)


def test_oxides_begin_at_the_size_of_lowest_energy_and_repeat():
    chunk = Chunk(3, "oxides", (0, 7), 3, 1)  # MgO and a variant of SrO
    first, again = minima_of(chunk), minima_of(chunk)
    assert first.counts["minima"] == {"pedone-2006": 2}
    for a, b in zip(first.graphs, again.graphs, strict=True):
        assert torch.equal(a.positions, b.positions)
    assert first.graphs[0].group == "MgO-rocksalt"
    assert float(first.graphs[0].quantities["bulk_modulus"]) == pytest.approx(169, abs=1)
    assert 600 < float(first.graphs[0].quantities["highest_phonon"]) < 750
