"""Vibrations of a molecule: normal modes from differences of forces, infrared intensities from differences of the dipole.

Each coordinate is moved by +-d. Translations and rotations are projected out of the mass-weighted Hessian, so that
what is left are
3N - 6 (3N - 5) vibrations even where the forces are noisy. The intensity of mode k is sum_a (d mu_a / d Q_k)^2 with the
mass-weighted coordinate Q, in (D/angstrom)^2/amu; times 42.2561 it is km/mol (Porezag & Pederson, Phys. Rev. B 54, 7830 (1996)).
Imaginary frequencies are negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

from .progress import counted
from .run import check_atoms, check_molecule, positive

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from matplotlib.figure import Figure
    from rich.console import Console

TO_KM_PER_MOL = 42.2561
"""1 (D/angstrom)^2/amu."""
IMAGINARY = 20.0
"""1/cm: what a frequency may lie below zero before it counts as imaginary."""
WORST_FORCE = 0.02
"""eV/angstrom that may be left at the start without a remark."""
STRAIGHT = 0.02
"""angstrom that atoms of a straight molecule may be off its axis."""


@dataclass(frozen=True)
class Vibrations:
    """frequencies ``[V]`` 1/cm ascending, intensities ``[V]`` km/mol or None where there is no dipole, modes ``[V, N, 3]``
    (Cartesian, of norm 1), hessian ``[3N, 3N]`` eV/angstrom^2; asymmetry: its largest, eV/angstrom^2."""

    atoms: Atoms
    frequencies: np.ndarray
    intensities: np.ndarray | None
    modes: np.ndarray
    hessian: np.ndarray
    asymmetry: float
    remarks: tuple[str, ...] = ()

    @property
    def zero_point_energy(self) -> float:
        """eV, of the real modes."""
        return 0.5 * float(self.frequencies[self.frequencies > 0].sum()) * _wavenumber()

    @property
    def num_imaginary(self) -> int:
        return int((self.frequencies < -IMAGINARY).sum())

    def metrics(self) -> dict[str, float]:
        """Name with unit -> number."""
        return {
            "zero_point_energy_eV": self.zero_point_energy,
            "imaginary_modes": float(self.num_imaginary),
            "lowest_frequency_per_cm": float(self.frequencies[0]) if len(self.frequencies) else float("nan"),
            "highest_frequency_per_cm": float(self.frequencies[-1])
            if len(self.frequencies)
            else float("nan"),
        }

    def save(self, folder: Path) -> list[Path]:
        """``vibrations.csv`` (one row per mode) and ``modes.extxyz`` (one frame per mode, the motion in ``mode``)."""
        import ase.io

        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "vibrations.csv", folder / "modes.extxyz"]
        header = ["mode", "frequency_per_cm", "energy_meV"]
        columns = [
            np.arange(len(self.frequencies)),
            self.frequencies,
            1000 * self.frequencies * _wavenumber(),
        ]
        if self.intensities is not None:
            header.append("intensity_km_per_mol")
            columns.append(self.intensities)
        np.savetxt(files[0], np.column_stack(columns), "%.10g", ",", header=",".join(header), comments="")
        frames = []
        for frequency, mode in zip(self.frequencies, self.modes, strict=True):
            frame = self.atoms.copy()
            frame.calc = None
            frame.arrays["mode"] = mode
            frame.info["frequency_per_cm"] = float(frequency)
            frames.append(frame)
        ase.io.write(files[1], frames, format="extxyz")
        return files


def vibrations(
    atoms: Atoms, *, distance: float = 0.01, progress: bool = False, console: Console | None = None
) -> Vibrations:
    """Normal modes of ``atoms`` (a relaxed molecule, left as it is). distance: of the displacements, angstrom.

    Intensities are there where the calculator gives a dipole."""
    check_atoms(atoms)
    check_molecule(atoms, "vibrations (of a crystal: phonons)")
    positive("distance", distance)
    count = len(atoms)
    if count < 2:
        raise InputError("the structure is a single atom, which has no vibrations; expected a molecule")
    remarks = []
    largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    if largest > WORST_FORCE:
        remarks.append(f"the structure has forces of {largest:.3f} eV/angstrom; relax it first")
    one = atoms.copy()
    one.calc = atoms.calc
    hessian, slope = np.zeros((3 * count, 3 * count)), np.zeros((3 * count, 3))
    has_dipole = _gives_dipole(atoms)
    with counted("vibrations", 6 * count, progress, console) as advance:
        for k in range(3 * count):
            for sign in (1, -1):
                one.positions[:] = atoms.positions
                one.positions[k // 3, k % 3] += sign * distance
                hessian[k] -= sign * one.get_forces().ravel() / (2 * distance)
                if has_dipole:
                    slope[k] += sign * one.get_dipole_moment() / (2 * distance)
                advance("")
    asymmetry = float(np.abs(hessian - hessian.T).max())
    return modes_of(
        atoms, 0.5 * (hessian + hessian.T), slope if has_dipole else None, asymmetry, tuple(remarks)
    )


def _gives_dipole(atoms: Atoms) -> bool:
    """Of this structure: a network without vectors has no dipoles."""
    from ase.calculators.calculator import PropertyNotImplementedError

    if "dipole" not in getattr(atoms.calc, "implemented_properties", ()):
        return False
    try:
        atoms.get_dipole_moment()
    except PropertyNotImplementedError:
        return False
    return True


def modes_of(
    atoms: Atoms,
    hessian: np.ndarray,
    slope: np.ndarray | None,
    asymmetry: float = 0.0,
    remarks: tuple[str, ...] = (),
) -> Vibrations:
    """From the Hessian ``[3N, 3N]`` (eV/angstrom^2) and the gradient of the dipole ``[3N, 3]`` (e)."""
    from ase import units

    weight = np.repeat(atoms.get_masses(), 3) ** -0.5
    rigid = _rigid(atoms) / weight  # translations and rotations in mass-weighted coordinates
    basis = np.linalg.svd(rigid.T)[0]
    rank = 5 if is_straight(atoms) else 6
    inner = basis[:, rank:]
    values, vectors = np.linalg.eigh(inner.T @ (hessian * np.outer(weight, weight)) @ inner)
    frequencies = np.sign(values) * np.sqrt(np.abs(values)) * _rate() / _wavenumber()
    weighted = weight[:, None] * (inner @ vectors)
    intensities = None
    if slope is not None:
        along = weighted.T @ slope / units.Debye
        intensities = (along**2).sum(axis=1) * TO_KM_PER_MOL
    modes = (weighted / np.linalg.norm(weighted, axis=0)).T.reshape(-1, len(atoms), 3)
    said = list(remarks)
    low = frequencies[frequencies < -IMAGINARY]
    if len(low):
        listed = ", ".join(f"{-f:.0f}i" for f in low[:4])
        said.append(
            f"{len(low)} imaginary mode{'s' if len(low) > 1 else ''} ({listed} 1/cm): no minimum of the energy"
        )
    return Vibrations(atoms, frequencies, intensities, modes, hessian, asymmetry, tuple(said))


def is_straight(atoms: Atoms) -> bool:
    """Whether all atoms lie within ``STRAIGHT`` of one line. A relaxed molecule is never straight to rounding, and the turn about
    the axis of one that is bent by a thousandth of an angstrom, made a motion of norm 1, is the bending itself."""
    centred = atoms.positions - atoms.positions.mean(axis=0)
    axis = np.linalg.svd(centred)[2][0]
    return float(np.linalg.norm(centred - np.outer(centred @ axis, axis), axis=1).max()) < STRAIGHT


def _rigid(atoms: Atoms) -> np.ndarray:
    """``[6, 3N]`` three translations and three rotations about the centre of mass, as Cartesian motions."""
    centred = atoms.positions - atoms.get_center_of_mass()
    moves = [np.tile(axis, (len(atoms), 1)) for axis in np.eye(3)]
    turns = [np.cross(axis, centred) for axis in np.eye(3)]
    return np.stack([m.ravel() for m in (*moves, *turns)])


def _rate() -> float:
    """hbar sqrt(eV / (angstrom^2 amu)) in eV."""
    from ase import units

    return float(units._hbar * 1e10 / np.sqrt(units._e * units._amu))


def _wavenumber() -> float:
    """1/cm in eV."""
    from ase import units

    return float(units.invcm)


def spectrum(found: Vibrations, grid: np.ndarray, width: float = 10.0) -> np.ndarray:
    """Lorentzians of half width ``width`` (1/cm) at the frequencies: km/mol per 1/cm of their area; without intensities a density
    of modes."""
    weight = np.ones(len(found.frequencies)) if found.intensities is None else found.intensities
    real = found.frequencies > 0
    distance = grid[:, None] - found.frequencies[real]
    return (weight[real] * width / np.pi / (distance**2 + width**2)).sum(axis=1)


def figure(found: Vibrations) -> Figure:
    """The infrared spectrum with a stick at each mode."""
    from matplotlib.figure import Figure

    top = 1.08 * max(float(found.frequencies.max(initial=100.0)), 100.0)
    grid = np.linspace(0, top, 2000)
    line = spectrum(found, grid)
    out = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = out.subplots()
    axes.plot(grid, line, color="#1f5fa8", lw=1.3)
    sticks = np.ones(len(found.frequencies)) if found.intensities is None else found.intensities
    height = line.max() / max(float(sticks.max(initial=0.0)), 1e-12)
    axes.vlines(found.frequencies, 0, sticks * height, color="#b3261e", lw=1.2)
    axes.plot(found.frequencies, np.zeros(len(found.frequencies)), "|", color="#b3261e", ms=8)
    axes.set_xlim(min(0.0, 1.05 * float(found.frequencies.min(initial=0.0))), top)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("wavenumber (1/cm)")
    axes.set_ylabel("density of modes" if found.intensities is None else "intensity (km/mol per 1/cm)")
    axes.set_title(
        f"{len(found.frequencies)} modes, zero-point energy {found.zero_point_energy:.3f} eV", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)
    return out
