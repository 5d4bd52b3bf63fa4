"""Mean square displacements of a trajectory and the diffusion coefficients in them, with errors.

MSD(t) is averaged over atoms and time origins (by Fourier transform: Calandrini et al., Collection SFN 12, 201 (2011)), after the
drift of the centre of mass is taken off; where atoms are held fixed nothing drifts, and those are left out. D is the slope
between 10 % and 50 % of the longest time over twice the number of directions (Einstein): three, or of a slab or a wire those in
which it is periodic, in which alone displacements count. The
trajectory is cut into blocks; the scatter of their coefficients gives the standard error. The exponent of MSD ~ t^a over the same
times says whether atoms diffuse (1), are stuck (0) or still fly (2). Coefficients in a periodic cell are too small by a term that
goes with the inverse of its length (Yeh & Hummer, J. Phys. Chem. B 108, 15873 (2004)), which is not corrected.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

FIRST, LAST = 0.1, 0.5
"""Share of the longest time between which lines are fitted."""
TO_CM2_PER_S = 1e-4
"""1 angstrom^2/ps."""
COLOURS = ("#1f5fa8", "#b3261e", "#2e7d32", "#8e44ad", "#c77700", "#455a64")


@dataclass(frozen=True)
class Diffusion:
    """time ``[L]`` ps; per element: msd ``[L]`` angstrom^2, coefficient and its standard error in cm^2/s, exponent.
    dimensions: in which displacements count."""

    time: np.ndarray
    msd: dict[str, np.ndarray]
    coefficient: dict[str, float]
    error: dict[str, float]
    exponent: dict[str, float]
    blocks: int
    dimensions: int = 3
    remarks: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Name with unit -> number."""
        out = {}
        for name in self.msd:
            out[f"diffusion_{name}_cm2_per_s"] = self.coefficient[name]
            out[f"diffusion_{name}_error_cm2_per_s"] = self.error[name]
            out[f"msd_exponent_{name}"] = self.exponent[name]
        return out


def diffusion(frames: Sequence[Atoms], frame_time: float, *, blocks: int = 5) -> Diffusion:
    """From ``frames`` that are ``frame_time`` (fs) apart. Raises ``InputError`` for fewer than 20 frames a block."""
    if not frame_time > 0:
        raise InputError(f"the time between frames is {frame_time} fs, expected a positive number")
    if blocks < 2:
        raise InputError(f"blocks is {blocks}, expected at least 2 for an error")
    if len(frames) < 20 * blocks:
        raise InputError(
            f"the trajectory has {len(frames)} frames, expected at least {20 * blocks} for {blocks} blocks"
        )
    symbols = np.array(frames[0].get_chemical_symbols())
    if any(len(f) != len(symbols) or (f.numbers != frames[0].numbers).any() for f in frames):
        raise InputError("the frames hold different atoms, expected one trajectory")
    held = held_fixed(frames[0])
    if held.all():
        raise InputError("the frames hold all atoms fixed, expected some that move")
    axes = open_directions(frames[0])
    paths = unwrapped(frames, drift=bool(held.any())) @ axes
    time = np.arange(len(frames)) * frame_time / 1000
    msd, coefficient, error, exponent, remarks = {}, {}, {}, {}, []
    for name in dict.fromkeys(symbols[~held].tolist()):
        own = paths[:, (symbols == name) & ~held]
        msd[name] = mean_square_displacement(own)
        coefficient[name], exponent[name] = _slope(time, msd[name], axes.shape[1])
        parts = [
            _slope(time, mean_square_displacement(block), axes.shape[1])[0]
            for block in np.array_split(own, blocks)
        ]
        error[name] = float(np.std(parts, ddof=1) / np.sqrt(blocks))
        if not 0.8 < exponent[name] < 1.2:
            state = (
                "are stuck or have not left their cages"
                if exponent[name] <= 0.8
                else "still move freely between collisions"
            )
            remarks.append(
                f"MSD of {name} goes as t^{exponent[name]:.2f}: the atoms {state}; the coefficient means little"
            )
    return Diffusion(time, msd, coefficient, error, exponent, blocks, axes.shape[1], tuple(remarks))


def held_fixed(atoms: Atoms) -> np.ndarray:
    """``[N]`` bool: held in all directions."""
    from .held import free_directions

    kinds = [one for one in atoms.constraints if hasattr(one, "get_indices")]
    return np.logical_not(free_directions(kinds, len(atoms)).any(axis=1))


def open_directions(atoms: Atoms) -> np.ndarray:
    """``[3, D]`` orthonormal columns: space, or the directions in which a slab or a wire is periodic."""
    if not atoms.pbc.any() or atoms.pbc.all():
        return np.eye(3)
    return np.linalg.qr(atoms.cell.array[atoms.pbc].T)[0]


def unwrapped(frames: Sequence[Atoms], drift: bool = False) -> np.ndarray:
    """``[T, N, 3]`` positions that never jump through the cell, about the centre of mass (``drift``: about where they are).

    A step between frames is taken to the nearest image, which is right as long as no atom moves half the cell in it."""
    first = frames[0]
    mass = first.get_masses()[:, None] / first.get_masses().sum()
    paths = np.empty((len(frames), len(first), 3))
    paths[0] = first.positions
    for number, (before, now) in enumerate(itertools.pairwise(frames), start=1):
        step = now.positions - before.positions
        if now.pbc.any():
            share = np.linalg.solve(now.cell.complete().array.T, step.T).T
            step = step - (np.round(share) * now.pbc) @ now.cell.complete().array
        paths[number] = paths[number - 1] + step
    return paths if drift else paths - (paths * mass).sum(axis=1, keepdims=True)


def mean_square_displacement(paths: np.ndarray) -> np.ndarray:
    """``[T]`` angstrom^2 by lag, averaged over atoms and origins, from ``paths [T, N, 3]``."""
    count = len(paths)
    spectrum = np.fft.rfft(paths, n=2 * count, axis=0)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * count, axis=0)[:count].sum(axis=2)
    square = (paths**2).sum(axis=2)
    padded = np.concatenate([np.zeros((1, square.shape[1])), np.cumsum(square, axis=0)])
    lags = np.arange(count)
    both = padded[count - lags] + padded[count] - padded[lags]
    found = (both - 2 * correlation) / (count - lags)[:, None]
    return np.maximum(found.mean(axis=1), 0.0)


def _slope(time: np.ndarray, msd: np.ndarray, dimensions: int) -> tuple[float, float]:
    """D in cm^2/s and the exponent."""
    first, last = max(1, int(FIRST * len(msd))), max(3, int(LAST * len(msd)))
    t, m = time[first:last], msd[first:last]
    slope = float(np.polyfit(t, m, 1)[0])
    positive = m > 0
    exponent = (
        float(np.polyfit(np.log(t[positive]), np.log(m[positive]), 1)[0]) if positive.sum() > 2 else 0.0
    )
    return slope / (2 * dimensions) * TO_CM2_PER_S, exponent


def figure(found: Diffusion) -> Figure:
    """MSD over time with the fitted lines."""
    from matplotlib.figure import Figure

    out = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = out.subplots()
    half = max(3, int(LAST * len(found.time)))
    time = found.time[:half]
    for colour, (name, msd) in zip(COLOURS * 20, found.msd.items(), strict=False):
        d, e = found.coefficient[name], found.error[name]
        axes.plot(time, msd[:half], color=colour, lw=1.3, label=f"{name}: D = ({d:.2e} ± {e:.1e}) cm²/s")
        used = time[max(1, int(FIRST * len(found.time))) :]
        middle = msd[max(1, int(FIRST * len(found.time))) : half].mean()
        axes.plot(
            used,
            middle + 2 * found.dimensions * d / TO_CM2_PER_S * (used - used.mean()),
            color=colour,
            lw=1.0,
            ls="--",
        )
    axes.set_xlabel("time (ps)")
    axes.set_ylabel("mean square displacement (Å²)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return out
