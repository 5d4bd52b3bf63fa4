"""Labelled data with a known truth: copper by EMT, molecules of the starter corpus by GFN2-xTB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.data.errors import Provenance
from atomfield.data.graph import Graph
from atomfield.data.source import open_source


def copper_frames(count: int = 24, strained: bool = False) -> list[Graph]:
    """Rattled 32-atom cells with energy, forces and stress of EMT (eV, angstrom)."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(0)
    start = bulk("Cu", "fcc", a=3.61, cubic=True).repeat((2, 2, 2))
    frames = []
    for number in range(count):
        atoms = start.copy()
        if strained:
            atoms.set_cell(atoms.cell * float(rng.uniform(0.97, 1.04)), scale_atoms=True)
        atoms.positions += 0.08 * rng.standard_normal(atoms.positions.shape) * (number % 4 != 0)
        atoms.positions += 0.02 * rng.standard_normal(atoms.positions.shape)
        atoms.calc = EMT()
        frames.append(
            Graph(
                torch.from_numpy(atoms.positions.copy()),
                torch.from_numpy(atoms.numbers.astype(np.int64)),
                "crystal",
                cell=torch.from_numpy(atoms.cell.array.copy()),
                pbc=torch.tensor([True] * 3),
                quantities={
                    "energy": torch.tensor(atoms.get_potential_energy(), dtype=torch.float64),
                    "forces": torch.from_numpy(atoms.get_forces()),
                    "stress": torch.from_numpy(atoms.get_stress(voigt=False)),
                },
                level="emt",
                group="Cu",
                provenance=Provenance("copper.extxyz", number, 1 + 34 * number),
            )
        )
    return frames


def scaled(
    graphs: Sequence[Graph],
    *,
    length: float = 1.0,
    energy: float = 1.0,
    forces: float = 1.0,
    stress: float = 1.0,
) -> list[Graph]:
    """The same records with numbers multiplied, as a file in other units has them."""
    factors = {"energy": energy, "forces": forces, "stress": stress}
    return [
        replace(
            g,
            positions=g.positions * length,
            cell=g.cell * length,
            quantities={name: value * factors.get(name, 1.0) for name, value in g.quantities.items()},
        )
        for g in graphs
    ]


@pytest.fixture(scope="session")
def copper() -> list[Graph]:
    return copper_frames()


@pytest.fixture(scope="session")
def squeezed_copper() -> list[Graph]:
    return copper_frames(strained=True)


@pytest.fixture(scope="session")
def molecules() -> list[Graph]:
    """The first 600 records of the starter corpus."""
    store = open_source("starter/molecules")
    return [store[i] for i in range(600)]


@pytest.fixture(scope="session")
def in_units() -> Callable[..., list[Graph]]:
    return scaled
