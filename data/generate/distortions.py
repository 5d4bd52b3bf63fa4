"""Geometries distorted by hand: bonds stretched, angles bent, torsions turned, two in contact, several packed, a hydrogen passed
on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .shapes import Shape, contact, neighbours, rotation, side, smaller_side

CONTACTS = (0.65, 0.72, 0.8, 0.88, 0.96, 1.06, 1.2, 1.45, 1.9, 3.0)
"""Closest contacts, as multiples of the sum of van der Waals radii."""
PACKED, PACKED_METAL = (0.72, 0.95), (0.58, 0.72)
"""The same in a cluster; of metal ions, whose radii are those of atoms."""
METALS = {3, 11, 12, 13, 19, 20, 30}
DONORS, ACCEPTORS = {7, 8, 9, 16, 17}, {7, 8, 9, 16, 17, 35}


def stretched_bonds(shape: Shape, number: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Positions ``[N, 3]`` with ``number`` random bonds longer or shorter, and the largest factor."""
    positions, longest = shape.positions.copy(), 1.0
    chosen = rng.choice(len(shape.bonds), size=min(number, len(shape.bonds)), replace=False)
    for k in chosen:
        far = rng.random() < 0.4
        if number == 1:
            factor = rng.uniform(1.3, 2.6) if far else rng.uniform(0.8, 1.3)
        else:
            factor = rng.uniform(1.3, 2.0) if far else rng.uniform(0.85, 1.3)
        i, j = shape.bonds[k]
        moved = smaller_side(shape, i, j)
        if j not in moved:
            i, j = j, i
        positions[sorted(moved)] += (factor - 1) * (positions[j] - positions[i])
        longest = max(longest, factor)
    return positions, longest


def bent(shape: Shape, rng: np.random.Generator) -> np.ndarray | None:
    """Positions with one angle changed by 10 to 40 degrees; None where no angle can be."""
    near = neighbours(shape)
    corners = [(i, j, k) for j, around in enumerate(near) for i in around for k in around if i != k]
    for place in rng.permutation(len(corners))[:6]:
        i, j, k = corners[place]
        moved = side(shape, k, j)
        if j in moved or i in moved:
            continue
        axis = np.cross(shape.positions[i] - shape.positions[j], shape.positions[k] - shape.positions[j])
        if np.linalg.norm(axis) < 1e-2:
            axis = np.cross(shape.positions[i] - shape.positions[j], rng.standard_normal(3))
        angle = rng.choice([-1, 1]) * np.radians(rng.uniform(10, 40))
        return _about(shape.positions, moved, shape.positions[j], axis, angle)
    return None


def turned(shape: Shape, rng: np.random.Generator) -> np.ndarray | None:
    """Positions with one torsion turned by any angle; None where nothing can turn."""
    near = neighbours(shape)
    bonds = [(i, j) for i, j in shape.bonds if len(near[i]) > 1 and len(near[j]) > 1]
    for place in rng.permutation(len(bonds))[:6]:
        i, j = bonds[place]
        moved = side(shape, j, i)
        if i in moved:
            continue
        axis = shape.positions[j] - shape.positions[i]
        return _about(shape.positions, moved, shape.positions[j], axis, rng.uniform(0.3, 2 * np.pi - 0.3))
    return None


def in_contact(first: Shape, second: Shape, number: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions ``[N1 + N2, 3]`` of two molecules, turned anew for each of ``number`` distances."""
    for place in rng.permutation(len(CONTACTS))[:number]:
        factor = CONTACTS[place] * rng.uniform(0.95, 1.05)
        if _metal(first) or _metal(second):
            factor *= 0.8
        yield contact(first, second, factor, rng)


def packed(parts: Sequence[Shape], rng: np.random.Generator) -> Shape:
    """Several molecules, each put beside those before it."""
    whole = parts[0]
    for part in parts[1:]:
        low, high = PACKED_METAL if _metal(part) or (_metal(whole) and rng.random() < 0.8) else PACKED
        positions = contact(whole, part, rng.uniform(low, high), rng)
        offset = len(whole.numbers)
        bonds = (*whole.bonds, *((i + offset, j + offset) for i, j in part.bonds))
        whole = Shape(np.concatenate([whole.numbers, part.numbers]), positions, bonds)
    return whole


def passed_on(first: Shape, second: Shape, number: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """A hydrogen on the line from its atom in ``first`` to an atom of ``second``, at ``number`` places from end to end."""
    near = neighbours(first)
    hydrogens = [h for h, z in enumerate(first.numbers) if z == 1 and near[h]]
    hydrogens = [h for h in hydrogens if first.numbers[near[h][0]] in DONORS] or hydrogens
    acceptors = [a for a, z in enumerate(second.numbers) if z in ACCEPTORS]
    if not number or not hydrogens or not acceptors:
        return
    h, a = int(rng.choice(hydrogens)), int(rng.choice(acceptors))
    donor = near[h][0]
    bond = first.positions[h] - first.positions[donor]
    length = float(np.linalg.norm(bond))
    heavy = sum(z > 10 for z in (first.numbers[donor], second.numbers[a]))
    apart = rng.uniform(2.4, 3.0) + 0.4 * heavy
    site = first.positions[donor] + bond / length * apart
    choices = [(second.positions - second.positions[a]) @ rotation(rng).T + site for _ in range(30)]
    others = np.arange(len(second.numbers)) != a
    room = [_closest(first.positions, c[others]) for c in choices]
    placed = np.concatenate([first.positions, choices[int(np.argmax(room))]])
    new_length = length * (1.3 if second.numbers[a] > 10 else 1.0)
    for place in np.linspace(0, 1, number):
        along = length + place * (apart - new_length - length)
        positions = placed + 0.02 * rng.standard_normal(placed.shape)
        positions[h] = positions[donor] + bond / length * along
        yield positions


# ---------------------------------------------------------------------- pieces
def _about(
    positions: np.ndarray, moved: set[int], centre: np.ndarray, axis: np.ndarray, angle: float
) -> np.ndarray:
    """``moved`` atoms turned about an axis through ``centre`` (Rodrigues)."""
    k = axis / np.linalg.norm(axis)
    out = positions.copy()
    rows = sorted(moved)
    v = positions[rows] - centre
    out[rows] = centre + (
        v * np.cos(angle) + np.cross(k, v) * np.sin(angle) + np.outer(v @ k, k) * (1 - np.cos(angle))
    )
    return out


def _closest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a[:, None] - b[None], axis=-1).min(initial=np.inf))


def _metal(shape: Shape) -> bool:
    return bool(METALS & set(shape.numbers.tolist()))
