"""Radial distribution functions and coordination numbers of a trajectory, per pair of elements.

g_ab(r) = <neighbours b of an atom a between r and r + dr> / (4 pi r^2 dr rho_b), 1 far away in a liquid. n_ab(r) counts the
neighbours b of an atom a within r. All images are counted, so r may exceed half the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

from .diffusion import COLOURS

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RadialDistribution:
    """radius ``[B]`` (middles of the bins, angstrom); per pair ``"Na-Cl"``: g ``[B]`` and neighbours within the
    bin's end ``[B]``."""

    radius: np.ndarray
    g: dict[str, np.ndarray]
    neighbors: dict[str, np.ndarray]

    def metrics(self) -> dict[str, float]:
        """First peak of each pair, and the neighbours up to the minimum behind it; nothing of a pair without any within reach."""
        out = {}
        for name, g in self.g.items():
            if not g.any():
                continue
            peak, valley = first_shell(g)
            out[f"first_peak_{name}_A"] = float(self.radius[peak])
            out[f"coordination_{name}"] = float(self.neighbors[name][valley])
        return out


def first_shell(g: np.ndarray) -> tuple[int, int]:
    """Bins of the first peak (the first maximum of at least half the highest) and of the minimum behind it."""
    high = np.flatnonzero(g >= 0.5 * g.max())
    peak = int(high[0])
    while peak + 1 < len(g) and g[peak + 1] > g[peak]:
        peak += 1
    below = np.flatnonzero(g[peak:] < 0.5 * g[peak])
    if not len(below):
        return peak, len(g) - 1
    start = peak + int(below[0])
    smooth = np.convolve(g, np.ones(3) / 3, mode="same")[start:]  # a single bin is no valley and no rise
    lowest = np.minimum.accumulate(smooth)
    rise = np.flatnonzero(smooth > np.maximum(1.0, 2 * lowest))  # from the lowest so far, not while it falls
    stop = start + (int(rise[0]) if len(rise) else len(g) - start)
    return peak, start + int(np.argmin(g[start:stop]))


def radial_distribution(
    frames: Sequence[Atoms], *, reach: float = 8.0, width: float = 0.05
) -> RadialDistribution:
    """From ``frames``, periodic in three directions. reach, width: of the histogram, angstrom."""
    import vesin

    if not frames:
        raise InputError("there are no frames, expected at least one")
    if not 0 < width < reach:
        raise InputError(f"reach is {reach} and width {width}, expected 0 < width < reach")
    edges = np.arange(0, reach + width / 2, width)
    counts: dict[tuple[int, int], np.ndarray] = {}
    density: dict[tuple[int, int], float] = {}
    atoms_of: dict[int, float] = {}
    finder = vesin.NeighborList(cutoff=float(edges[-1]), full_list=True)
    for frame in frames:
        if not frame.pbc.all():
            raise InputError(
                f"g(r) needs a structure that is periodic in three directions, found pbc {frame.pbc.tolist()}"
            )
        first, second, distance = finder.compute(frame.positions, frame.cell.array, frame.pbc, "ijd")
        kinds = np.unique(frame.numbers).tolist()
        pair = frame.numbers[first] * 200 + frame.numbers[second]
        for a in kinds:
            atoms_of[a] = atoms_of.get(a, 0.0) + float((frame.numbers == a).sum())
            for b in kinds:
                if b < a:
                    continue
                found = np.histogram(distance[pair == a * 200 + b], edges)[0]
                counts[a, b] = counts.get((a, b), 0) + found
                rho = float((frame.numbers == b).sum()) / frame.get_volume()
                density[a, b] = density.get((a, b), 0.0) + rho / len(frames)
    from ase.data import chemical_symbols

    shell = 4 / 3 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3)
    g, neighbors = {}, {}
    for (a, b), found in counts.items():
        name = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
        per_atom = found / atoms_of[a]
        g[name] = per_atom / (shell * density[a, b])
        neighbors[name] = np.cumsum(per_atom)
    return RadialDistribution((edges[1:] + edges[:-1]) / 2, g, neighbors)


def figure(found: RadialDistribution) -> Figure:
    """g(r) and the number of neighbours."""
    from matplotlib.figure import Figure

    out = Figure(figsize=(6.4, 5.0), layout="constrained")
    above, below = out.subplots(2, 1, sharex=True)
    largest = 0.0
    for colour, (name, g) in zip(COLOURS * 20, found.g.items(), strict=False):
        above.plot(found.radius, g, color=colour, lw=1.2, label=name)
        below.plot(found.radius, found.neighbors[name], color=colour, lw=1.2)
        largest = max(largest, float(found.neighbors[name][first_shell(g)[1]]))
    above.axhline(1, color="#8a8a8a", lw=0.8, ls=":")
    above.set_ylabel("g(r)")
    above.set_ylim(bottom=0)
    above.legend(frameon=False, fontsize=8)
    below.set_ylabel("neighbours within r")
    below.set_ylim(0, 4 * max(largest, 1.0))
    below.set_xlabel("r (Å)")
    below.set_xlim(0, float(found.radius[-1]))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return out
