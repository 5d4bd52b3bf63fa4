"""Molecules of the starter corpus, labelled by GFN2-xTB (pretraining) and GFN1-xTB (the held-out task).

Closed shells: level ``gfn2-xtb``. Open shells and isolated atoms: spin-polarised, level ``spgfn2-xtb``. Dipoles of ions are
about the centre of mass: ``dipole(origin) - charge * r_com``. Forces, dipoles and charges keep 16 significant bits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

from ..errors import Provenance
from ..graph import Graph
from .frames import GRID, MAX_FORCE, Frame, Recipe, labelled_frames
from .parallel import each
from .species import ATOMS, Species, combined_species, radical_species, small_species, task_species
from .xtb import label, require_tblite

SEED = 20240
NUM_NEUTRAL, NUM_IONS, NUM_PAIRS, NUM_TASK = 950, 150, 170, 45
PARTNERS = """
    O N F Cl Br I S P B C [SiH4] C=O C#N CF CCl CBr CI CS CP CB C[SiH3] FB(F)F O=C=O O=S=O C=C C#C
    [NH4+] [F-] [Cl-] [Br-] [OH-] [OH3+]
""".split()
"""Molecules and ions that meet in pairs."""


def molecules(
    *, scale: float = 1.0, jobs: int = 1, progress: bool = True
) -> tuple[list[Graph], dict[str, Any]]:
    """Pretraining molecules and a report. ``scale`` is the fraction of the full size, ``jobs`` the number of processes.

    Raises ``InputError`` if tblite is not installed.
    """
    version = require_tblite()
    recipes = _pretraining_recipes(scale)
    held_out = {s.smiles for s in task_species()}
    assert not any(s.smiles in held_out for r in recipes for s in r.parts), (
        "a task molecule is in the pretraining list"
    )
    graphs, report = _label_all(recipes, "starter/molecules", jobs=jobs, progress=progress)
    atoms = [_atom_graph(*atom) for atom in ATOMS]
    report["frames"]["atom"] = len(atoms)
    return graphs + atoms, {**report, **_summary(graphs + atoms), "tblite": version}


def task_molecules(
    *, scale: float = 1.0, jobs: int = 1, progress: bool = True
) -> tuple[list[Graph], dict[str, Any]]:
    """Held-out small C, H, N, O molecules with GFN1-xTB energies and forces, ten rattled frames each, and a report."""
    version = require_tblite()
    kicks = (0.03, 0.03, 0.05, 0.05, 0.08, 0.08, 0.1, 0.1, 0.15, 0.15)
    chosen = [s for s in task_species() if 6 <= s.num_atoms <= 12][:NUM_TASK]
    recipes = [
        Recipe((s,), SEED + 500_000 + i, "GFN1-xTB", kicks=kicks, keep_relaxed=False)
        for i, s in enumerate(chosen[: _scaled(len(chosen), scale)])
    ]
    graphs, report = _label_all(recipes, "starter/task_molecules", jobs=jobs, progress=progress)
    return graphs, {**report, **_summary(graphs), "tblite": version}


def _scaled(number: int, scale: float) -> int:
    return max(1, min(number, round(number * scale)))


def _pretraining_recipes(scale: float) -> list[Recipe]:
    """The same recipes, fewer of each sort, for a smaller ``scale``."""
    rng = np.random.default_rng(SEED)
    neutral, ions = combined_species(NUM_NEUTRAL, NUM_IONS, SEED)
    radicals = radical_species()
    known = {s.smiles: s for s in small_species()}
    partners = [known[smiles] for smiles in PARTNERS if smiles in known]
    pairs: list[tuple[Species, ...]] = []
    while len(pairs) < NUM_PAIRS:
        a, b = sorted((partners[i] for i in rng.integers(len(partners), size=2)), key=lambda s: s.smiles)
        if (a.charge == 0 or b.charge == 0) and (a, b) not in pairs:
            pairs.append((a, b))

    def few(listed: Sequence[Species]) -> list[tuple[Species, ...]]:
        return [(s,) for s in listed[: _scaled(len(listed), scale)]]

    def recipes(
        listed: Sequence[tuple[Species, ...]],
        offset: int,
        kicks: tuple[float, ...],
        scan: tuple[float, ...],
        steps: int = 15,
    ) -> list[Recipe]:
        return [
            Recipe(parts, SEED + offset + i, "GFN2-xTB", kicks=kicks, scan=scan, relax_steps=steps)
            for i, parts in enumerate(listed)
        ]

    return [
        *recipes(few(list(known.values())), 0, (0.03, 0.08, 0.15), (0.85, 1.1, 1.25), 30),
        *recipes(few(neutral), 10_000, (0.03, 0.08, 0.15, 0.2), (1.2,)),
        *recipes(few(ions), 20_000, (0.03, 0.08, 0.15), (1.2,)),
        *recipes(
            few([radicals[i] for i in rng.permutation(len(radicals))]),
            30_000,
            (0.05, 0.15),
            (0.85, 1.15, 1.4),
            30,
        ),
        *recipes(pairs[: _scaled(len(pairs), scale)], 40_000, (), (0.65, 0.8, 1.0, 1.3)),
    ]


def _label_all(
    recipes: list[Recipe], dataset: str, *, jobs: int, progress: bool
) -> tuple[list[Graph], dict[str, Any]]:
    graphs: list[Graph] = []
    dropped: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    calm: Counter[str] = Counter()
    for recipe, frames, lost in each(
        labelled_frames, recipes, num_processes=jobs, title=dataset, progress=progress
    ):
        dropped.update(lost)
        for frame in frames:
            kinds[frame.kind] += 1
            if frame.kind == "relaxed":
                largest = float(np.linalg.norm(frame.label.forces, axis=1).max())
                calm["relaxed, force below 0.5 eV/angstrom"] += largest < 0.5
                calm["relaxed, force below 1 eV/angstrom"] += largest < 1.0
            graphs.append(_graph(recipe, frame, dataset))
    return graphs, {
        "frames": dict(kinds),
        "dropped": dict(dropped),
        **calm,
        "max_force_eV_per_angstrom": MAX_FORCE,
        "position_grid_angstrom": GRID,
        "seed": SEED,
        "rdkit": metadata.version("rdkit"),
    }


def _graph(recipe: Recipe, frame: Frame, dataset: str) -> Graph:
    unpaired = sum(s.unpaired for s in recipe.parts)
    level = "gfn1-xtb" if recipe.method == "GFN1-xTB" else "spgfn2-xtb" if unpaired else "gfn2-xtb"
    return molecule_graph(recipe.parts, frame, unpaired, level, dataset)


def molecule_graph(parts: Sequence[Species], frame: Frame, unpaired: int, level: str, dataset: str) -> Graph:
    """One record: energy in eV, forces ``[N, 3]`` in eV/angstrom; at the levels of GFN2 also dipole ``[3]`` in e*angstrom and
    charges ``[N]`` in e. Its group is the canonical SMILES of its ``parts``; ``unpaired`` may differ from theirs where a bond is
    broken."""
    quantities = {
        "energy": torch.tensor(frame.label.energy, dtype=torch.float64),
        "forces": short(frame.label.forces),
    }
    if level != "gfn1-xtb":
        quantities["dipole"] = short(frame.label.dipole)
        quantities["charges"] = short(frame.label.charges)
    return Graph(
        positions=torch.from_numpy(frame.positions),
        species=torch.from_numpy(frame.numbers),
        world="molecule",
        quantities=quantities,
        conditions={"charge": float(sum(s.charge for s in parts)), "spin": float(unpaired)},
        level=level,
        dataset=dataset,
        group=".".join(sorted(s.smiles for s in parts)),
        provenance=Provenance(),
    )


def _atom_graph(symbol: str, charge: int, unpaired: int) -> Graph:
    """An isolated atom or atomic ion: the energy is all there is."""
    from ase.data import atomic_numbers

    numbers, positions = np.array([atomic_numbers[symbol]]), np.zeros((1, 3))
    smiles = f"[{symbol}{'' if charge == 0 else '+' if charge > 0 else '-'}]"
    found = label(numbers, positions, charge=charge, unpaired=unpaired, spin_polarised=True)
    recipe = Recipe((Species(smiles, charge, unpaired, 1),), SEED, "GFN2-xTB")
    return _graph(recipe, Frame(numbers, positions, found, "relaxed"), "starter/molecules")


def short(values: np.ndarray) -> torch.Tensor:
    """float32 rounded to 16 significant bits: relative error below 1.6e-5, and the last byte compresses away."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    rounded = np.ldexp(np.round(mantissa * 2.0**16), exponent - 16)
    return torch.from_numpy(np.where(np.abs(values) < 1e-7, 0.0, rounded).astype(np.float32))


def _summary(graphs: list[Graph]) -> dict[str, Any]:
    from ase.data import chemical_symbols

    elements: dict[str, Counter[str]] = {}
    for g in graphs:
        elements.setdefault(g.level, Counter()).update(chemical_symbols[z] for z in set(g.species.tolist()))
    sizes = [g.num_nodes for g in graphs]
    return {
        "graphs": len(graphs),
        "groups": len({g.group for g in graphs}),
        "levels": dict(Counter(g.level for g in graphs)),
        "graphs_with_element": {level: dict(sorted(c.items())) for level, c in elements.items()},
        "charges": dict(Counter(str(int(g.conditions["charge"])) for g in graphs)),
        "atoms": {
            "min": min(sizes),
            "mean": math.fsum(sizes) / len(sizes),
            "max": max(sizes),
            "total": sum(sizes),
        },
    }
