"""Scales that nature fixes: bond lengths, the stiffness of bonds to hydrogen, total energies of atoms with all electrons.

They tell angstrom from bohr, eV from hartree and a force from its negative where labels agree with each other but not with us.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atomfield.data.graph import Graph

from .frames import Sample

HARTREE = 27.211386245988
_NOBLE = np.array([2, 10, 18, 36, 54, 86])
_EXACT = (
    0.5, 2.90372, 7.47806, 14.66736, 24.65391, 37.8450, 54.5892, 75.0673, 99.7339, 128.9376,
    162.2546, 200.053, 242.346, 289.359, 341.259, 398.110, 460.148, 527.540,
)  # fmt: skip
"""Minus the non-relativistic energies of the atoms H to Ar, hartree (Chakravorty et al., Phys. Rev. A 47, 3649 (1993))."""
_HEAVIEST = 36
_MOST_ATOMS = 400
_RECORDS = 400


@lru_cache(maxsize=1)
def covalent_radii() -> np.ndarray:
    """``[119]`` angstrom (Cordero et al. 2008, as in ASE)."""
    from ase.data import covalent_radii as radii

    return np.array(radii[:119], dtype=np.float64)


def all_electron_energy(species: np.ndarray) -> float:
    """Sum of the atoms' total energies in eV, NaN beyond krypton (relativity, effective cores).

    Above argon the statistical formula ``-0.768745 Z^(7/3) + Z^2/2 - 0.2699 Z^(5/3)`` hartree (Schwinger, Phys. Rev. A 24, 2353
    (1981)), within 0.5 %.
    """
    if species.max() > _HEAVIEST:
        return float("nan")
    z = np.arange(1, _HEAVIEST + 1, dtype=np.float64)
    table = -0.768745 * z ** (7 / 3) + z**2 / 2 - 0.2699 * z ** (5 / 3)
    table[: len(_EXACT)] = -np.array(_EXACT)
    return HARTREE * float(table[species - 1].sum())


def closest_bond(graph: Graph) -> tuple[float, int, int]:
    """The shortest distance in units of the sum of covalent radii, and its two atoms; NaN where no pair is within 5 of them.

    Periodic images count. Noble gases are left out: nothing bonds them.
    """
    from atomfield.data.neighbors import radius_edges

    species = graph.species.numpy()
    radii = covalent_radii()[species]
    keep = ~np.isin(species, _NOBLE)
    if (keep.sum() < 2 and not graph.pbc.any()) or not keep.any():
        return float("nan"), -1, -1
    edges = None
    for reach in (2.0 * radii.max(), 5.0 * radii.max()):
        edges = radius_edges(graph.positions, graph.cell, graph.pbc, float(reach))
        if edges.num_edges:
            break
    assert edges is not None
    index, shift = edges.index.numpy(), edges.shift.numpy()
    used = keep[index[0]] & keep[index[1]]
    index, shift = index[:, used], shift[used]
    if not index.size:
        return float("nan"), -1, -1
    positions = graph.positions.numpy()
    vector = positions[index[0]] + shift @ graph.cell.numpy() - positions[index[1]]
    ratio = np.linalg.norm(vector, axis=1) / (radii[index[0]] + radii[index[1]])
    best = int(ratio.argmin())
    return float(ratio[best]), int(index[1, best]), int(index[0, best])


@dataclass(frozen=True)
class Bonds:
    """Medians over records of three or more atoms. ratio: shortest bond in units of covalent radii, near 1 in angstrom and near
    1.9 in bohr. length: the same bond in the file's length. organic: whether it is a bond of hydrogen in a molecule with carbon,
    nitrogen or oxygen, whose ratio is very nearly 1."""

    ratio: float = float("nan")
    length: float = float("nan")
    organic: bool = False


def shortest_bonds(graphs: Sequence[Graph]) -> Bonds:
    """Of evenly spread records."""
    found, organic = [], 0
    for g in graphs[:: max(1, len(graphs) // _RECORDS)]:
        if not (g.num_nodes > 2 or g.pbc.any()) or g.num_nodes > _MOST_ATOMS:
            continue
        ratio, i, j = closest_bond(g)
        if np.isfinite(ratio):
            pair = g.species.numpy()[[i, j]]
            found.append((ratio, ratio * covalent_radii()[pair].sum()))
            organic += g.world == "molecule" and bool((pair == 1).any() and np.isin(pair, (6, 7, 8)).any())
    if not found:
        return Bonds()
    ratio, length = np.median(np.array(found), axis=0).tolist()
    return Bonds(ratio, length, organic > 0.8 * len(found))


def hydrogen_stiffness(sample: Sample, length: float) -> tuple[float, float]:
    """Stiffness of the bonds of hydrogen to C, N and O, and the correlation that it comes from; NaN where bonds do not vary.

    It is minus the slope of hydrogen's force along the bond against the bond's length, in the file's force per the file's
    length. Nature: 25 to 55 eV/angstrom^2, with a correlation near 1 in thermal motion.

    length: what the file's positions are multiplied with to be in angstrom.
    """
    slopes, weights, agreements = [], [], []
    for frames in sample.systems.values():
        graphs = [g for _, g in frames if "forces" in g.quantities]
        if len(graphs) < 4 or graphs[0].world != "molecule" or graphs[0].num_nodes < 2:
            continue
        species = graphs[0].species.numpy()
        hydrogens = np.flatnonzero(species == 1)
        heavy = np.flatnonzero(np.isin(species, (6, 7, 8)))
        if not len(hydrogens) or not len(heavy):
            continue
        positions = np.stack([g.positions.numpy() for g in graphs])
        forces = np.stack([g.quantities["forces"].double().numpy() for g in graphs])
        offset = positions[:, hydrogens, None] - positions[:, None, heavy]
        distance = np.linalg.norm(offset, axis=3)
        near = distance.mean(axis=0).argmin(axis=1)
        column = np.arange(len(hydrogens))
        bond = distance[:, column, near]
        along = (forces[:, hydrogens] * offset[:, column, near] / bond[..., None]).sum(axis=2)
        bonded = (bond.max(axis=0) * length < 1.4) & (bond.std(axis=0) * length > 2e-3)
        x, y = (
            bond[:, bonded] - bond[:, bonded].mean(axis=0),
            along[:, bonded] - along[:, bonded].mean(axis=0),
        )
        if x.size:
            slopes.append(-(x * y).sum(axis=0) / (x * x).sum(axis=0))
            weights.append((x * x).sum(axis=0))
            size = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
            agreements.append(-(x * y).sum(axis=0) / np.maximum(size, 1e-300))
    if not slopes:
        return float("nan"), float("nan")
    slope, weight = np.concatenate(slopes), np.concatenate(weights)
    order = np.argsort(slope)
    middle = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    agreement = float(np.average(np.concatenate(agreements), weights=weight))
    return float(slope[order][min(middle, len(order) - 1)]), agreement


def energy_ratios(sample: Sample) -> np.ndarray:
    """``[S]`` energy of each system over the sum of its atoms' all-electron energies in eV: 1 for such totals in eV."""
    ratios: dict[bytes, list[float]] = defaultdict(list)
    for frames in sample.systems.values():
        graph = frames[0][1]
        species = graph.species.numpy()
        if "energy" in graph.quantities:
            ratio = float(graph.quantities["energy"]) / all_electron_energy(species)
            if np.isfinite(ratio):
                ratios[np.bincount(species, minlength=119).tobytes()].append(ratio)
    return np.array([np.median(r) for r in ratios.values()])
