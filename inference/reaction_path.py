"""The lowest path between two minima by a nudged elastic band, and its barrier (ASE; climbing image of Henkelman, Uberuaga &
Jonsson, J. Chem. Phys. 113, 9901 (2000)).

The two ends are relaxed (a free molecule is laid onto its start), images between them are interpolated by the image-dependent
pair potential, the band is relaxed until the forces across it are small, and the highest image climbs to the saddle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

from .pair_list import stated
from .progress import counted
from .run import check_atoms, positive

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from matplotlib.figure import Figure
    from rich.console import Console


@dataclass(frozen=True)
class ReactionPath:
    """images: the band, ends included. distance ``[I]`` along it (angstrom), energies ``[I]`` eV, slopes ``[I]`` eV/angstrom
    along it; fit_distance and fit_energy: a smooth curve through them. residual: the largest force across the band,
    eV/angstrom."""

    images: list[Atoms]
    distance: np.ndarray
    energies: np.ndarray
    fit_distance: np.ndarray
    fit_energy: np.ndarray
    residual: float
    steps: int
    converged: bool
    remarks: tuple[str, ...] = ()

    @property
    def saddle(self) -> int:
        """The highest image."""
        return int(np.argmax(self.energies))

    def metrics(self) -> dict[str, float]:
        """Name with unit -> number."""
        return {
            "barrier_forward_eV": float(self.energies.max() - self.energies[0]),
            "barrier_backward_eV": float(self.energies.max() - self.energies[-1]),
            "reaction_energy_eV": float(self.energies[-1] - self.energies[0]),
            "saddle_image": float(self.saddle),
            "force_across_eV_per_A": self.residual,
            "converged": float(self.converged),
        }

    def save(self, folder: Path) -> list[Path]:
        """``path.extxyz`` and ``path.csv``."""
        import ase.io

        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "path.extxyz", folder / "path.csv"]
        ase.io.write(files[0], self.images, format="extxyz")
        table = np.column_stack(
            [np.arange(len(self.images)), self.distance, self.energies, self.energies - self.energies[0]]
        )
        header = "image,distance_A,energy_eV,relative_energy_eV"
        np.savetxt(files[1], table, "%.10g", ",", header=header, comments="")
        return files


def reaction_path(
    start: Atoms,
    end: Atoms,
    *,
    images: int = 7,
    fmax: float = 0.05,
    steps: int = 500,
    spring: float = 0.1,
    relax_ends: bool = True,
    progress: bool = False,
    console: Console | None = None,
) -> ReactionPath:
    """The band of ``images`` structures between ``start`` (which carries the calculator) and ``end``; both are left as they are.

    fmax: eV/angstrom across the band; steps: at most, half of them before the highest image climbs. spring: eV/angstrom^2.
    Raises ``InputError`` where the ends differ in more than positions, or relax to the same structure.
    """
    from ase.mep import NEB
    from ase.optimize import FIRE

    check_atoms(start)
    positive("fmax", fmax)
    if images < 1:
        raise InputError(f"images is {images}, expected at least 1 between the ends")
    _check_ends(start, end)
    remarks: list[str] = []
    ends = []
    for name, one in (("start", start), ("end", end)):
        copy = one.copy()
        copy.calc = start.calc
        if relax_ends and not FIRE(copy, logfile=None).run(fmax=fmax / 2, steps=steps):
            remarks.append(f"the {name} did not relax in {steps} steps")
        ends.append(_with_results(copy))
    _turn_onto(ends[0], ends[1])
    moved = _nearest_images(ends[0], ends[1])
    ends[1].positions[:] = moved
    ends[1] = _with_results(_with_calculator(ends[1], start))
    if np.abs(moved - ends[0].positions).max() < 0.05:
        raise InputError("start and end relax to the same structure, expected two minima", "--end")
    band = [ends[0], *(_with_calculator(ends[0].copy(), start) for _ in range(images)), ends[1]]
    chain = NEB(band, k=spring, climb=False, method="improvedtangent", allow_shared_calculator=True)
    chain.interpolate("idpp", mic=bool(start.pbc.any()))
    total, converged, residual = 0, False, float("nan")
    with counted(f"band of {images + 2}", steps, progress, console) as advance:
        for climb, least in ((False, 3 * fmax), (True, fmax)):
            chain.climb = climb
            walker = FIRE(chain, logfile=None)
            for done in walker.irun(fmax=least, steps=steps // 2):
                residual = float(np.linalg.norm(chain.get_forces().reshape(-1, 3), axis=1).max())
                advance(f"{'climbing, ' if climb else ''}fmax {residual:.3f}")
                converged = bool(done)
            total += walker.nsteps
    if not converged:
        remarks.append(f"the band did not converge in {total} steps: {residual:.3f} eV/angstrom are left")
    return _finished(band, residual, total, converged, remarks)


def _finished(
    band: list[Atoms], residual: float, steps: int, converged: bool, remarks: list[str]
) -> ReactionPath:
    from ase.utils.forcecurve import fit_images

    fit = fit_images(band)
    energies = np.array([image.get_potential_energy() for image in band])
    frames = [_with_results(image) for image in band]
    offset = energies[0]
    if not 0 < int(np.argmax(energies)) < len(band) - 1:
        remarks.append("no image is higher than the ends: there is no barrier, or too few images")
    return ReactionPath(
        frames, np.asarray(fit.path), energies, np.asarray(fit.fit_path), np.asarray(fit.fit_energies) + offset, residual,
        steps, converged, tuple(remarks),
    )  # fmt: skip


def _check_ends(start: Atoms, end: Atoms) -> None:
    if len(start) != len(end) or (start.numbers != end.numbers).any():
        raise InputError(
            f"the ends are {start.get_chemical_formula()} and {end.get_chemical_formula()}, expected the same in one order",
            "--end",
        )
    if stated(start) != stated(end):
        raise InputError("the ends state different charges or spins, expected the same", "--end")
    if (start.pbc != end.pbc).any() or not np.allclose(start.cell.array, end.cell.array, atol=1e-4):
        raise InputError("the ends have different cells, expected the same", "--end")


def _turn_onto(start: Atoms, end: Atoms) -> None:
    """Move and turn a free molecule to where ``start`` lies: two files rarely have one orientation, and on a path between two the
    whole molecule would turn, through itself."""
    from ase.build import minimize_rotation_and_translation

    if len(start) > 2 and not start.pbc.any() and not (start.constraints or end.constraints):
        minimize_rotation_and_translation(start, end)


def _nearest_images(start: Atoms, end: Atoms) -> np.ndarray:
    """Positions of ``end`` in the periodic images that are nearest to those of ``start``."""
    from ase.geometry import find_mic

    difference = end.positions - start.positions
    if not start.pbc.any():
        return end.positions.copy()
    return start.positions + find_mic(difference, start.cell, start.pbc)[0]


def _with_calculator(atoms: Atoms, like: Atoms) -> Atoms:
    atoms.calc = like.calc
    return atoms


def _with_results(atoms: Atoms) -> Atoms:
    """A copy that holds its energy and forces."""
    from ase.calculators.singlepoint import SinglePointCalculator

    out = atoms.copy()
    out.calc = SinglePointCalculator(out, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return out


def figure(found: ReactionPath) -> Figure:
    """Energy along the band, images and a smooth curve."""
    from matplotlib.figure import Figure

    out = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = out.subplots()
    base = found.energies[0]
    axes.plot(found.fit_distance, found.fit_energy - base, color="#1f5fa8", lw=1.4)
    axes.plot(found.distance, found.energies - base, "o", color="#1f5fa8", ms=5)
    top = found.saddle
    axes.plot(found.distance[top], found.energies[top] - base, "o", color="#b3261e", ms=8, label="saddle")
    axes.axhline(0, color="#8a8a8a", lw=0.8, ls=":")
    axes.set_xlabel("distance along the path (Å)")
    axes.set_ylabel("energy (eV)")
    numbers = found.metrics()
    axes.set_title(
        f"barrier {numbers['barrier_forward_eV']:.3f} eV, back {numbers['barrier_backward_eV']:.3f} eV, "
        f"reaction {numbers['reaction_energy_eV']:+.3f} eV",
        fontsize=10,
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return out
