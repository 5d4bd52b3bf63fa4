"""Balances worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.finetune.conservation import balance_of_charges, balance_of_forces

UNITS = np.arange(2)


def _graph(periodic: bool = False, **conditions: float) -> Graph:
    positions = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64) + 5.0
    cell = 9.0 * torch.eye(3, dtype=torch.float64)
    return Graph(
        positions,
        torch.tensor([6, 8]),
        "crystal" if periodic else "molecule",
        cell=cell if periodic else None,
        pbc=torch.full((3,), periodic),
        conditions=conditions,
    )


def test_forces_and_torques():
    """A couple of 0.5 eV/angstrom at 1 angstrom from the centre on one molecule, a push of 0.3 on the other."""
    couple = np.array([[0.0, 0.5, 0], [0.0, -0.5, 0]])
    push = np.array([[0.3, 0.0, 0], [0.0, 0.0, 0]])
    found = balance_of_forces([_graph(), _graph()], [couple, push], UNITS)
    assert {m.key: m.value for m in found} == {
        "forces_net_eV_per_A": pytest.approx(0.15),
        "forces_net_torque_eV": pytest.approx(0.5),
    }


def test_crystals_have_no_torque():
    couple = np.array([[0.0, 0.5, 0], [0.0, -0.5, 0]])
    alone = balance_of_forces([_graph(True), _graph(True)], [couple, couple], UNITS)
    assert [m.key for m in alone] == ["forces_net_eV_per_A"]
    beside = balance_of_forces([_graph(True), _graph()], [couple, couple], UNITS)
    assert beside[1].value == pytest.approx(1.0)


def test_charges_against_the_total():
    charges = [np.array([0.5, 0.3]), np.array([0.1, 0.1])]
    found = balance_of_charges([_graph(charge=1.0), _graph()], charges, UNITS)
    assert [(m.key, pytest.approx(m.value)) for m in found] == [("charges_total_error_e", 0.2)]
    assert balance_of_charges([_graph(), _graph()], charges, UNITS) == []
