"""The generator of molecules: a tiny piece of the corpus, its levels, its conventions and what is held out."""

from __future__ import annotations

from importlib import util

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.generate import molecules as generator
from atomfield.data.generate.frames import GRID, MAX_FORCE, Recipe, labelled_frames
from atomfield.data.generate.species import (
    RARE,
    Species,
    combined_species,
    radical_species,
    small_species,
    task_species,
)
from tests.extras import needs_tblite


@pytest.fixture(scope="module")
def lists() -> tuple[tuple[Species, ...], tuple[Species, ...]]:
    return combined_species(60, 20, 1)


def test_species_have_all_elements_and_exclude_the_task(
    lists: tuple[tuple[Species, ...], tuple[Species, ...]],
) -> None:
    neutral, ions = lists
    assert len(neutral) == 60
    assert len(ions) == 20
    assert all(s.charge == 0 for s in neutral)
    assert all(abs(s.charge) == 1 for s in ions)
    names = [s.smiles for s in (*neutral, *ions, *small_species(), *radical_species())]
    assert len(set(names)) == len(names)
    assert not set(names) & {s.smiles for s in task_species()}
    text = " ".join(names)
    assert all(symbol in text for symbol in RARE)
    assert max(s.num_atoms for s in (*neutral, *ions)) <= 22


def test_task_has_45_molecules_of_the_promised_size() -> None:
    chosen = [s for s in task_species() if 6 <= s.num_atoms <= 12]
    assert len(chosen) >= 45
    assert all(s.charge == 0 and set(s.smiles) <= set("CcNnOo[]()=#H123") for s in chosen)


def test_smaller_scale_is_a_part_of_the_larger() -> None:
    large = {(r.parts, r.seed) for r in generator._pretraining_recipes(0.05)}
    small = {(r.parts, r.seed) for r in generator._pretraining_recipes(0.01)}
    assert small < large


def test_rounding_keeps_sixteen_bits() -> None:
    x = np.random.default_rng(0).standard_normal(1000) * np.logspace(-3, 2, 1000)
    y = generator.short(x)
    assert y.dtype == torch.float32
    assert float(np.max(np.abs(y.double().numpy() - x) / np.abs(x))) < 2.0**-16
    assert not (y.numpy().view(np.uint32) & 0x7F).any()


@needs_tblite
def test_a_small_piece_of_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    water, radical, ion = Species("O", 0, 0, 3), Species("[CH3]", 0, 1, 4), Species("[OH-]", -1, 0, 2)
    recipes = [
        Recipe((water,), 1, "GFN2-xTB", kicks=(0.05,), scan=(1.2,)),
        Recipe((radical,), 2, "GFN2-xTB", kicks=(0.05,)),
        Recipe((ion, water), 3, "GFN2-xTB", scan=(1.0,), keep_relaxed=False),
    ]
    monkeypatch.setattr(generator, "_pretraining_recipes", lambda scale: recipes)
    graphs, report = generator.molecules(scale=0.01, progress=False)
    again, _ = generator.molecules(scale=0.01, progress=False)
    assert report["graphs"] == len(graphs) == 6 + len(generator.ATOMS)
    assert report["relaxed, force below 0.5 eV/angstrom"] == 2
    for a, b in zip(graphs, again, strict=True):
        assert torch.equal(a.positions, b.positions)
        assert torch.equal(a.quantities["forces"], b.quantities["forces"])
        assert torch.equal(a.positions, a.positions.float().double())
        assert float(a.quantities["forces"].norm(dim=1).max()) <= MAX_FORCE
        assert a.level == ("spgfn2-xtb" if a.conditions["spin"] > 0 else "gfn2-xtb")
        assert abs(float(a.quantities["charges"].sum()) - a.conditions["charge"]) < 1e-3
        assert float(a.quantities["forces"].sum(dim=0).abs().max()) < 2e-3
    assert "O.[OH-]" in {g.group for g in graphs}


@needs_tblite
def test_positions_lie_on_the_grid_and_the_dipole_of_an_ion_moves_with_nothing() -> None:
    from atomfield.data.generate.xtb import label

    numbers, positions = np.array([8, 1]), np.array([[0.0, 0, 0], [0.97, 0, 0]])
    here = label(numbers, positions, charge=-1)
    there = label(numbers, positions + 5.0, charge=-1)
    np.testing.assert_allclose(here.dipole, there.dipole, atol=1e-6)
    _, frames, _ = labelled_frames(Recipe((Species("[OH-]", -1, 0, 2),), 5, "GFN2-xTB", kicks=(0.03,)))
    assert frames
    assert all(np.array_equal(f.positions, np.round(f.positions / GRID) * GRID) for f in frames)


@needs_tblite
def test_task_molecules() -> None:
    graphs, report = generator.task_molecules(scale=0.02, progress=False)
    assert report["levels"] == {"gfn1-xtb": len(graphs)}
    assert all(
        set(g.quantities) == {"energy", "forces"} and g.dataset == "starter/task_molecules" for g in graphs
    )


def test_missing_tblite_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"atomfield\[generate\]"):
        generator.task_molecules()
