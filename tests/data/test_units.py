"""Conversions against ASE's constants."""

from __future__ import annotations

import pytest
from ase import units

from atomfield.data.errors import InputError
from atomfield.data.units import factor


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("energy", "kcal/mol", units.kcal / units.mol),
        ("energy", "kJ/mol", units.kJ / units.mol),
        ("energy", "hartree", units.Hartree),
        ("energy", "EV", 1.0),
        ("energy", "meV", 1e-3),
        ("energy", "cm^-1", units.invcm),
        ("positions", "bohr", units.Bohr),
        ("forces", "hartree/bohr", units.Hartree / units.Bohr),
        ("forces", "kcal/mol/angstrom", units.kcal / units.mol),
        ("stress", "GPa", units.GPa),
        ("stress", "-kbar", -0.1 * units.GPa),
        ("stress", "virial", -1.0),
        ("stress", "-virial", 1.0),
        ("dipole", "debye", units.Debye),
        ("solubility", "g/l", 1.0),
    ],
)
def test_factor(name: str, unit: str, expected: float) -> None:
    assert factor(name, unit) == pytest.approx(expected, rel=1e-6)


def test_unknown_unit() -> None:
    with pytest.raises(
        InputError, match="unit 'furlong' of positions is not known; expected one of angstrom"
    ):
        factor("positions", "furlong")
