"""Crystal prototypes, and the steps from an ideal crystal to a labelled record: build, deform, snap, label.

Positions and cells are multiples of 2^-12 angstrom, set before labelling, so storing them as float32 loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..graph import Graph

if TYPE_CHECKING:
    from ase import Atoms

METALS: dict[str, float] = {
    "Al": 4.05,
    "Ni": 3.52,
    "Cu": 3.61,
    "Pd": 3.89,
    "Ag": 4.09,
    "Pt": 3.92,
    "Au": 4.08,
}
"""Elements of effective medium theory and their fcc lattice constants in angstrom, the scale of every cell built here."""
FCC_VOLUMES = {symbol: a**3 / 4 for symbol, a in METALS.items()}
"""angstrom^3 per atom."""
GRID = 4096.0
"""Positions and cells are multiples of 1 / GRID angstrom."""
Sites = tuple[tuple[float, float, float], ...]
_F: Sites = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
_B: Sites = ((0, 0, 0), (0.5, 0.5, 0.5))


def _moved(sites: Sites, by: float) -> Sites:
    return tuple((x + by, y + by, z + by) for x, y, z in sites)


_HEX = ((1.0, 0.0, 0.0), (-0.5, 0.75**0.5, 0.0), (0.0, 0.0, (8 / 3) ** 0.5))
_CUBE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_TALL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 2.0))
_HCP: Sites = ((0, 0, 0), (1 / 3, 2 / 3, 0.5))
_HCP4: Sites = (*((x / 2, y, z) for x, y, z in _HCP), *((x / 2 + 0.5, y, z) for x, y, z in _HCP))
_FCC8: Sites = (*((x, y, z / 2) for x, y, z in _F), *((x, y, z / 2 + 0.5) for x, y, z in _F))
_HEX4 = ((2.0, 0.0, 0.0), _HEX[1], _HEX[2])

PROTOTYPES: dict[str, tuple[str, tuple[tuple[float, ...], ...], Sites, float]] = {
    # name: (letters of the sites, cell in units of a, fractional sites, volume per atom over that of fcc)
    "fcc": ("AAAA", _CUBE, _F, 1.0),
    "bcc": ("AA", _CUBE, _B, 1.02),
    "hcp": ("AA", _HEX, _HCP, 1.0),
    "sc": ("A", _CUBE, ((0, 0, 0),), 1.12),
    "diamond": ("AAAAAAAA", _CUBE, (*_F, *_moved(_F, 0.25)), 1.45),
    "L1_2": ("ABBB", _CUBE, _F, 1.0),
    "L1_0": ("ABBA", _CUBE, _F, 1.0),
    "B2": ("AB", _CUBE, _B, 1.02),
    "rocksalt": ("AAAABBBB", _CUBE, (*_F, *((x + 0.5, y, z) for x, y, z in _F)), 1.12),
    "zincblende": ("AAAABBBB", _CUBE, (*_F, *_moved(_F, 0.25)), 1.45),
    "B_h": ("AB", _HEX, _HCP, 1.0),
    "hcp-AB3": ("ABBB", _HEX4, _HCP4, 1.0),
    "D0_3": ("A" * 4 + "B" * 12, _CUBE, (*_F, *_moved(_F, 0.25), *_moved(_F, 0.5), *_moved(_F, 0.75)), 1.02),
    "fluorite": ("AAAABBBBBBBB", _CUBE, (*_F, *_moved(_F, 0.25), *_moved(_F, 0.75)), 1.3),
    "fcc-AB7": ("ABBBBBBB", _TALL, _FCC8, 1.0),
    "fcc-ABC2": ("ABCC", _CUBE, _F, 1.0),
    "hcp-ABC2": ("ABCC", _HEX4, _HCP4, 1.0),
    "fcc-A2B3C3": ("AABBBCCC", _TALL, _FCC8, 1.0),
    "fcc-ABC6": ("ABCCCCCC", _TALL, _FCC8, 1.0),
}
"""Ordered structures: one element each (letters A), two (A, B) or three (A, B, C)."""


def build(prototype: str, elements: tuple[str, ...], volumes: Mapping[str, float] = FCC_VOLUMES) -> Atoms:
    """The ideal crystal of ``prototype`` with ``elements`` at A, B, C; volume from the elements' close-packed ``volumes`` in
    angstrom^3 per atom (Vegard)."""
    from ase import Atoms

    letters, cell, sites, swelling = PROTOTYPES[prototype]
    symbols = [elements["ABC".index(letter)] for letter in letters]
    volume = swelling * sum(volumes[s] for s in symbols)
    length = (volume / np.linalg.det(np.array(cell))) ** (1 / 3)
    return Atoms(symbols, scaled_positions=np.array(sites), cell=np.array(cell) * length, pbc=True)


def reduced_formula(symbols: list[str]) -> str:
    """Element symbols in alphabetical order with the smallest whole numbers, e.g. ``"AlNi3"``."""
    counts = Counter(symbols)
    divisor = gcd(*counts.values())
    return "".join(f"{s}{counts[s] // divisor if counts[s] > divisor else ''}" for s in sorted(counts))


def snap(atoms: Atoms) -> None:
    """Wrap the atoms into the cell and round cell and positions to multiples of 2^-12 angstrom, in place."""
    atoms.set_cell(np.round(atoms.cell.array * GRID) / GRID, scale_atoms=True)
    atoms.wrap()
    atoms.positions = np.round(atoms.positions * GRID) / GRID


def coarse(values: np.ndarray, bits: int = 16) -> np.ndarray:
    """``values`` with ``bits`` significant bits (relative error at most ``2**-bits``), which compress better."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


def closest(atoms: Atoms) -> float:
    """The shortest distance between two atoms or images, in angstrom."""
    from ase.neighborlist import neighbor_list

    return float(neighbor_list("d", atoms, 4.0).min(initial=4.0))


def deform(
    atoms: Atoms,
    rng: np.random.Generator,
    volume: tuple[float, float],
    strain: float,
    rattle: tuple[float, float],
) -> None:
    """Scale the volume by a factor in ``volume``, strain by a symmetric matrix of size ``strain``, move every atom by
    Gaussian noise of a width in ``rattle`` (angstrom), and snap; in place."""
    noise = rng.normal(scale=strain, size=(3, 3)) if strain else np.zeros((3, 3))
    shear = (noise + noise.T) / 2
    shear -= np.eye(3) * np.trace(shear) / 3
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + shear) * rng.uniform(*volume) ** (1 / 3), scale_atoms=True)
    width = rng.uniform(*rattle)
    atoms.positions += rng.normal(scale=width, size=(len(atoms), 3)) if width else 0.0
    snap(atoms)


def labelled(
    atoms: Atoms,
    energy: float,
    forces: np.ndarray,
    stress: np.ndarray,
    level: str,
    group: str,
    dataset: str = "starter/crystals",
) -> Graph:
    """The ``Graph`` of a crystal with its labels: energy in eV, forces ``[N, 3]`` in eV/angstrom, stress ``[3, 3]`` in
    eV/angstrom^3 with ASE's sign."""
    symmetric = (stress + stress.T) / 2
    return Graph(
        positions=torch.from_numpy(atoms.positions.copy()),
        species=torch.from_numpy(atoms.numbers.astype(np.int64)),
        world="crystal",
        cell=torch.from_numpy(atoms.cell.array.copy()),
        pbc=torch.ones(3, dtype=torch.bool),
        quantities={
            "energy": torch.tensor(energy, dtype=torch.float64),
            "forces": torch.from_numpy(coarse(forces).astype(np.float32)),
            "stress": torch.from_numpy(symmetric.astype(np.float32)),
        },
        level=level,
        dataset=dataset,
        group=group,
    )
