"""Elastic constants by strains: C_ij = d(stress_i) / d(strain_j) at the relaxed structure, in Voigt order xx yy zz yz xz xy.

Each of the six strains is applied at four sizes (-e, -e/2, e/2, e; the difference formula is of fourth order), the atoms within
the cell are relaxed, and the matrix is symmetrised and projected onto what the crystal's point group allows (pymatgen). Averages
over grains are those of Voigt, Reuss and Hill (Proc. Phys. Soc. A 65, 349 (1952)). The crystal is stable where the matrix is
positive definite (Born; Mouhat & Coudert, Phys. Rev. B 90, 224104 (2014)). Shear strains are engineering strains, 2 epsilon_yz.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError

from .progress import counted
from .run import check_atoms, check_solid, positive

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure
    from rich.console import Console

NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")
WORST_PRESSURE = 0.1
"""GPa of stress at the start that passes without a remark."""


@dataclass(frozen=True)
class ElasticConstants:
    """matrix ``[6, 6]`` GPa in the axes of the structure, symmetric and with the crystal's symmetry; standard: the same in the
    axes of the crystal by the IEEE's standard 176 (1987), as tables have them; measured ``[6, 6]`` as the strains gave it.

    bulk, shear, young: Hill's averages, GPa; bulk_bounds, shear_bounds: of Reuss and of Voigt. poisson; anisotropy: the universal
    index (0 where isotropic). eigenvalues ``[6]`` GPa: all positive where the crystal is stable. scatter: the largest entry that
    symmetry took away, GPa.
    """

    matrix: np.ndarray
    standard: np.ndarray
    measured: np.ndarray
    bulk: float
    shear: float
    bulk_bounds: tuple[float, float]
    shear_bounds: tuple[float, float]
    anisotropy: float
    eigenvalues: np.ndarray
    scatter: float
    remarks: tuple[str, ...] = ()

    @property
    def is_turned(self) -> bool:
        """Whether the structure lies in other axes than the standard's, so that its constants do."""
        return bool(np.abs(self.matrix - self.standard).max() > 0.01 * np.abs(self.matrix).max())

    @property
    def stable(self) -> bool:
        return bool(self.eigenvalues.min() > 0)

    @property
    def young(self) -> float:
        return 9 * self.bulk * self.shear / (3 * self.bulk + self.shear)

    @property
    def poisson(self) -> float:
        return (3 * self.bulk - 2 * self.shear) / (2 * (3 * self.bulk + self.shear))

    def metrics(self) -> dict[str, float]:
        """Name with unit -> number."""
        entries = _entries(self.matrix, "GPa")
        if self.is_turned:
            entries |= _entries(self.standard, "standard_axes_GPa")
        return entries | {
            "bulk_modulus_GPa": self.bulk, "bulk_modulus_reuss_GPa": self.bulk_bounds[0],
            "bulk_modulus_voigt_GPa": self.bulk_bounds[1], "shear_modulus_GPa": self.shear,
            "shear_modulus_reuss_GPa": self.shear_bounds[0], "shear_modulus_voigt_GPa": self.shear_bounds[1],
            "young_modulus_GPa": self.young, "poisson_ratio": self.poisson, "universal_anisotropy": self.anisotropy,
            "smallest_eigenvalue_GPa": float(self.eigenvalues.min()), "stable": float(self.stable),
            "scatter_GPa": self.scatter,
        }  # fmt: skip


def _entries(matrix: np.ndarray, unit: str) -> dict[str, float]:
    """Those that are not zero."""
    least = 1e-3 * np.abs(matrix).max()
    return {
        f"C{i + 1}{j + 1}_{unit}": float(matrix[i, j])
        for i in range(6)
        for j in range(i, 6)
        if abs(matrix[i, j]) > least
    }


def elastic_constants(
    atoms: Atoms,
    *,
    strain: float = 0.005,
    fmax: float = 0.001,
    steps: int = 500,
    symprec: float = 0.01,
    progress: bool = False,
    console: Console | None = None,
) -> ElasticConstants:
    """Elastic constants of ``atoms`` (relaxed, and left as they are). strain: the largest applied. fmax
    (eV/angstrom) and steps: of
    the relaxation within each strained cell. symprec: angstrom, of the search for symmetry."""
    from ase import units
    from ase.optimize import FIRE

    check_atoms(atoms)
    check_solid(atoms, "elastic constants")
    positive("fmax", fmax)
    if not 0 < strain < 0.1:
        raise InputError(f"strain is {strain}, expected between 0 and 0.1")
    remarks = []
    residual = float(np.abs(atoms.get_stress()).max()) / units.GPa
    if residual > WORST_PRESSURE:
        remarks.append(f"the structure is under a stress of {residual:.2f} GPa; relax the cell first")
    sizes = (-strain, -strain / 2, strain / 2, strain)
    stresses = np.zeros((6, 4, 6))
    with counted("elastic constants", 24, progress, console) as advance:
        for j in range(6):
            for k, size in enumerate(sizes):
                one = strained(atoms, j, size)
                if not FIRE(one, logfile=None).run(fmax=fmax, steps=steps):
                    remarks.append(
                        f"the relaxation under strain {NAMES[j]} {size:+.4f} did not converge in {steps} steps"
                    )
                stresses[j, k] = one.get_stress() / units.GPa
                advance(f"strain {NAMES[j]} {size:+.4f}")
    low2, low, high, high2 = (stresses[:, k] for k in range(4))
    measured = ((low2 - high2 + 8 * (high - low)) / (6 * strain)).T
    return constants_of(measured, atoms, symprec, tuple(remarks))


def strained(atoms: Atoms, component: int, size: float) -> Atoms:
    """A copy under one engineering strain, with the calculator of ``atoms``."""
    i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[component]
    change = np.zeros((3, 3))
    change[i, j] += size / 2
    change[j, i] += size / 2
    one = atoms.copy()
    one.calc = atoms.calc
    one.set_cell(atoms.cell.array @ (np.eye(3) + change), scale_atoms=True)
    return one


def constants_of(
    measured: np.ndarray, atoms: Atoms, symprec: float = 0.01, remarks: tuple[str, ...] = ()
) -> ElasticConstants:
    """What follows from a matrix ``[6, 6]`` (GPa) and the symmetry of ``atoms``."""
    matrix, standard = _projected(0.5 * (measured + measured.T), atoms, symprec)
    eigenvalues = np.linalg.eigvalsh(matrix)
    said = list(remarks)
    if eigenvalues.min() <= 0:
        said.append(
            f"the crystal is unstable: the elastic matrix has the eigenvalue {eigenvalues.min():.2f} GPa"
        )
    inverse = np.linalg.inv(matrix) if abs(eigenvalues).min() > 1e-9 else np.full((6, 6), np.nan)
    k_v, g_v = _voigt(matrix)
    k_r = 1 / inverse[:3, :3].sum()
    g_r = 15 / (
        4 * np.trace(inverse[:3, :3])
        - 4 * (inverse[0, 1] + inverse[0, 2] + inverse[1, 2])
        + 3 * np.trace(inverse[3:, 3:])
    )
    found = ElasticConstants(
        matrix, standard, measured, float(k_v + k_r) / 2, float(g_v + g_r) / 2, (float(k_r), k_v), (float(g_r), g_v),
        float(5 * g_v / g_r + k_v / k_r - 6), eigenvalues, float(np.abs(measured - matrix).max()), tuple(said),
    )  # fmt: skip
    if found.is_turned:
        turned = (
            "the constants are in the axes of the structure; in those of the crystal, as tables have them, they are "
            "C.._standard_axes_GPa"
        )
        return replace(found, remarks=(*found.remarks, turned))
    return found


def _voigt(c: np.ndarray) -> tuple[float, float]:
    off = c[0, 1] + c[0, 2] + c[1, 2]
    diagonal = np.trace(c[:3, :3])
    return float(diagonal + 2 * off) / 9, float(diagonal - off + 3 * np.trace(c[3:, 3:])) / 15


def _projected(matrix: np.ndarray, atoms: Atoms, symprec: float) -> tuple[np.ndarray, np.ndarray]:
    """With the crystal's symmetry, in the axes of ``atoms`` and in those of the standard."""
    from pymatgen.analysis.elasticity import ElasticTensor
    from pymatgen.io.ase import AseAtomsAdaptor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that are not symmetric to its taste
        structure: Any = AseAtomsAdaptor.get_structure(atoms)
        fitted = ElasticTensor.from_voigt(matrix).fit_to_structure(structure, symprec=symprec)
        return np.array(fitted.voigt), np.array(fitted.convert_to_ieee(structure, initial_fit=False).voigt)


def young_modulus(matrix: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """``[D]`` GPa along unit vectors ``[D, 3]``: 1 / E = sum of S_ijkl n_i n_j n_k n_l."""
    x, y, z = directions.T
    n = np.stack([x * x, y * y, z * z, y * z, x * z, x * y], axis=1)
    return 1 / np.einsum("di,ij,dj->d", n, np.linalg.inv(matrix), n)


def figure(found: ElasticConstants) -> Figure:
    """The matrix with its numbers, and Young's modulus in the three planes of the axes."""
    from matplotlib.figure import Figure

    out = Figure(figsize=(9.6, 4.4), layout="constrained")
    left = out.add_subplot(1, 2, 1)
    limit = np.abs(found.matrix).max()
    left.imshow(found.matrix, cmap="RdBu_r", vmin=-1.4 * limit, vmax=1.4 * limit)
    for i in range(6):
        for j in range(6):
            left.text(
                j, i, f"{np.round(found.matrix[i, j], 1) + 0.0:.1f}", ha="center", va="center", fontsize=8
            )
    left.set_xticks(range(6), NAMES)
    left.set_yticks(range(6), NAMES)
    left.set_title("elastic constants (GPa)", fontsize=10)
    right = out.add_subplot(1, 2, 2, projection="polar")
    angle = np.linspace(0, 2 * np.pi, 181)
    one, other, none = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    if found.stable:
        for name, plane, colour, style in (
            ("xy", (one, other, none), "#1f5fa8", "-"), ("xz", (one, none, other), "#b3261e", "--"),
            ("yz", (none, one, other), "#2e7d32", ":"),
        ):  # fmt: skip
            modulus = young_modulus(found.matrix, np.stack(plane, axis=1))
            right.plot(angle, modulus, color=colour, lw=1.6, ls=style, label=name)
        right.legend(loc="upper right", bbox_to_anchor=(1.15, 1.1), frameon=False, fontsize=8)
    right.set_title("Young's modulus by direction (GPa)" if found.stable else "unstable", fontsize=10)
    right.tick_params(labelsize=7)
    return out
