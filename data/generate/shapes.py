"""Geometries of molecules before anything is labelled: embedded, one bond stretched, two molecules in contact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .species import Species


class Shape(NamedTuple):
    """Atomic numbers ``[N]``, positions ``[N, 3]`` in angstrom and bonds (pairs of atom indices) of a molecule or a cluster."""

    numbers: np.ndarray
    positions: np.ndarray
    bonds: tuple[tuple[int, int], ...]


def embed(species: Species, seed: int) -> Shape | None:
    """ETKDGv3 (Wang et al. 2020), then MMFF94 or, where that has no parameters, UFF."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    with rdBase.BlockLogs():
        molecule = Chem.AddHs(Chem.MolFromSmiles(species.smiles))
        parameters = rdDistGeom.ETKDGv3()
        parameters.randomSeed = seed % 2**31
        if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
            parameters.useRandomCoords = True
            if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
                return None
        if molecule.GetNumAtoms() > 1:
            if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
                rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=500)
            elif rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule):
                rdForceFieldHelpers.UFFOptimizeMolecule(molecule, maxIters=500)
    return Shape(
        np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()]),
        np.array(molecule.GetConformer().GetPositions()),
        tuple((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()),
    )


def stretched(shape: Shape, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Positions ``[N, 3]`` with one random bond made ``factor`` times as long; the smaller side moves, or one end if
    the bond is in a ring. Slightly rattled."""
    i, j = shape.bonds[rng.integers(len(shape.bonds))]
    moved = smaller_side(shape, i, j)
    if j not in moved:
        i, j = j, i
    positions = shape.positions + 0.02 * rng.standard_normal(shape.positions.shape)
    positions[sorted(moved)] += (factor - 1) * (shape.positions[j] - shape.positions[i])
    return positions


def side(shape: Shape, start: int, cut: int) -> set[int]:
    """The atoms reached from ``start`` without the bond to ``cut``."""
    seen, todo = {start}, [start]
    while todo:
        k = todo.pop()
        for a, b in shape.bonds:
            if {a, b} == {start, cut} or k not in (a, b):
                continue
            other = b if k == a else a
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def smaller_side(shape: Shape, i: int, j: int) -> set[int]:
    """Atoms on the side of the bond that has fewer; of a ring's bond the end ``j`` alone."""
    moved = side(shape, j, i)
    if i in moved:
        return {j}
    return moved if 2 * len(moved) <= len(shape.numbers) else side(shape, i, j)


def neighbours(shape: Shape) -> list[list[int]]:
    """The atoms bonded to each atom."""
    near: list[list[int]] = [[] for _ in shape.numbers]
    for i, j in shape.bonds:
        near[i].append(j)
        near[j].append(i)
    return near


def contact(first: Shape, second: Shape, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Positions ``[N1 + N2, 3]`` of two molecules, randomly turned, whose closest contact is ``factor`` times
    the sum of the van der Waals radii (Alvarez 2013)."""
    from ase.data.vdw_alvarez import vdw_radii

    a = first.positions - first.positions.mean(axis=0)
    b = (second.positions - second.positions.mean(axis=0)) @ rotation(rng).T
    direction = rotation(rng)[0]
    sums = vdw_radii[first.numbers][:, None] + vdw_radii[second.numbers][None]
    offset = 0.0
    for step in (0.5, 0.05, 0.005):
        while (np.linalg.norm(a[:, None] - (b + offset * direction)[None], axis=-1) / sums).min() < factor:
            offset += step
        offset = max(0.0, offset - step)
    turned = np.concatenate([a, b + (offset + 0.005) * direction])
    return turned + 0.03 * rng.standard_normal(turned.shape)


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A uniformly random rotation matrix ``[3, 3]``."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q
