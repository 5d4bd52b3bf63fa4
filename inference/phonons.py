"""Phonons by finite displacements in a supercell (phonopy): bands along the paths of the lattice, density of states,
heat capacity.

Displacements are those that symmetry leaves; force constants obey the sum rule of translations and are symmetric. Frequencies are
in THz, imaginary ones negative: a structure that has them (beyond what noise of forces makes of acoustic modes at Gamma) is no
minimum. The splitting of longitudinal and transverse optical modes at Gamma needs Born charges, which no network here gives.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.quantities import PER_FRAGMENT

from .convert import STATED
from .progress import counted
from .run import check_atoms, check_solid, positive

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from matplotlib.figure import Figure
    from rich.console import Console

IMAGINARY = 0.05
"""THz: what a frequency may lie below zero before it counts as imaginary."""
WORST_FORCE = 0.01
"""eV/angstrom that may be left at the start without a remark."""
TO_WAVENUMBER = 33.35640951981521
"""1 THz in 1/cm."""


@dataclass(frozen=True)
class Phonons:
    """distance ``[K]`` along the path and frequencies ``[K, B]`` THz; ticks: position and label of its corners,
    breaks: indices of
    the first point of each piece. dos_frequency and dos ``[F]`` (THz, states per THz and primitive cell). temperature ``[T]`` K;
    free_energy (eV), entropy (eV/K), heat_capacity (eV/K) ``[T]`` per primitive cell. supercell ``[3, 3]``.
    """

    q: np.ndarray
    distance: np.ndarray
    frequencies: np.ndarray
    ticks: list[tuple[float, str]]
    breaks: list[int]
    dos_frequency: np.ndarray
    dos: np.ndarray
    temperature: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray
    lowest_on_mesh: float
    num_atoms: int
    supercell: np.ndarray
    num_displacements: int
    phonopy: Any
    remarks: tuple[str, ...] = ()

    @property
    def lowest(self) -> float:
        """The lowest frequency on the path and the mesh, THz."""
        return float(min(self.frequencies.min(), self.lowest_on_mesh))

    @property
    def imaginary(self) -> bool:
        return self.lowest < -IMAGINARY

    def metrics(self) -> dict[str, float]:
        """Name with unit -> number."""
        at = int(np.argmin(np.abs(self.temperature - 300.0)))
        return {
            "lowest_frequency_THz": self.lowest,
            "highest_frequency_THz": float(self.frequencies.max()),
            "imaginary_modes": float(self.imaginary),
            "zero_point_energy_meV_per_atom": 1000 * float(self.free_energy[0]) / self.num_atoms,
            "heat_capacity_300K_kB_per_atom": float(self.heat_capacity[at]) / 8.617333262e-5 / self.num_atoms,
            "free_energy_300K_meV_per_atom": 1000 * float(self.free_energy[at]) / self.num_atoms,
        }

    def save(self, folder: Path) -> list[Path]:
        """``phonopy_params.yaml`` (with forces and force constants, for phonopy itself), ``bands.csv``, ``dos.csv``,
        ``thermal.csv``."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / name for name in ("phonopy_params.yaml", "bands.csv", "dos.csv", "thermal.csv")]
        self.phonopy.save(files[0], settings={"force_constants": True})
        bands = ",".join(f"band_{k}_THz" for k in range(self.frequencies.shape[1]))
        _table(
            files[1],
            f"q_a,q_b,q_c,distance,{bands}",
            np.column_stack([self.q, self.distance, self.frequencies]),
        )
        _table(files[2], "frequency_THz,states_per_THz", np.column_stack([self.dos_frequency, self.dos]))
        heat = np.column_stack([self.temperature, self.free_energy, self.entropy, self.heat_capacity])
        _table(files[3], "temperature_K,free_energy_eV,entropy_eV_per_K,heat_capacity_eV_per_K", heat)
        return files


def _table(path: Path, header: str, values: np.ndarray) -> None:
    np.savetxt(path, values, fmt="%.10g", delimiter=",", header=header, comments="")


def phonons(
    atoms: Atoms,
    *,
    supercell: tuple[int, int, int] | None = None,
    distance: float = 0.01,
    path: str = "",
    points: int = 50,
    mesh: float = 40.0,
    progress: bool = False,
    console: Console | None = None,
) -> Phonons:
    """Phonons of ``atoms`` (relaxed, and left as they are).

    supercell: repeats of the cell along its rows; default: :func:`chosen_supercell`. distance: of the displacements, angstrom.
    path: corners of the bands in ASE's letters, such as ``"GXWKGL"``; default: that of the lattice. points: per
    piece of the path.
    mesh: phonopy's length of the mesh of q for the density of states. Raises ``InputError`` where phonopy is not installed, and
    where no displacement gives a force.
    """
    check_atoms(atoms)
    check_solid(atoms, "phonons")
    check_can_repeat(atoms)
    positive("distance", distance)
    check_installed()
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    repeats = chosen_supercell(atoms) if supercell is None else supercell
    if min(repeats) < 1:
        raise InputError(f"supercell is {repeats}, expected three numbers of at least 1")
    remarks = []
    largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    if largest > WORST_FORCE:
        remarks.append(f"the structure has forces of {largest:.3f} eV/angstrom; relax it first")
    # phonopy takes right-handed cells alone; the reverse of all rows is the same lattice
    hand = atoms.cell.handedness
    unit = PhonopyAtoms(
        numbers=atoms.numbers,
        cell=hand * atoms.cell.array,
        scaled_positions=hand * atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that "auto" is what it is
        engine: Any = Phonopy(unit, supercell_matrix=np.diag(repeats), primitive_matrix="auto")
        if len(engine.primitive) == len(unit):  # the same cell with its axes exchanged would only confuse
            engine = Phonopy(unit, supercell_matrix=np.diag(repeats), primitive_matrix="P")
    engine.generate_displacements(distance=distance)
    displaced = engine.supercells_with_displacements
    stated = _stated_by_supercell(engine.supercell, atoms)
    rest = _forces(
        engine.supercell, stated, atoms.calc
    )  # zero but for noise; taken off, as phonopy's own interfaces do
    forces = []
    with counted(f"phonons ({len(engine.supercell)} atoms)", len(displaced), progress, console) as advance:
        for cell in displaced:
            forces.append(_forces(cell, stated, atoms.calc) - rest)
            advance("")
    engine.forces = np.array(forces)
    engine.produce_force_constants(show_drift=False, calculate_full_force_constants=False)
    engine.symmetrize_force_constants(show_drift=False)
    q, along, frequencies, ticks, breaks = _bands(engine, path, points)
    if not np.abs(engine.force_constants).max() > 0:
        raise InputError(
            "no displacement gives a force: the atoms are too far apart, or the supercell is too small"
        )
    engine.run_mesh(mesh)
    engine.run_total_dos()
    engine.run_thermal_properties(t_min=0, t_max=1000, t_step=10, cutoff_frequency=1e-3)
    dos, heat = engine.total_dos, engine.thermal_properties
    found = Phonons(
        q, along, frequencies, ticks, breaks,
        np.asarray(dos.frequency_points), np.asarray(dos.dos), np.asarray(heat.temperatures),
        np.asarray(heat.free_energy) * _KJ_PER_MOL, np.asarray(heat.entropy) * _KJ_PER_MOL / 1000,
        np.asarray(heat.heat_capacity) * _KJ_PER_MOL / 1000,
        float(engine.mesh.frequencies.min()), len(engine.primitive), np.diag(repeats), len(displaced), engine,
        tuple(remarks),
    )  # fmt: skip
    return found if not found.imaginary else _with_remark(found)


_KJ_PER_MOL = 0.01036426965268
"""1 kJ/mol in eV."""


def _with_remark(found: Phonons) -> Phonons:
    from dataclasses import replace

    k, _ = np.unravel_index(int(found.frequencies.argmin()), found.frequencies.shape)
    place = (
        "on the mesh"
        if found.frequencies.min() > found.lowest
        else f"at q = ({', '.join(f'{x:.3f}' for x in found.q[k])})"
    )
    said = f"imaginary modes: the lowest is {-found.lowest:.3f}i THz {place}; no minimum, or too small a supercell"
    return replace(found, remarks=(*found.remarks, said))


def chosen_supercell(atoms: Atoms, least: float = 10.0, most: int = 400) -> tuple[int, int, int]:
    """Repeats after which every height of the cell is at least ``least`` angstrom, fewer where that were more than ``most`` atoms
    (the longest direction is shortened first)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    repeats = np.maximum(1, np.ceil(least / heights - 1e-6)).astype(int)
    while np.prod(repeats) * len(atoms) > most and (repeats > 1).any():
        repeats[int(np.argmax(np.where(repeats > 1, repeats * heights, 0.0)))] -= 1
    return int(repeats[0]), int(repeats[1]), int(repeats[2])


def check_installed() -> None:
    """Raises ``InputError`` where phonopy is not."""
    try:
        import phonopy  # noqa: F401
    except ImportError as error:
        raise InputError(
            "phonons need phonopy, which is not installed; pip install 'atomfield[phonons]'"
        ) from error


def check_can_repeat(atoms: Atoms) -> None:
    """Raises ``InputError`` for a cell with a charge or spin of its own: a multiple of it is none that training showed."""
    for name, nothing in (("charge", 0.0), ("spin", 0.0), ("multiplicity", 1.0)):
        value = atoms.info.get(name)
        number = nothing if value is None else float(np.asarray(value, dtype=np.float64).reshape(-1)[0])
        if np.isfinite(number) and number != nothing:
            raise InputError(
                f"the cell states {name} {number:g}, and its supercells would have a multiple of it; say where it sits "
                "(arrays fragment_charge and fragment_spin), or leave it out"
            )


def _stated_by_supercell(supercell: Any, unit: Atoms) -> Atoms:
    """``unit``, repeated as phonopy does, with its charges and spins: of fragments each image has those of its atom, of the whole
    cell they are none."""
    from ase import Atoms

    out = Atoms(
        numbers=supercell.numbers, cell=supercell.cell, scaled_positions=supercell.scaled_positions, pbc=True
    )
    out.info.update({name: unit.info[name] for name in STATED if name in unit.info})
    image_of = [supercell.u2u_map[first] for first in supercell.s2u_map]
    for name in PER_FRAGMENT.values():
        if name in unit.arrays:
            out.set_array(name, unit.arrays[name][image_of])
    return out


def _forces(cell: Any, like: Atoms, calculator: Any) -> np.ndarray:
    """Forces on ``cell``, which has the atoms of ``like`` elsewhere."""
    one = like.copy()
    one.set_scaled_positions(cell.scaled_positions)
    one.calc = calculator
    return one.get_forces()


def _bands(engine: Any, path: str, points: int) -> tuple[Any, ...]:
    """q, distance, frequencies, ticks and breaks along the path of ASE for the primitive cell."""
    from ase.cell import Cell

    lattice = Cell(engine.primitive.cell)
    found = lattice.bandpath(npoints=0, eps=1e-4)
    special = found.special_points
    pieces, names = [], []
    for part in _parts(path or found.path, special):
        for a, b in itertools.pairwise(part):
            pieces.append(np.linspace(special[a], special[b], points))
            names.append((a, b))
    engine.run_band_structure(pieces)
    result = engine.band_structure
    distances = [np.asarray(d) for d in result.distances]
    ticks: list[tuple[float, str]] = []
    for d, (a, b) in zip(distances, names, strict=True):
        if ticks and ticks[-1][1] != a and abs(ticks[-1][0] - d[0]) < 1e-9:
            ticks[-1] = (ticks[-1][0], f"{ticks[-1][1]}|{a}")
        elif not ticks:
            ticks.append((float(d[0]), a))
        ticks.append((float(d[-1]), b))
    breaks = np.cumsum([0, *(len(d) for d in distances[:-1])]).tolist()
    q = np.concatenate([np.asarray(x) for x in result.qpoints])
    frequencies = np.concatenate([np.asarray(x) for x in result.frequencies])
    return q, np.concatenate(distances), frequencies, ticks, breaks


def _parts(path: str, special: dict[str, np.ndarray]) -> list[list[str]]:
    from ase.dft.kpoints import parse_path_string

    parts = parse_path_string(path)
    if unknown := [name for part in parts for name in part if name not in special]:
        raise InputError(f"the path has {unknown[0]!r}, expected some of {', '.join(special)}", "--path")
    return [part for part in parts if len(part) > 1]


def figure(found: Phonons) -> Figure:
    """Bands and density of states side by side, in THz and 1/cm."""
    from matplotlib.figure import Figure

    out = Figure(figsize=(8.2, 4.6), layout="constrained")
    left, right = out.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [3.2, 1]})
    ends = [*found.breaks[1:], len(found.distance)]
    for start, end in zip(found.breaks, ends, strict=True):
        left.plot(found.distance[start:end], found.frequencies[start:end], color="#1f5fa8", lw=1.1)
    for place, _ in found.ticks:
        left.axvline(place, color="#c8c8c8", lw=0.7, zorder=0)
    left.set_xticks([p for p, _ in found.ticks], [n.replace("G", "Γ") for _, n in found.ticks])
    left.set_xlim(0, found.distance[-1])
    left.set_ylabel("frequency (THz)")
    right.fill_betweenx(found.dos_frequency, found.dos, color="#1f5fa8", alpha=0.3, lw=0)
    right.plot(found.dos, found.dos_frequency, color="#1f5fa8", lw=1.1)
    right.set_xlabel("states / THz")
    right.set_xlim(left=0)
    bottom = min(1.08 * found.lowest, 0.0) if found.imaginary else 0.0
    left.set_ylim(bottom, 1.05 * found.frequencies.max())
    if found.imaginary:
        for axes in (left, right):
            axes.axhspan(bottom, 0, color="#b3261e", alpha=0.08, lw=0)
        left.text(0.01, 0.01, "imaginary", transform=left.transAxes, color="#b3261e", fontsize=8)
    wave = right.secondary_yaxis(
        "right", functions=(lambda f: f * TO_WAVENUMBER, lambda w: w / TO_WAVENUMBER)
    )
    wave.set_ylabel("1/cm")
    for axes in (left, right):
        axes.spines["top"].set_visible(False)
    return out
