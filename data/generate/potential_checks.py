"""``python -m atomfield.data.generate.potential_checks``: each interatomic potential against published crystals.

A material passes when every lattice constant is within ``LENGTH`` and the energy, where it can be compared, within ``ENERGY`` of
the published value. What fails is not in the corpus. Bulk moduli are reported and do not decide: docs/potentials.md says where
they are off. Published values are of room temperature, of rare gases near 0 K. Energies are per atom, of alkali halides from the
ions and of everything else from the atoms; oxides of partial charges have none that could be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .crystals import bulk_modulus
from .oxides import build as build_oxide
from .potentials import label_all, potential, pressure, relax

if TYPE_CHECKING:
    from ase import Atoms

LENGTH, ENERGY = 0.025, 0.10
EV_PER_KJ = 1 / 96.48533212


@dataclass(frozen=True)
class Published:
    """lengths: lattice constants a and c, angstrom. energy: eV per atom, positive for a bound crystal, or None. modulus: GPa or
    None."""

    level: str
    formula: str
    prototype: str
    lengths: tuple[float, ...]
    energy: float | None = None
    modulus: float | None = None


def _halide(formula: str, a: float, kilojoules: float, modulus: float | None = None) -> Published:
    prototype = "cesiumchloride" if formula in ("CsCl", "CsBr", "CsI") else "rocksalt"
    return Published("joung-cheatham-2008", formula, prototype, (a,), kilojoules * EV_PER_KJ / 2, modulus)


def _oxide(elements: str, prototype: str, *lengths: float, modulus: float | None = None) -> Published:
    return Published("pedone-2006", elements, prototype, lengths, None, modulus)


def _metal(symbol: str, prototype: str, a: float, energy: float, modulus: float) -> Published:
    return Published("eam-zhou-2004", symbol, prototype, (a,), energy, modulus)


def _chalcogenide(formula: str, a: float, energy: float) -> Published:
    return Published("sw-zhou-2013", formula, "zincblende", (a,), energy)


TABLE: tuple[Published, ...] = (
    # Kittel, Introduction to Solid State Physics: lattice constants, cohesive energies, bulk moduli
    _metal("Cu", "fcc", 3.61, 3.49, 137),
    _metal("Ag", "fcc", 4.09, 2.95, 101),
    _metal("Au", "fcc", 4.08, 3.81, 173),
    _metal("Ni", "fcc", 3.52, 4.44, 186),
    _metal("Pd", "fcc", 3.89, 3.89, 181),
    _metal("Pt", "fcc", 3.92, 5.84, 278),
    _metal("Al", "fcc", 4.05, 3.39, 72),
    _metal("Pb", "fcc", 4.95, 2.03, 43),
    _metal("Fe", "bcc", 2.87, 4.28, 168),
    _metal("Mo", "bcc", 3.15, 6.82, 273),
    _metal("Ta", "bcc", 3.30, 8.10, 200),
    _metal("W", "bcc", 3.16, 8.90, 323),
    _metal("Mg", "hcp", 3.21, 1.51, 35),
    _metal("Co", "hcp", 2.51, 4.39, 191),
    _metal("Ti", "hcp", 2.95, 4.85, 105),
    _metal("Zr", "hcp", 3.23, 6.25, 83),
    # lattice constants: Wyckoff, Crystal Structures; lattice energies: Born-Haber cycles as textbooks have them (tables differ by
    # 1 to 2 %); moduli: Kittel, rounded
    _halide("LiF", 4.027, 1049, 67),
    _halide("LiCl", 5.129, 864, 30),
    _halide("LiBr", 5.501, 820, 24),
    _halide("LiI", 6.000, 764, 17),
    _halide("NaF", 4.632, 930, 47),
    _halide("NaCl", 5.640, 790, 24),
    _halide("NaBr", 5.977, 754, 20),
    _halide("NaI", 6.473, 705, 15),
    _halide("KF", 5.347, 829, 31),
    _halide("KCl", 6.293, 720, 17),
    _halide("KBr", 6.600, 691, 15),
    _halide("KI", 7.066, 650, 12),
    _halide("RbF", 5.640, 795, 26),
    _halide("RbCl", 6.581, 695, 16),
    _halide("RbBr", 6.889, 668, 13),
    _halide("RbI", 7.342, 632, 11),
    _halide("CsF", 6.008, 759),
    _halide("CsCl", 4.123, 670, 17),
    _halide("CsBr", 4.291, 647),
    _halide("CsI", 4.567, 613, 12),
    _oxide("Mg", "rocksalt", 4.212, modulus=160),
    _oxide("Ca", "rocksalt", 4.811, modulus=115),
    _oxide("Sr", "rocksalt", 5.160, modulus=91),
    _oxide("Ba", "rocksalt", 5.539, modulus=74),
    _oxide("Mn", "rocksalt", 4.445, modulus=151),
    _oxide("Co", "rocksalt", 4.260, modulus=185),
    _oxide("Ni", "rocksalt", 4.177, modulus=190),
    _oxide("Li", "antifluorite", 4.619, modulus=82),
    _oxide("Na", "antifluorite", 5.550),
    _oxide("K", "antifluorite", 6.436),
    _oxide("Be", "wurtzite", 2.698, 4.377),
    _oxide("Zn", "wurtzite", 3.250, 5.207),
    _oxide("Zr", "fluorite", 5.090, modulus=194),
    _oxide("Ti", "rutile", 4.594, 2.959),
    _oxide("Sn", "rutile", 4.737, 3.186),
    _oxide("Ge", "rutile", 4.395, 2.860),
    _oxide("Si", "rutile", 4.180, 2.667),
    _oxide("Si", "quartz", 4.913, 5.405),
    _oxide("Al", "corundum", 4.759, 12.991),
    _oxide("Cr", "corundum", 4.958, 13.594),
    _oxide("Fe", "corundum", 5.036, 13.749),
    _oxide("Cu", "cuprite", 4.270, modulus=112),
    _oxide("Ag", "cuprite", 4.736),
    _oxide("Nd", "A-R2O3", 3.831, 5.999),
    _oxide("Sc", "bixbyite", 9.845),
    _oxide("Gd", "bixbyite", 10.813),
    _oxide("Er", "bixbyite", 10.547),
    _oxide("AlP", "berlinite", 4.942, 10.970),
    # measured lattice constants and cohesive energies as commonly tabulated
    _chalcogenide("ZnS", 5.409, 3.18),
    _chalcogenide("ZnSe", 5.668, 2.71),
    _chalcogenide("ZnTe", 6.104, 2.40),
    _chalcogenide("CdS", 5.832, 2.84),
    _chalcogenide("CdSe", 6.050, 2.51),
    _chalcogenide("CdTe", 6.482, 2.16),
    _chalcogenide("HgS", 5.851, 2.06),
    _chalcogenide("HgSe", 6.085, 1.86),
    _chalcogenide("HgTe", 6.453, 1.65),
    # Kittel
    Published("lj-bernardes-1958", "Ne", "fcc", (4.46,), 0.020, 1.0),
    Published("lj-bernardes-1958", "Ar", "fcc", (5.31,), 0.080, 2.7),
    Published("lj-bernardes-1958", "Kr", "fcc", (5.64,), 0.116, 3.5),
    Published("lj-bernardes-1958", "Xe", "fcc", (6.13,), 0.170, 3.6),
)


def checks() -> list[dict[str, Any]]:
    """Every row of ``TABLE`` with what the potential gives, the deviations and ``passed``."""
    return [check(row) for row in TABLE]


def check(row: Published) -> dict[str, Any]:
    """The relaxed crystal beside the published one: lengths in angstrom, energies in eV per atom, moduli in GPa."""
    chosen = potential(row.level)
    atoms = _built(row)
    before = atoms.cell.lengths()
    converged = relax(atoms, chosen, tolerance=0.003)
    factor = atoms.cell.lengths() / before
    lengths = [row.lengths[0] * factor[0], *(c * factor[2] for c in row.lengths[1:])]
    energy = -label_all(chosen, [atoms])[0].energy / len(atoms)
    deviations = [found / wanted - 1 for found, wanted in zip(lengths, row.lengths, strict=True)]
    found: dict[str, Any] = {
        "level": row.level, "material": row.formula + ("-O" if row.level == "pedone-2006" else ""),
        "prototype": row.prototype, "lengths_A": [round(float(x), 4) for x in lengths],
        "published_lengths_A": list(row.lengths), "length_deviation": round(float(max(deviations, key=abs)), 4),
    }  # fmt: skip
    passed = converged and all(abs(d) < LENGTH for d in deviations)
    if row.energy is not None:
        deviation = energy / row.energy - 1
        found |= {
            "energy_eV_per_atom": round(energy, 4), "published_energy_eV_per_atom": round(row.energy, 4),
            "energy_deviation": round(deviation, 4),
        }  # fmt: skip
        passed = passed and abs(deviation) < ENERGY
    if row.modulus is not None:
        found |= {
            "bulk_modulus_GPa": round(bulk_modulus(atoms, 0.009, partial(pressure, chosen)), 1),
            "published_bulk_modulus_GPa": row.modulus,
        }
    return found | {"passed": bool(passed)}


def _built(row: Published) -> Atoms:
    from ase.build import bulk
    from ase.formula import Formula

    if row.level == "pedone-2006":
        elements = tuple(Formula(row.formula).count())
        a, c = row.lengths[0], row.lengths[-1]
        return build_oxide(row.prototype, elements, (a, a, c))
    a = row.lengths[0]
    return bulk(row.formula, row.prototype, a=a, c=1.6 * a if row.prototype == "hcp" else None)


def page(found: list[dict[str, Any]]) -> str:
    """The rows of :func:`checks` as a table in Markdown: found / published."""
    lines = [
        "| level | material | lattice constants, angstrom | energy, eV per atom | bulk modulus, GPa | |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        lengths = ", ".join(
            f"{a:.3f} / {b:g}" for a, b in zip(row["lengths_A"], row["published_lengths_A"], strict=True)
        )
        energy = modulus = ""
        if "energy_eV_per_atom" in row:
            energy = f"{row['energy_eV_per_atom']:.3f} / {row['published_energy_eV_per_atom']:.3f}"
        if "bulk_modulus_GPa" in row:
            modulus = f"{row['bulk_modulus_GPa']:.3g} / {row['published_bulk_modulus_GPa']:g}"
        verdict = "" if row["passed"] else "left out"
        lines.append(
            f"| `{row['level']}` | {row['material']}, {row['prototype']} | {lengths} | {energy} | {modulus} | {verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(checks()))
