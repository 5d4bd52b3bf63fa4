"""Frames of a simulation in the order of time: neighbours are nearly the same structure.

Held out one by one, each would lie between two training frames a few femtoseconds away: its error says nothing of other times,
too little training looks like enough, and intervals that are calibrated on it are too narrow. So they are held out in blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from atomfield.data.graph import Graph

LEAST_FRAMES = 40
"""Fewer frames of one system are not looked at."""
NEAR = 0.6
"""Consecutive frames that are nearer than so much of frames half a series apart (median) are in the order of time. Shuffled
frames have 1; molecules at 500 K that were written every 40 fs have 0.43."""
_PAIRS, _ATOMS = 64, 50
SHORTEST, NUM_HELD = 8, 2
"""Frames of a block at least, and about how many blocks are held out; of few frames one."""


def in_blocks(graphs: Sequence[Graph], groups: Sequence[str], share: float) -> list[str]:
    """The block of each record, where each group that is a series of frames in the order of time is cut into blocks; empty names
    for the records of other groups, and nothing at all where there is no such series. ``share``: of the records that will be
    held out."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    out = [""] * len(graphs)
    for group, own in members.items():
        if not in_order([graphs[i] for i in own]):
            continue
        wanted = round(share * len(own))
        length = max(SHORTEST, wanted if wanted < NUM_HELD * SHORTEST else round(share * len(own) / NUM_HELD))
        for place, i in enumerate(own):
            out[i] = f"{group}, block {place // length}"
    return out if any(out) else []


def in_order(frames: Sequence[Graph]) -> bool:
    """Whether ``frames`` of one system (same atoms in the same order) follow each other in time."""
    first = frames[0]
    if len(frames) < LEAST_FRAMES or first.world == "field" or first.num_nodes < 2:
        return False
    if any(g.num_nodes != first.num_nodes or not bool((g.species == first.species).all()) for g in frames):
        return False
    starts = np.unique(np.linspace(0, len(frames) - 2, _PAIRS).astype(int))
    near = [_distance(frames[i], frames[i + 1]) for i in starts]
    far = [_distance(frames[i], frames[(i + len(frames) // 2) % len(frames)]) for i in starts]
    return bool(np.median(near) < NEAR * np.median(far))


def _distance(a: Graph, b: Graph) -> float:
    """angstrom. Of molecules the RMS difference of distances between atoms, which does not see how they lie; of crystals the RMS
    displacement by the shortest way, after the cells are made equal and the mean is taken off."""
    if bool(a.pbc.any()) and a.cell is not None and b.cell is not None:
        fractional = [np.linalg.solve(g.cell.numpy().T, g.positions.numpy().T).T for g in (a, b)]
        moved = fractional[0] - fractional[1]
        moved -= np.where(a.pbc.numpy(), np.round(moved), 0.0)
        moved = (moved - moved.mean(0)) @ a.cell.numpy()
        strain = np.abs(a.cell.numpy() - b.cell.numpy()).max()
        return float(np.sqrt((moved**2).sum(1).mean()) + strain)
    from scipy.spatial.distance import pdist

    one, other = (pdist(g.positions.numpy()[:_ATOMS]) for g in (a, b))
    return float(np.sqrt(((one - other) ** 2).mean()))
