"""Marks of training records: the same structures and molecules are known again, whatever file they come from; others are not."""

from __future__ import annotations

from dataclasses import replace

import torch

from atomfield.data.checks import seen
from atomfield.data.checks.seen import Seen
from tests.small import morse_clusters, waves

SURFACE = ("energy", "forces")


def test_structures_are_known_again_turned_and_renumbered():
    train, others = morse_clusters(30), morse_clusters(30, seed=1)
    marks = Seen.of(train, SURFACE)
    assert (marks.by, marks.records, marks.whole, len(marks.marks)) == ("structure", 30, True, 30)
    turn = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    order = torch.tensor([3, 1, 0, 4, 2])
    again = [
        replace(
            g, positions=(g.positions @ turn)[order] + 1.0, species=g.species[order], quantities={}, level="x"
        )
        for g in train[:20]
    ]
    assert marks.among(again) == (20, 20)
    assert marks.among([*others, *train[:3]]) == (3, 33)
    fields = Seen.of(waves(4), ("concentration",))
    assert fields.among(waves(4)) == (4, 4) and fields.among(waves(4, seed=1)) == (0, 4)


def test_properties_of_molecules_are_known_by_the_molecule():
    """Other geometries of a training molecule give its property away."""
    train = [replace(g, group=f"C{n}", quantities={}) for n, g in enumerate(morse_clusters(12))]
    marks = Seen.of(train, ("score",))
    assert marks.by == "molecule"
    moved = [replace(g, group=f"C{n}") for n, g in enumerate(morse_clusters(20, seed=4))]
    assert marks.among(moved) == (12, 20)


def test_of_many_records_a_fair_sample_is_compared(monkeypatch):
    monkeypatch.setattr(seen, "KEPT", 40)
    train, others = morse_clusters(200), morse_clusters(200, seed=1)
    marks = Seen.of(train, SURFACE)
    assert not marks.whole and len(marks.marks) == 40 and marks.records == 200
    assert marks.among(train) == (40, 40)
    count, compared = marks.among([*train[:100], *others])
    assert 10 <= count <= 30 and count < compared < 100
    assert marks.among(others)[0] == 0
