"""The cylinder wake at Re = 100 as trajectories on a mesh that ``atomfield`` reads.

    python benchmarks/convert_cylinder_wake.py --data DATA/cylinder_wake_nek5000 --out wake
    atomfield finetune --from CKPT --train wake/train.npz --valid wake/valid.npz --test wake/test.npz \
        --target velocity --out runs/wake

The data are a mean flow, modes on a quadrilateral mesh and their amplitudes from a direct simulation (Nek5000; dynamicslab
PySINDy examples, MIT): u(x, t) = mean(x) + sum_i a_i(t) mode_i(x), and the same for the vorticity. It is a filtered
simulation of rank 9, not the simulation itself.

There is one trajectory, so it is split into consecutive blocks of time, with a gap of one shedding period (5.58) between
them. The flow is on its limit cycle by t = 110: the blocks show the same cycle at other phases and a slow drift, so a
good score says that the cycle was learnt, not that unseen flows are predicted.

``--coarsen elements`` (default) keeps the corners of the spectral elements (2726 nodes, 2622 quads) of the full 10696 nodes;
``--coarsen N`` thins them to N nodes, evenly in units of the local mesh size, joined by Delaunay triangles;
``--coarsen none`` keeps all. Values are those of the simulation at the nodes that are kept; nothing is averaged.

Node types: wall (r = 0.5, velocity 0), inlet (x = -5, velocity (1, 0)), outlet (x = 15). The sides y = +-5 let the fluid slip
and count as interior. Normals point out of the fluid, into the cylinder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay

SOURCE = "cylinder_re100_pod_mesh.npz"
SHEDDING_PERIOD = 5.58
RADIUS = 0.5
INLET_X, OUTLET_X = -5.0, 15.0
VISCOSITY = 0.01
"""Diameter 1 times velocity 1 over Re = 100."""
INTERIOR, WALL, INLET, OUTLET = 1, 2, 3, 4


def element_corners(cells: np.ndarray) -> np.ndarray:
    """Quads ``[num_elements, 4]`` of spectral elements whose four cells are rows e, e + E, e + 2E, e + 3E of ``cells``.

    The node that the four share is the middle, those that two share are sides, the rest corners.
    """
    num_elements = len(cells) // 4
    blocks = cells.reshape(4, num_elements, 4).transpose(1, 0, 2)
    quads = np.zeros((num_elements, 4), dtype=np.int64)
    for e, block in enumerate(blocks):
        nodes, counts = np.unique(block, return_counts=True)
        if sorted(counts.tolist()) != [1, 1, 1, 1, 2, 2, 2, 2, 4]:
            raise SystemExit(
                f"element {e}: its four cells do not form a block of 3 x 3 nodes; use --coarsen none or a number"
            )
        corners = set(nodes[counts == 1].tolist())
        quads[e] = [next(int(n) for n in cell if int(n) in corners) for cell in block]
    return quads


def in_ring(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """The corners of each quad in the order of their angle about its centre."""
    corners = points[quads]
    offset = corners - corners.mean(axis=1, keepdims=True)
    order = np.argsort(np.arctan2(offset[..., 1], offset[..., 0]), axis=1)
    return np.take_along_axis(quads, order, axis=1)


def thinned(points: np.ndarray, size: np.ndarray, count: int, first: np.ndarray) -> np.ndarray:
    """``count`` nodes: each next one is the farthest from those chosen, in units of the local mesh ``size``, after ``first``."""
    distance = np.full(len(points), np.inf)
    chosen: list[int] = []
    for node in [*first.tolist(), *[-1] * (count - len(first))]:
        node = int(np.argmax(distance / size)) if node < 0 else node
        chosen.append(node)
        distance = np.minimum(distance, np.hypot(*(points - points[node]).T))
    return np.array(sorted(chosen))


def triangles_outside(points: np.ndarray) -> np.ndarray:
    """Delaunay triangles whose centre lies in the fluid."""
    simplices = Delaunay(points).simplices
    centers = points[simplices].mean(axis=1)
    a, b, c = (points[simplices[:, i]] for i in range(3))
    area = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    on_wall = (np.abs(np.hypot(*points.T) - RADIUS) < 1e-3)[simplices].all(axis=1)
    return simplices[(np.hypot(*centers.T) > RADIUS) & (area > 1e-9) & ~on_wall].astype(np.int64)


def coarsened(points: np.ndarray, cells: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Kept node numbers ``[N]`` and cells in terms of them."""
    if how == "none":
        return np.arange(len(points)), cells.astype(np.int64)
    quads = in_ring(points, element_corners(cells))
    kept, flat = np.unique(quads, return_inverse=True)
    quads = flat.reshape(quads.shape)
    if how == "elements":
        return kept, quads
    count = int(how)
    sides = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    length = np.hypot(*(points[kept][sides[:, 0]] - points[kept][sides[:, 1]]).T)
    size = np.full(len(kept), np.inf)
    for column in (0, 1):
        np.minimum.at(size, sides[:, column], length)
    wall = np.flatnonzero(np.abs(np.hypot(*points[kept].T) - RADIUS) < 1e-3)
    box = points[kept]
    corners = np.array(
        [np.argmin(np.abs(box - c).sum(axis=1)) for c in ((-5, -5), (-5, 5), (15, -5), (15, 5))]
    )
    first = np.unique(np.concatenate([wall, corners]))
    if not len(first) < count <= len(kept):
        raise SystemExit(
            f"--coarsen {count}: expected {len(first) + 1} to {len(kept)} nodes, elements or none"
        )
    chosen = thinned(box, size, count, first)
    return kept[chosen], triangles_outside(box[chosen])


def blocks_of_time(times: np.ndarray, gap: float, valid: float, test: float) -> dict[str, np.ndarray]:
    """Consecutive train, valid and test stretches with ``gap`` between them; ``valid`` and ``test`` are shares of the rest."""
    total = times[-1] - times[0] - 2 * gap
    first = times[0] + total * (1 - valid - test)
    second = first + gap + total * valid
    parts = {
        "train": times <= first,
        "valid": (times >= first + gap) & (times <= second),
        "test": times >= second + gap,
    }
    for name, mask in parts.items():
        if mask.sum() < 2:
            raise SystemExit(
                f"the {name} block has {mask.sum()} snapshots; take a smaller --gap, --start or --stride"
            )
    return parts


def node_types(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Types ``[N]`` and normals ``[N, 2]``."""
    radius = np.hypot(*points.T)
    types = np.full(len(points), INTERIOR, dtype=np.int8)
    normal = np.zeros_like(points)
    wall = np.abs(radius - RADIUS) < 1e-3
    types[np.abs(points[:, 0] - OUTLET_X) < 1e-3] = OUTLET
    types[np.abs(points[:, 0] - INLET_X) < 1e-3] = INLET
    types[wall] = WALL
    normal[wall] = -points[wall] / radius[wall, None]
    return types, normal


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {SOURCE}")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for train.npz, valid.npz and test.npz"
    )
    parser.add_argument(
        "--start", type=float, default=110.0, help="first time; the limit cycle is reached at about 107"
    )
    parser.add_argument("--stride", type=int, default=2, help="keep every n-th snapshot (they are 0.1 apart)")
    parser.add_argument("--coarsen", default="elements", help="none, elements, or a number of nodes")
    parser.add_argument("--gap", type=float, default=SHEDDING_PERIOD, help="time left out between the blocks")
    parser.add_argument("--valid", type=float, default=0.1, help="share of the validation block")
    parser.add_argument("--test", type=float, default=0.2, help="share of the test block")
    parser.add_argument("--no-vorticity", action="store_true", help="write the velocity only")
    args = parser.parse_args()
    if args.coarsen not in ("none", "elements") and not args.coarsen.isdigit():
        parser.error(f"--coarsen {args.coarsen}: expected none, elements or a number of nodes")
    if args.gap < SHEDDING_PERIOD:
        print(
            f"note: a gap of {args.gap} is less than one shedding period ({SHEDDING_PERIOD})", file=sys.stderr
        )
    return args


def main() -> None:
    args = arguments()
    path = args.data / SOURCE
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; --data is the folder that holds {SOURCE}")
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    points = data["pos"].astype(np.float64)
    nodes, cells = coarsened(points, data["cells"], args.coarsen)
    points = points[nodes]
    types, normal = node_types(points)
    moments = np.flatnonzero(data["t"] >= args.start - 1e-9)[:: args.stride]
    times = data["t"][moments]
    args.out.mkdir(parents=True, exist_ok=True)
    for name, mask in blocks_of_time(times, args.gap, args.valid, args.test).items():
        amplitudes = data["a"][moments[mask]].astype(np.float64)
        velocity = data["mean_u"][nodes] + np.einsum(
            "ti,inc->tnc", amplitudes, data["modes_u"][:, nodes], optimize=True
        )
        arrays = {"points": points, "cells": cells, "times": times[mask], "velocity": velocity.astype(np.float32),
                  "node_type": types, "normal": normal, "viscosity": np.array(VISCOSITY)}  # fmt: skip
        if not args.no_vorticity:
            vorticity = data["mean_vort"][nodes] + amplitudes @ data["modes_vort"][:, nodes]
            arrays["vorticity"] = vorticity.astype(np.float32)
        np.savez(args.out / f"{name}.npz", **arrays)
        print(
            f"{args.out / name}.npz: {mask.sum()} snapshots, t = {times[mask][0]:.1f} to {times[mask][-1]:.1f}"
        )
    counts = {n: int((types == k).sum()) for n, k in (("wall", WALL), ("inlet", INLET), ("outlet", OUTLET))}
    listed = ", ".join(f"{k} {v}" for k, v in counts.items())
    print(f"{len(points)} nodes, {len(cells)} cells; {listed}; dt = {times[1] - times[0]:.2f}")


if __name__ == "__main__":
    main()
