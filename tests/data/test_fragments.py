"""Fragments of a structure and the charges on their atoms."""

from __future__ import annotations

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.fragments import fragments, with_fragments
from atomfield.data.graph import Graph


def three() -> Graph:
    """Two pairs, listed crosswise, and an atom alone."""
    x = torch.tensor([0.0, 20.0, 1.0, 21.0, 50.0], dtype=torch.float64)
    positions = torch.stack([x, 0 * x, 0 * x], dim=1)
    return Graph(positions, torch.tensor([8, 11, 1, 1, 17]), "molecule", conditions={"charge": 0.0})


def test_components_are_numbered_by_their_first_atom():
    assert fragments(three(), 3.0).tolist() == [0, 1, 0, 1, 2]
    assert fragments(three(), 25.0).tolist() == [0, 0, 0, 0, 1]


def test_every_atom_carries_what_its_fragment_has():
    graph = with_fragments(three(), fragments(three(), 3.0), [0.0, 1.0, -1.0], [1.0, 0.0, 0.0])
    assert graph.quantities["fragment_charge"].tolist() == [0, 1, 0, 1, -1]
    assert graph.quantities["fragment_spin"].tolist() == [1, 0, 1, 0, 0]


def test_what_does_not_fit_is_named():
    labels = fragments(three(), 3.0)
    with pytest.raises(InputError, match="found 2 charges.*3 fragments"):
        with_fragments(three(), labels, [0.0, 1.0])
    with pytest.raises(InputError, match="add up to 1, expected the total charge 0"):
        with_fragments(three(), labels, [0.0, 1.0, 0.0])
