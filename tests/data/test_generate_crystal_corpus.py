"""The crystals of the pretraining corpus in miniature: labels, neutrality, what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from atomfield.data.excluding import composition, identity
from atomfield.data.generate import crystal_structures as structures
from atomfield.data.generate.corpus import Order
from atomfield.data.generate.crystal_corpus import (
    FAMILIES,
    LEVELS,
    Chunk,
    CrystalsConfig,
    build_crystals,
    chunks_of,
    crystals_of,
)
from atomfield.data.generate.crystals import HELD_OUT_PAIRS
from atomfield.data.generate.oxides import charge
from atomfield.data.generate.potential_constants import HALIDES
from atomfield.data.generate.potentials import label_all, potential
from atomfield.data.store import Store

SIMPLE = tuple(f for f in FAMILIES if f not in ("oxides", "insulators"))
SPINEL = Chunk(3, "oxides", 0, 6, ("spinel", ("Mg", "Al")))


def chunk(family) -> Chunk:
    return SPINEL if family == "oxides" else Chunk(3, family, 0, 8)


@pytest.fixture(scope="module")
def some():
    return {family: crystals_of(chunk(family), {}) for family in (*SIMPLE, "oxides")}


def test_every_family_has_its_level_and_bounded_labels(some):
    for family, made in some.items():
        assert made.graphs
        assert made.counts["levels"] == {LEVELS.get(family, "emt"): len(made.graphs)}
        for g in made.graphs:
            assert (g.world, g.dataset, g.pbc.tolist()) == ("crystal", "corpus/crystals", [True] * 3)
            assert 1 <= g.num_nodes <= 40
            assert float(g.quantities["forces"].abs().max()) <= 30
            assert float(g.quantities["forces"].sum(0).abs().max()) < 1e-2
            assert torch.equal(g.quantities["stress"], g.quantities["stress"].T)
            assert torch.equal(g.positions, g.positions.float().double())


def test_labels_are_those_of_the_stored_positions(some):
    from ase import Atoms

    for family, level in LEVELS.items():
        g = some[family].graphs[-1]
        atoms = Atoms(g.species.numpy(), g.positions.numpy(), cell=g.cell.numpy(), pbc=True)
        again = label_all(potential(level), [atoms])[0]
        assert again.energy == pytest.approx(float(g.quantities["energy"]), abs=1e-6)
        np.testing.assert_allclose(again.forces, g.quantities["forces"].numpy(), atol=2e-3)


def test_ions_stay_neutral():
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, atoms = structures.halide(rng)
        assert sum(HALIDES[s][0] for s in atoms.get_chemical_symbols()) == 0
    relaxed = structures.build_oxide("spinel", ("Mg", "Al")) * (1, 1, 2)
    sizes = set()
    for _ in range(40):
        atoms = structures.oxide(relaxed, rng, perfect=False)
        assert charge(atoms.get_chemical_symbols()) == pytest.approx(0, abs=1e-9)
        sizes.add(len(atoms))
    assert len(sizes) > 2  # some lack a formula unit's ions


def test_pairs_of_the_task_are_not_among_its_own_level():
    rng = np.random.default_rng(1)
    for _ in range(60):
        _, atoms = structures.emt_alloy(rng)
        assert frozenset(atoms.get_chemical_symbols()) not in HELD_OUT_PAIRS


def test_compositions_of_another_source_are_left_out_and_counted(some):
    whole = some["oxides"].graphs
    taken = identity(whole[0])
    assert taken == composition(np.array([12, 13, 13, 8, 8, 8, 8]))
    made = crystals_of(SPINEL, {taken: "a test set"})
    gone = sum(identity(g) == taken for g in whole)
    assert gone and made.counts["excluded"] == {"a test set": gone}
    assert len(made.graphs) == len(whole) - gone
    assert taken not in {identity(g) for g in made.graphs}


def test_the_same_chunk_gives_the_same_records(some):
    again = crystals_of(chunk("halides"), {}).graphs
    assert all(
        torch.equal(a.positions, b.positions) for a, b in zip(again, some["halides"].graphs, strict=True)
    )
    other = crystals_of(Chunk(3, "halides", 50, 8), {}).graphs
    assert {g.group for g in other} != {g.group for g in again}


def test_a_material_that_does_not_relax_is_named():
    made = crystals_of(Chunk(3, "oxides", 0, 3, ("zircon", ("Nd", "P"))), {})
    assert made.graphs or list(made.counts["dropped"]) == ["oxides: not relaxed: zircon NdP"]


def test_the_config_makes_a_store_with_its_report(tmp_path: Path):
    config = CrystalsConfig(
        seed=1,
        records={"rare-gases": 4, "chalcogenides": 4},
        frames_of_each_oxide=0,
        insulators=False,
        checks=False,
    )
    assert len(chunks_of(config)) == 2
    report = build_crystals(config, Order(tmp_path / "store", jobs=0, progress=False))
    store = Store(tmp_path / "store")
    assert len(store) == sum(report["levels"].values())
    assert json.loads((tmp_path / "store" / "report.json").read_text()) == report
    assert {g.level for g in store} == {"lj-bernardes-1958", "sw-zhou-2013"}
