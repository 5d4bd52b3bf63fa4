"""Frames of one system (same atoms in the same order, same level) side by side, and the pairs of them that are near.

Along the segment between two near frames ``dE = -integral F.dx``; the trapezoid ``-(F_i + F_j)/2 . dx`` of it is exact for a
harmonic energy, so it serves at thermal amplitudes too. Molecules are superposed first (Kabsch), crystals are compared in
fractional coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from atomfield.data.graph import Graph

MAX_FRAMES = 48
"""Frames of one system that are compared with each other."""
MAX_ATOMS = 400_000
"""Atoms of one source that are kept for the comparison."""
NEIGHBORS = 3
"""Nearest frames of each frame that are compared."""
SMALLEST = 1e-5
"""Mean square displacement (angstrom^2) below which two frames count as the same point."""
LARGEST = 0.5
"""Mean square displacement (angstrom^2) beyond which two frames are not near: atoms have changed places."""
_MAX_STRAIN = 0.12
_SAME_CELL = 1e-5


@dataclass
class Sample:
    """Graphs of one level and file, by system. ``systems``: key -> record numbers and graphs."""

    systems: dict[bytes, list[tuple[int, Graph]]] = field(default_factory=dict)
    num_atoms: int = 0

    def add(self, record: int, graph: Graph) -> None:
        """Keep the graph while there is room for its system and for the source."""
        if self.num_atoms > MAX_ATOMS or not {"forces", "stress", "energy"} & set(graph.quantities):
            return
        conditions = repr(sorted(graph.conditions.items()))
        key = graph.species.numpy().tobytes() + graph.pbc.numpy().tobytes() + conditions.encode()
        frames = self.systems.setdefault(key, [])
        if len(frames) < MAX_FRAMES:
            frames.append((record, graph))
            self.num_atoms += graph.num_nodes

    def graphs(self) -> list[Graph]:
        return [graph for frames in self.systems.values() for _, graph in frames]


@dataclass(frozen=True)
class Pairs:
    """Near frames ``(i, j)`` of all systems, ``[P]`` each, in the file's numbers.

    energy: ``E_j - E_i``. work: ``-(F_i + F_j)/2 . dx``. turn: ``-(F_j - F_i) . dx``, positive where forces restore. square:
    ``|dx|^2``. stretch: ``(sigma_i + sigma_j)/2 : strain`` times the mean volume; stretch_turn: of the difference of the two
    stresses. strained: whether the cells differ. records: ``[P, 2]``. NaN where a frame lacks the label.
    """

    energy: np.ndarray
    work: np.ndarray
    turn: np.ndarray
    square: np.ndarray
    stretch: np.ndarray
    stretch_turn: np.ndarray
    strained: np.ndarray
    num_atoms: np.ndarray
    volume: np.ndarray
    records: np.ndarray

    def __len__(self) -> int:
        return len(self.energy)

    def usable(self) -> np.ndarray:
        """``[P]`` bool: pairs with energies and forces (and stresses, where the cells differ), farther apart than rounding."""
        known = np.isfinite(self.energy) & np.isfinite(self.work)
        known &= ~self.strained | np.isfinite(self.stretch)
        return known & (self.square > SMALLEST * self.num_atoms)


def near_pairs(sample: Sample) -> Pairs:
    """The nearest frames of every system of the sample."""
    rows: list[tuple[float, ...]] = []
    for frames in sample.systems.values():
        if len(frames) > 1 and (graph := frames[0][1]).num_nodes > 1:
            rows += _molecule_rows(frames) if graph.world == "molecule" else _crystal_rows(frames)
    table = np.array(rows, dtype=np.float64).reshape(-1, 11)
    energy, work, turn, square, stretch, stretch_turn, strained, num_atoms, volume = table[:, :9].T
    records = table[:, 9:].astype(np.int64)
    return Pairs(
        energy, work, turn, square, stretch, stretch_turn, strained.astype(bool), num_atoms, volume, records
    )


def _labels(frames: Sequence[tuple[int, Graph]]) -> tuple[np.ndarray, np.ndarray]:
    """Energies ``[K]`` and forces ``[K, N, 3]``, NaN where missing."""
    count = frames[0][1].num_nodes
    missing = np.full((count, 3), np.nan)
    energy = np.array([float(g.quantities.get("energy", np.nan)) for _, g in frames])
    forces = np.stack(
        [g.quantities["forces"].double().numpy() if "forces" in g.quantities else missing for _, g in frames]
    )
    return energy, forces


def _nearest(square: np.ndarray, num_atoms: int) -> np.ndarray:
    """``[P, 2]`` unordered pairs: each frame with its nearest others that are near and not the same point."""
    count = len(square)
    far = np.eye(count, dtype=bool) | (square < 1e-10) | (square > LARGEST * num_atoms)
    apart = np.where(far, np.inf, square)
    order = np.argsort(apart, axis=1)[:, :NEIGHBORS]
    pairs = {
        (min(i, j), max(i, j)) for i in range(count) for j in order[i].tolist() if np.isfinite(apart[i, j])
    }
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _molecule_rows(frames: Sequence[tuple[int, Graph]]) -> list[tuple[float, ...]]:
    energy, forces = _labels(frames)
    positions = np.stack([g.positions.numpy() for _, g in frames])
    positions = positions - positions.mean(axis=1, keepdims=True)
    count = len(frames)
    left, right = np.triu_indices(count, 1)
    turns = _superpose(positions[left], positions[right])
    moved = np.einsum("pna,pab->pnb", positions[right], turns)
    distance = np.square(moved - positions[left]).sum(axis=(1, 2))
    square = np.zeros((count, count))
    square[left, right] = square[right, left] = distance
    place = {(int(i), int(j)): p for p, (i, j) in enumerate(zip(left, right, strict=True))}
    rows: list[tuple[float, ...]] = []
    for i, j in _nearest(square, positions.shape[1]).tolist():
        p = place[i, j]
        step = moved[p] - positions[i]
        other = forces[j] @ turns[p]
        rows.append(
            (
                energy[j] - energy[i],
                -float(((forces[i] + other) * step).sum()) / 2,
                -float(((other - forces[i]) * step).sum()),
                float((step**2).sum()),
                np.nan,
                np.nan,
                0.0,
                positions.shape[1],
                np.nan,
                frames[i][0],
                frames[j][0],
            )
        )
    return rows


def _superpose(target: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Proper rotations ``[P, 3, 3]`` such that ``moving @ rotation`` is nearest to ``target`` (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(np.einsum("pna,pnb->pab", moving, target))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    u[:, :, 2] *= np.where(sign < 0, -1.0, 1.0)[:, None]
    return u @ vt


def _crystal_rows(frames: Sequence[tuple[int, Graph]]) -> list[tuple[float, ...]]:
    """Pairs of equal cells, and of cells that differ by a strain without a rotation."""
    energy, forces = _labels(frames)
    cells = np.stack([g.cell.numpy() for _, g in frames])
    if not frames[0][1].pbc.all() or np.abs(np.linalg.det(cells)).min() < 1e-6:
        return []
    inverse = np.linalg.inv(cells)
    fractional = np.stack([g.positions.numpy() for _, g in frames]) @ inverse
    stress = np.stack(
        [
            g.quantities["stress"].double().numpy() if "stress" in g.quantities else np.full((3, 3), np.nan)
            for _, g in frames
        ]
    )
    deformation = np.einsum("iab,jbc->ijac", inverse, cells) - np.eye(3)
    strain = np.abs(deformation).max(axis=(2, 3))
    spin = np.abs(deformation - np.swapaxes(deformation, 2, 3)).max(axis=(2, 3))
    count = len(frames)
    square = np.full((count, count), np.inf)
    for i in range(count):
        step = fractional - fractional[i]
        step -= np.round(step)
        step -= step.mean(axis=1, keepdims=True)
        step -= np.round(step)
        square[i] = np.square(step @ cells[i]).sum(axis=(1, 2))
    lengths = np.cbrt(np.abs(np.linalg.det(cells))).mean()
    total = square + frames[0][1].num_nodes * (lengths * strain) ** 2 / 12
    total[(strain > _MAX_STRAIN) | (spin > 0.3 * strain + 0.01)] = np.inf
    total = np.minimum(total, total.T)
    same = np.where(strain < _SAME_CELL, total, np.inf)
    other = np.where(strain >= _SAME_CELL, total, np.inf)
    chosen = {tuple(p) for table in (same, other) for p in _nearest(table, frames[0][1].num_nodes).tolist()}
    rows: list[tuple[float, ...]] = []
    for i, j in sorted(chosen):
        step = fractional[j] - fractional[i]
        step -= np.round(step)
        step -= step.mean(axis=0)
        step = step @ (cells[i] + cells[j]) / 2
        middle = np.linalg.inv((cells[i] + cells[j]) / 2) @ (cells[j] - cells[i])
        strained = (middle + middle.T) / 2
        volume = abs(float(np.linalg.det((cells[i] + cells[j]) / 2)))
        mean_stress = (stress[i] + stress[j]) / 2
        rows.append(
            (
                energy[j] - energy[i],
                -float(((forces[i] + forces[j]) * step).sum()) / 2,
                -float(((forces[j] - forces[i]) * step).sum()),
                float((step**2).sum()),
                volume * float((mean_stress * strained).sum()),
                volume * float(((stress[j] - stress[i]) * strained).sum()),
                float(strain[i, j] >= _SAME_CELL),
                len(step),
                volume,
                frames[i][0],
                frames[j][0],
            )
        )
    return rows
