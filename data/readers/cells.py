"""Cells of unstructured meshes: which node types there are, their measures (area or volume), faces and neighbours.

Corners are numbered as in VTK (The VTK User's Guide, 11th edition, chapter 19; meshio has the same order). Nodes beyond the
corners of second-order cells are joined like corners, and share the measure of the straight cell.
"""

from __future__ import annotations

import numpy as np

from atomfield.data.graph import Edges
from atomfield.data.neighbors import mesh_edges

CORNERS: dict[str, int] = {
    "line": 2, "line3": 2, "triangle": 3, "triangle6": 3, "quad": 4, "quad8": 4, "quad9": 4, "tetra": 4, "tetra10": 4,
    "pyramid": 5, "wedge": 6, "hexahedron": 8, "hexahedron20": 8, "hexahedron27": 8,
}  # fmt: skip
"""meshio's name of a cell -> its number of corners (the first nodes of a row)."""
FLAT = {"triangle", "triangle6", "quad", "quad8", "quad9"}
SOLID = {"tetra", "tetra10", "pyramid", "wedge", "hexahedron", "hexahedron20", "hexahedron27"}
_TETRAHEDRA: dict[int, tuple[tuple[int, int, int, int], ...]] = {
    4: ((0, 1, 2, 3),),
    5: ((0, 1, 2, 4), (0, 2, 3, 4)),
    6: ((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)),
    8: ((0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)),
}
"""A solid cell with so many corners, cut into tetrahedra; exact where its faces are plane."""
_FACES: dict[int, tuple[tuple[int, ...], ...]] = {
    4: ((0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 2, 3)),
    5: ((0, 1, 2, 3), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)),
    6: ((0, 1, 2), (3, 4, 5), (0, 1, 4, 3), (1, 2, 5, 4), (2, 0, 3, 5)),
    8: ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)),
}
Blocks = list[tuple[str, np.ndarray]]
"""Cells by kind: meshio's name and node numbers ``[C, nodes]``."""


def interior(blocks: Blocks) -> Blocks:
    """The cells that fill the mesh: solids if there are any, else the flat ones, else lines. The rest is its border."""
    for kinds in (SOLID, FLAT):
        inner = [(kind, block) for kind, block in blocks if kind in kinds]
        if inner:
            return inner
    return blocks


def measures(points: np.ndarray, kind: str, block: np.ndarray) -> np.ndarray:
    """Length, area or volume of each cell ``[C]``."""
    corners = points[block[:, : CORNERS[kind]]]
    if kind in SOLID:
        total = np.zeros(len(block))
        for a, b, c, d in _TETRAHEDRA[CORNERS[kind]]:
            origin = corners[:, a]
            triple = np.cross(corners[:, b] - origin, corners[:, c] - origin) * (corners[:, d] - origin)
            total += np.abs(triple.sum(1)) / 6
        return total
    if kind in FLAT:
        nxt = np.roll(corners, -1, axis=1)
        return 0.5 * np.linalg.norm(np.cross(corners - corners[:, :1], nxt - corners[:, :1]).sum(1), axis=1)
    return np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)


def corner_shares(points: np.ndarray, blocks: Blocks) -> np.ndarray | None:
    """Quadrature weight of each node ``[N]``: each cell's measure shared equally by its nodes; None if a node has none."""
    weights = np.zeros(len(points))
    for kind, block in interior(blocks):
        share = measures(points, kind, block) / block.shape[1]
        np.add.at(weights, block.reshape(-1), np.repeat(share, block.shape[1]))
    return weights if (weights > 0).all() else None


def centres(points: np.ndarray, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the corners ``[C, 3]`` and measure ``[C]`` of all cells, block after block."""
    middle = [points[block[:, : CORNERS[kind]]].mean(1) for kind, block in blocks]
    return np.concatenate(middle), np.concatenate([measures(points, kind, block) for kind, block in blocks])


def shared_faces(blocks: Blocks) -> np.ndarray:
    """Pairs of cells ``[P, 2]`` (counted block after block) that share a face: a side of flat cells, an end of lines."""
    keys, owners = [], []
    first = 0
    for kind, block in blocks:
        count = CORNERS[kind]
        sides: tuple[tuple[int, ...], ...]
        if kind in SOLID:
            sides = _FACES[count]
        elif kind in FLAT:
            sides = tuple((i, (i + 1) % count) for i in range(count))
        else:
            sides = ((0,), (1,))
        for side in sides:
            face = np.full((len(block), 4), -1, dtype=np.int64)
            face[:, : len(side)] = block[:, side]
            keys.append(np.sort(face, axis=1))
            owners.append(np.arange(first, first + len(block)))
        first += len(block)
    faces, owner = np.concatenate(keys), np.concatenate(owners)
    order = np.lexsort(faces.T)
    same = (faces[order][1:] == faces[order][:-1]).all(1)
    return np.stack([owner[order][:-1][same], owner[order][1:][same]], 1)


def node_edges(blocks: Blocks) -> Edges:
    """Edges between all nodes that share a cell, both directions."""
    import torch

    parts = [mesh_edges(block) for _, block in blocks]
    if len(parts) == 1:
        return parts[0]
    index = torch.unique(torch.cat([b.index for b in parts], dim=1).flip(0), dim=1).flip(0)
    return Edges(index, torch.zeros(index.shape[1], 3, dtype=torch.int64))
