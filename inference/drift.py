"""How well a trajectory keeps its energy: the slope of a straight line through the total energy, and a picture of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def nve_drift(time_fs: np.ndarray, total_energy: np.ndarray, num_atoms: int) -> float:
    """Slope of the least-squares line through ``total_energy [S]`` (eV) over ``time_fs [S]``, in meV/atom/ps.

    Fluctuations of a symplectic integrator have no slope; a wrong force, a jump at the cutoff or rounding has one. Raises
    ``InputError`` for fewer than three samples.
    """
    time_ps = np.asarray(time_fs, dtype=np.float64) / 1000
    if len(time_ps) < 3 or not np.ptp(time_ps) > 0:
        raise InputError(f"the energy trace has {len(time_ps)} samples, expected at least 3 different times")
    centred = time_ps - time_ps.mean()
    energy = np.asarray(total_energy, dtype=np.float64)
    slope = float((centred * (energy - energy.mean())).sum() / (centred**2).sum())
    return 1000 * slope / num_atoms


MOST_POINTS = 20_000
"""Of a line in a figure: more cannot be told apart, and millions take minutes to draw."""


def thinned(*traces: np.ndarray) -> list[np.ndarray]:
    """Every n-th sample of each, so that at most ``MOST_POINTS`` are left."""
    stride = -(-len(traces[0]) // MOST_POINTS)
    return [np.asarray(trace)[:: max(stride, 1)] for trace in traces]


def energy_figure(
    time_fs: np.ndarray,
    total_energy: np.ndarray,
    potential: np.ndarray,
    num_atoms: int,
    temperature: np.ndarray | None = None,
) -> Figure:
    """Total and potential energy per atom (meV, from the first sample) over time (ps). Beneath, at constant energy the total
    alone with its fitted line, because its scale is hundreds of times finer; with a ``temperature`` (K), where a thermostat
    exchanges energy and a slope means nothing, that with its mean."""
    from matplotlib.figure import Figure

    slope = nve_drift(time_fs, total_energy, num_atoms) if len(time_fs) >= 3 else None
    mean = None if temperature is None else float(np.mean(temperature))
    heat = total_energy if temperature is None else temperature
    time_fs, total_energy, potential, heat = thinned(time_fs, total_energy, potential, heat)
    time_ps = np.asarray(time_fs) / 1000
    total = 1000 * (np.asarray(total_energy) - total_energy[0]) / num_atoms
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    grey = 1000 * (np.asarray(potential) - potential[0]) / num_atoms
    above.plot(time_ps, grey, lw=0.8, color="#8a8a8a", label="potential")
    above.plot(time_ps, total, lw=1.2, color="#1f5fa8", label="total")
    above.set_ylabel("energy - start\n(meV/atom)")
    above.legend(frameon=False, ncols=2, loc="upper right")
    below.plot(time_ps, total if mean is None else heat, lw=0.7, color="#1f5fa8")
    if mean is not None:
        below.axhline(mean, ls="--", lw=1.2, color="#b3261e", label=f"mean {mean:.1f} K")
    elif slope is not None:
        below.plot(time_ps, total.mean() + slope * (time_ps - time_ps.mean()), "--", lw=1.2, color="#b3261e",
                   label=f"drift {slope:+.4f} meV/atom/ps")  # fmt: skip
    if len(below.lines) > 1:
        below.legend(frameon=False, loc="upper right")
    below.set_ylabel("total - start\n(meV/atom)" if mean is None else "temperature\n(K)")
    below.set_xlabel("time (ps)")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
