"""Energy against volume, and the equation of state of Birch and Murnaghan through it.

E(V) of third order (Birch, Phys. Rev. 71, 809 (1947)) is a cubic polynomial in x = V^(-2/3), so the fit is linear and has one
answer (Alchagirov et al., Phys. Rev. B 63, 224115 (2001)). With P(x) the polynomial, x0 its minimum and ' for d/dV,
B0 = V0 E''(V0) and B0' = -1 - V0 E'''(V0) / E''(V0).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError

from .cell_filter import CellFilter
from .progress import counted
from .run import check_atoms, check_solid, positive

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure
    from rich.console import Console

WORST_RMS = 1.0
"""meV/atom that the fit may leave without a remark."""
FLAT = 1e-7
"""eV/atom by which energies differ at least; argon over 12 % of its volume: 1e-3."""


@dataclass(frozen=True)
class EquationOfState:
    """volumes ``[S]`` angstrom^3 and energies ``[S]`` eV per cell, pressures ``[S]`` GPa (from the stress, not from the fit).

    volume: of the minimum, angstrom^3; energy: there, eV; bulk_modulus: GPa; derivative: dB/dP; rms: what the fit leaves,
    meV/atom; coefficients: of the cubic in (V / mean V)^(-2/3), lowest first. remarks: why not to trust it, empty where nothing
    speaks against it.
    """

    volumes: np.ndarray
    energies: np.ndarray
    pressures: np.ndarray
    num_atoms: int
    volume: float
    energy: float
    bulk_modulus: float
    derivative: float
    rms: float
    coefficients: np.ndarray
    remarks: tuple[str, ...] = field(default=())

    def energy_at(self, volumes: np.ndarray) -> np.ndarray:
        """The fitted energy, eV."""
        x = (np.asarray(volumes) / self.volumes.mean()) ** (-2 / 3)
        return np.polynomial.polynomial.polyval(x, self.coefficients)

    def metrics(self) -> dict[str, float]:
        """Name with unit -> number."""
        return {
            "volume_A3_per_atom": self.volume / self.num_atoms,
            "energy_eV_per_atom": self.energy / self.num_atoms,
            "bulk_modulus_GPa": self.bulk_modulus,
            "bulk_modulus_derivative": self.derivative,
            "fit_rms_meV_per_atom": self.rms,
        }


def equation_of_state(
    atoms: Atoms,
    *,
    strain: float = 0.06,
    points: int = 9,
    fmax: float = 0.005,
    steps: int = 300,
    progress: bool = False,
    console: Console | None = None,
) -> EquationOfState:
    """Energies at ``points`` volumes within ``strain`` (a share of the volume) of that of ``atoms``, which are left as they are.

    At each volume the atoms and the shape of the cell are relaxed to ``fmax`` (eV/angstrom), at most ``steps`` times.
    """
    from ase import units
    from ase.optimize import FIRE

    check_atoms(atoms)
    check_solid(atoms, "an equation of state")
    positive("fmax", fmax)
    if not 0 < strain < 0.5:
        raise InputError(f"strain is {strain}, expected a share of the volume between 0 and 0.5")
    if points < 5:
        raise InputError(f"points is {points}, expected at least 5 for four constants")
    ratios = np.linspace(1 - strain, 1 + strain, points)
    volumes, energies, pressures, remarks = [], [], [], []
    with counted("equation of state", points, progress, console) as advance:
        for ratio in ratios:
            one = atoms.copy()
            one.calc = atoms.calc
            one.set_cell(atoms.cell * ratio ** (1 / 3), scale_atoms=True)
            filtered = CellFilter(one, constant_volume=True)
            if not FIRE(filtered, logfile=None).run(fmax=fmax, steps=steps):
                remarks.append(
                    f"the relaxation at {100 * ratio:.1f} % of the volume did not converge in {steps} steps"
                )
            volumes.append(one.get_volume())
            energies.append(one.get_potential_energy())
            pressures.append(-one.get_stress()[:3].mean() / units.GPa)
            advance(f"{energies[-1]:.4f} eV")
    return fitted(np.array(volumes), np.array(energies), np.array(pressures), len(atoms), tuple(remarks))


def fitted(
    volumes: np.ndarray,
    energies: np.ndarray,
    pressures: np.ndarray,
    num_atoms: int,
    remarks: tuple[str, ...] = (),
) -> EquationOfState:
    """The equation of state through ``volumes [S]`` (angstrom^3) and ``energies [S]`` (eV).

    Raises ``InputError`` where the energies do not change with the volume, or have no minimum as a function of it.
    """
    from ase import units

    if np.ptp(energies) < FLAT * num_atoms:
        raise InputError("the energy does not change with the volume: the atoms are too far apart")
    scale = float(volumes.mean())
    x = (volumes / scale) ** (-2 / 3)
    middle, half = x.mean(), np.ptp(x) / 2  # a well-conditioned fit, then back to plain powers
    shifted = np.polynomial.Polynomial.fit(x, energies, 3, domain=[middle - half, middle + half])
    polynomial: Any = shifted.convert()
    slope, bend, third = polynomial.deriv(), polynomial.deriv(2), polynomial.deriv(3)
    minima = [
        float(r.real)
        for r in slope.roots()
        if abs(r.imag) < 1e-10 and r.real > 0 and float(np.real(bend(r.real))) > 0
    ]
    if not minima:
        raise InputError(
            "the energy has no minimum between these volumes; relax the structure first, or widen the strain"
        )
    at = min(minima, key=lambda r: abs(r - middle))
    volume = at ** (-3 / 2)  # in units of the scale
    dx, ddx = -2 / 3 * volume ** (-5 / 3), 10 / 9 * volume ** (-8 / 3)
    second = bend(at) * dx**2
    bulk = volume * second / scale / units.GPa
    derivative = -1 - volume * (third(at) * dx**3 + 3 * bend(at) * dx * ddx) / second
    left = energies - polynomial(x)
    rms = 1000 * float(np.sqrt(np.mean(left**2))) / num_atoms
    said = list(remarks)
    if not volumes.min() < volume * scale < volumes.max():
        said.append(f"the minimum, {volume * scale:.3f} angstrom^3, lies outside of the volumes tried")
    if rms > WORST_RMS:
        said.append(f"the fit leaves {rms:.2f} meV/atom: a phase change, or a rough potential")
    return EquationOfState(
        volumes, energies, pressures, num_atoms, volume * scale, float(polynomial(at)), float(bulk), float(derivative),
        rms, polynomial.coef, tuple(said),
    )  # fmt: skip


def figure(found: EquationOfState) -> Figure:
    """Energy and pressure over the volume per atom, points and fit."""
    from ase import units
    from matplotlib.figure import Figure

    n = found.num_atoms
    fine = np.linspace(found.volumes.min(), found.volumes.max(), 200)
    energy = found.energy_at(fine)
    out = Figure(figsize=(6.4, 5.2), layout="constrained")
    above, below = out.subplots(2, 1, sharex=True)
    above.plot(fine / n, 1000 * (energy - found.energy) / n, color="#1f5fa8", lw=1.4, label="Birch-Murnaghan")
    above.plot(
        found.volumes / n,
        1000 * (found.energies - found.energy) / n,
        "o",
        color="#b3261e",
        ms=5,
        label="model",
    )
    above.axvline(found.volume / n, color="#8a8a8a", lw=0.8, ls=":")
    above.set_ylabel("energy - minimum\n(meV/atom)")
    above.legend(frameon=False)
    above.set_title(
        f"V0 {found.volume / n:.3f} Å³/atom   B0 {found.bulk_modulus:.1f} GPa   B0' {found.derivative:.2f}",
        fontsize=10,
    )
    below.plot(
        fine / n, -np.gradient(energy, fine) / units.GPa, color="#1f5fa8", lw=1.4, label="-dE/dV of the fit"
    )
    below.plot(found.volumes / n, found.pressures, "o", color="#b3261e", ms=5, label="from the stress")
    below.axhline(0, color="#8a8a8a", lw=0.8, ls=":")
    below.set_ylabel("pressure (GPa)")
    below.set_xlabel("volume (Å³/atom)")
    below.legend(frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return out
