"""Pair potentials with their constants as terms of the energy: what is read of their names, and what they add."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from atomfield.data.graph import Graph
from atomfield.data.neighbors import batch_of
from atomfield.models.config import NetworkConfig
from atomfield.models.pair_terms import constants_of, written
from atomfield.models.priors import Priors, explain, remainder_of
from atomfield.pretrain.normalize import Statistics

ARGON = "lennard_jones:Ar-Ar=0.0104/3.4,Ne-Ar=0.006/3.1"
PAIR = {
    ARGON: (lambda r: 4 * 0.006 * ((3.1 / r) ** 12 - (3.1 / r) ** 6), 3.3),
    "morse:Ar-Ne=0.006/1.4/3.5": (lambda r: 0.006 * (math.exp(-2.8 * (r - 3.5)) - 2 * math.exp(-1.4 * (r - 3.5))), 3.3),
    "buckingham:Ne-Ar=900/0.35/60": (lambda r: 900 * math.exp(-r / 0.35) - 60 / r**6, 3.0),
}  # fmt: skip


def config(*terms: str) -> NetworkConfig:
    return NetworkConfig(priors=terms, levels=("x",), default_level_atoms="x")


def line(*atoms: tuple[int, float]) -> Graph:
    """Atoms ``(number, z)`` on a line."""
    positions = torch.tensor([[0, 0, z] for _, z in atoms], dtype=torch.float64)
    return Graph(positions, torch.tensor([a for a, _ in atoms]), "molecule", level="x")


def energy(term: str, graph: Graph) -> float:
    batch = batch_of([graph], 5.0)
    return float(Priors(config(term))(batch, batch.positions, batch.cell, added=False))


@pytest.mark.parametrize("term", PAIR)
def test_a_pair_has_the_energy_of_the_law(term):
    law, r = PAIR[term]
    assert energy(term, line((18, 0.0), (10, r))) == pytest.approx(law(r), rel=1e-12)
    assert energy(term, line((10, 0.0), (18, 7.0))) == pytest.approx(
        law(7.0), rel=1e-12
    )  # beyond the cutoff of messages
    assert energy(term, line((10, 0.0), (10, r))) == 0.0  # a pair that is not named
    assert energy(term, line((18, 0.0), (10, 12.5))) == 0.0


def test_pairs_add_up_and_the_network_learns_what_is_left():
    three = line((18, 0.0), (10, 3.3), (18, 7.0))
    found = energy(ARGON, three)
    parts = [
        energy(ARGON, line(*pair))
        for pair in (((18, 0.0), (10, 3.3)), ((10, 3.3), (18, 7.0)), ((18, 0.0), (18, 7.0)))
    ]
    assert found == pytest.approx(sum(parts), rel=1e-12) and min(map(abs, parts)) > 1e-6
    total, forces = remainder_of(config(ARGON), three)
    labelled = replace(
        three, quantities={"energy": torch.tensor(total, dtype=torch.float64), "forces": forces}
    )
    left, whole = Statistics(config(ARGON)), Statistics()
    for statistics in (left, whole):
        statistics.add([labelled])
    assert sum(square for square, _ in left.force_squares) < 1e-25
    assert sum(square for square, _ in whole.force_squares) > 1e-7
    assert "every level" in explain(config(ARGON), ("x",))[0]


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("lennard_jones", "has '' for a pair of elements, expected such as 'lennard_jones:Ar-Ar=0.0104/3.4"),
        ("lennard_jones:Ar=0.01/3", "has 'Ar' for a pair of elements"),
        ("lennard_jones:Ar-Q=0.01/3", "has 'Ar-Q' for a pair of elements"),
        ("lennard_jones:Ar-Ar=0.01", "'0.01' for Ar-Ar, positive numbers are expected such as .* with epsilon/sigma"),
        ("morse:H-H=4.5/1.9/x", "'4.5/1.9/x' for H-H, expected such as .* with depth/steepness/length"),
        ("buckingham:Na-Cl=900/0.35/-6", "positive numbers"),
        ("lennard_jones:Ar-Ne=0.01/3,Ne-Ar=0.02/3", "has Ne-Ar twice"),
        ("lj:Ar-Ar=0.01/3", "is unknown, expected 'zbl'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(term, said):
    with pytest.raises(ValidationError, match=said):
        config(term)


def test_a_kind_of_term_counts_once_and_names_are_written_as_they_are_read():
    with pytest.raises(ValidationError, match="count a term twice"):
        config(ARGON, "lennard_jones:Ar-Ar=0.01/3")
    with pytest.raises(ValidationError, match="count a term twice"):
        config("d3:pbe", "d4:pbe")
    assert config("zbl", ARGON).priors == ("zbl", ARGON)
    term = written("morse", {"H-H": (4.5, 1.9, 0.74), "O-H": (4.6, 2.2, 0.96)})
    assert constants_of(term) == {(1, 1): (4.5, 1.9, 0.74), (1, 8): (4.6, 2.2, 0.96)}
