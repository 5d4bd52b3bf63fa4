"""Groups come from dimensions: named ones are dimensionless, derived ones span them, a change of units leaves them alone."""

from __future__ import annotations

from fractions import Fraction

import pytest

from atomfield.physics_priors.dimensionless import DIMENSIONS, NAMED, groups, named, value


@pytest.mark.parametrize("name", NAMED)
def test_named_groups_have_no_dimension(name):
    total = [sum(Fraction(e) * DIMENSIONS[q][b] for q, e in NAMED[name].items()) for b in range(4)]
    assert total == [0, 0, 0, 0]


def test_reynolds_is_derived():
    found = groups({q: DIMENSIONS[q] for q in ("speed", "length", "viscosity")})
    assert found == [{"speed": 1, "length": 1, "viscosity": -1}]


@pytest.mark.parametrize(("names", "count"), [("speed length gravity", 1), ("density speed length viscosity surface_tension", 2),
                                              ("length time", 0), ("speed sound_speed length depth", 2)])  # fmt: skip
def test_number_of_groups_and_change_of_units(names, count):
    quantities = {q: DIMENSIONS[q] for q in names.split()}
    found = groups(quantities)
    assert len(found) == count
    before = {q: 0.7 + i for i, q in enumerate(quantities)}
    units = (2.0, 3.0, 0.1, 5.0)
    after = {
        q: v * units[0] ** d[0] * units[1] ** d[1] * units[2] ** d[2] * units[3] ** d[3]
        for (q, v), d in zip(before.items(), quantities.values(), strict=True)
    }
    for group in found:
        assert all(e.denominator == 1 for e in group.values())
        assert value(group, after) == pytest.approx(value(group, before), rel=1e-12)


def test_numbers():
    known = named({"speed": 2.0, "length": 3.0, "viscosity": 0.01, "dt": 0.1, "spacing": 0.5})
    assert known == pytest.approx({"Reynolds": 600.0, "Courant": 0.4})
    assert named({"speed": 3.0, "gravity": 9.0, "depth": 1.0})["Froude"] == pytest.approx(1.0)
