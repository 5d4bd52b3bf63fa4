"""Conversions against ASE's constants."""

from __future__ import annotations

import pytest
from ase import units

from atomfield.data.errors import InputError
from atomfield.data.units import component_order, factor


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


def test_order_of_components() -> None:
    assert (
        factor("stress", "vasp") == factor("stress", "-kbar") == factor("stress", "-kbar:xx-yy-zz-xy-yz-zx")
    )
    assert factor("stress", "-vasp") == factor("stress", "kbar")
    assert component_order("")[3:] == [(1, 2), (0, 2), (0, 1)]
    assert component_order("xx-yy-zz-xy-yz-zx")[3:] == [(0, 1), (1, 2), (0, 2)]
    for wrong in ("xx-yy-zz", "xx-yy-zz-xy-yz-yx", "xx-yy-zz-xy-yz-zw", "a-b-c-d-e-f"):
        with pytest.raises(InputError, match="expected the six like xx-yy-zz-yz-xz-xy"):
            factor("stress", f"GPa:{wrong}")
