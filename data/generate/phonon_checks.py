"""``python -m atomfield.data.generate.phonon_checks``: vibrations by the interatomic potentials beside measured ones.

Of polar crystals the transverse optical mode at Gamma and the highest (measured: the longitudinal optical mode at Gamma), of fcc
metals the highest, which is the longitudinal one at X. The highest is that of the property ``highest_phonon`` and, for what its
small supercell misses, of the primitive cell repeated four times. Nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .phonons import squared_wavenumbers
from .potentials import potential
from .relaxation import relax_all


@dataclass(frozen=True)
class Measured:
    """transverse, highest: 1/cm; transverse is None where a cell of one atom has no optical mode."""

    level: str
    formula: str
    prototype: str
    length: float
    transverse: float | None
    highest: float


TABLE: tuple[Measured, ...] = (
    # neutron scattering at room temperature, as in Kittel and the handbooks, rounded
    Measured("eam-zhou-2004", "Cu", "fcc", 3.61, None, 240),
    Measured("eam-zhou-2004", "Ni", "fcc", 3.52, None, 285),
    Measured("eam-zhou-2004", "Al", "fcc", 4.05, None, 323),
    # infrared and Raman, as in Kittel and the handbooks, rounded
    Measured("pedone-2006", "MgO", "rocksalt", 4.21, 400, 720),
    Measured("pedone-2006", "CaO", "rocksalt", 4.81, 295, 577),
    Measured("joung-cheatham-2008", "NaCl", "rocksalt", 5.64, 164, 264),
    Measured("joung-cheatham-2008", "KBr", "rocksalt", 6.60, 113, 165),
    Measured("sw-zhou-2013", "ZnS", "zincblende", 5.41, 275, 350),
    Measured("sw-zhou-2013", "ZnSe", "zincblende", 5.67, 207, 252),
    Measured("sw-zhou-2013", "CdTe", "zincblende", 6.48, 141, 170),
)


def page() -> str:
    """``TABLE`` with what the potentials give, in Markdown: found / measured."""
    from ase.build import bulk

    lines = [
        "| level | crystal | transverse at Gamma, 1/cm | highest, 1/cm | highest of 4 x 4 x 4 cells |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        chosen = potential(row.level)
        atoms = bulk(row.formula, row.prototype, a=row.length)
        relax_all([atoms], chosen)
        small = squared_wavenumbers(atoms, chosen)
        large = squared_wavenumbers(atoms, chosen, (4, 4, 4))
        transverse = f"{small[0, 3] ** 0.5:.0f} / {row.transverse:g}" if row.transverse else ""
        lines.append(
            f"| `{row.level}` | {row.formula}, {row.prototype} | {transverse} | {small.max() ** 0.5:.0f} / {row.highest:g} | "
            f"{large.max() ** 0.5:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
