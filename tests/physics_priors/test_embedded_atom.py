"""Embedded atoms against a sum written out by hand, finite differences, and copper as published."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.data.generate.potential_constants import METALS
from atomfield.physics_priors.embedded_atom import NAMES, _embedding, embedded_atom, table

from .structures import agrees_with_finite_differences, crystal, dimer, pairs_of

NUMBERS = {"Cu": 29, "Ag": 47, "Pb": 82, "W": 74}
CONSTANTS = table({z: METALS[s] for s, z in NUMBERS.items()})


def alloy():
    positions, cell, _ = crystal()
    return positions * 1.2, cell * 1.2, [29, 47, 82, 74]


def test_two_unlike_atoms_by_hand():
    c = {s: dict(zip(NAMES, METALS[s], strict=True)) for s in ("Cu", "Ag")}
    r = 2.6

    def screened(e, decay, shift):
        x = r / e["r_e"]
        return math.exp(-e[decay] * (x - 1)) / (1 + (x - e[shift]) ** 20)

    density = {s: e["f_e"] * screened(e, "beta_1", "lambda_1") for s, e in c.items()}
    pair = {
        s: e["A"] * screened(e, "alpha", "kappa") - e["B"] * screened(e, "beta", "lambda")
        for s, e in c.items()
    }
    expected = (density["Ag"] / density["Cu"] * pair["Cu"] + density["Cu"] / density["Ag"] * pair["Ag"]) / 2
    for here, there in (("Cu", "Ag"), ("Ag", "Cu")):
        x = density[there] / (c[here]["h_n"] * c[here]["rho_e"]) - 1  # far below the density of the crystal
        expected += sum(c[here][f"Fi{k}"] * x**k for k in range(4))
    found = embedded_atom(pairs_of([dimer(r, [29, 47])]), CONSTANTS, 8.0)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cutoff", [8.0, 6.0])
def test_derivatives(cutoff):
    pairs = pairs_of([alloy(), dimer(2.7, [29, 82])], 8.0)
    agrees_with_finite_differences(lambda p: embedded_atom(p, CONSTANTS, cutoff), pairs)


@pytest.mark.parametrize("symbol", NUMBERS)
def test_the_pieces_of_the_embedding_meet(symbol):
    c = dict(zip(NAMES, torch.tensor(METALS[symbol], dtype=torch.float64), strict=True))
    for edge in (c["h_n"] * c["rho_e"], c["rho_e"], c["h_o"] * c["rho_e"]):
        below, above = (_embedding(edge * (1 + s), c) for s in (-1e-9, 1e-9))
        assert float((above - below).abs()) < 2e-3  # eV: the digits of the published constants
    assert math.isfinite(float(_embedding(torch.zeros((), dtype=torch.float64), c)))


def test_copper_as_published():
    """Lattice constant 3.615 angstrom, cohesive energy 3.54 eV: the values that the paper fitted."""
    sites = torch.tensor([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    energies = {}
    for a in (3.59, 3.615, 3.64):
        pairs = pairs_of([(sites * a, torch.eye(3).double() * a, [29] * 4)], 8.0)
        energies[a] = float(embedded_atom(pairs, CONSTANTS, 8.0)) / 4
    assert energies[3.615] == min(energies.values())
    assert energies[3.615] == pytest.approx(-3.54, abs=0.01)


def test_elements_without_constants_are_refused():
    with pytest.raises(ValueError, match="no constants for atomic number 26"):
        embedded_atom(pairs_of([dimer(2.5, [29, 26])]), CONSTANTS, 8.0)
