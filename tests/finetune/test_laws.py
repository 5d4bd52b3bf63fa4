"""The laws in a report: what holds by construction is at rounding, what is learnt is beside the data's own figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.data.generate.fields import flow
from atomfield.data.graph import Graph
from atomfield.finetune.laws import laws_obeyed
from atomfield.models.checkpoint import cast
from tests.small import morse_clusters, small_network

ATOMS = ("energy", "forces")


def values(net, graphs, targets):
    return laws_obeyed(net, graphs, targets).flat()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_atoms(dtype, bound):
    net = cast(small_network(perturb=0.02), dtype).eval()
    report = laws_obeyed(net, morse_clusters(2), ATOMS)
    found = report.flat()
    assert found["equivariance_error_rotation"] < bound
    assert found["equivariance_error_reflection"] < bound
    assert dtype == torch.float32 or found["equivariance_error_rotation"] > 0
    assert abs(found["nve_drift_meV_per_atom_per_ps"]) < 50
    assert any(("double" if dtype == torch.float64 else "single") in note for note in report.notes)


def test_a_perfect_crystal_has_no_forces_to_compare_with():
    """Its forces are rounding, which turns with nothing; they count beside those of the other records."""
    corners = 1.8 * torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3)
    perfect = Graph(
        corners,
        torch.full((8,), 6),
        "crystal",
        level="morse",
        cell=3.6 * torch.eye(3, dtype=torch.float64),
        pbc=torch.ones(3, dtype=torch.bool),
    )
    net = cast(small_network(perturb=0.02), torch.float32).eval()
    found = values(net, [morse_clusters(1)[0], perfect], ("forces",))
    assert 0 < found["equivariance_error_rotation"] < 1e-4


def test_the_control_without_the_symmetry_is_found_out():
    net = small_network(symmetry="none", lmax=0, channels_unnatural=0).eval()
    found = values(net, morse_clusters(1), ATOMS)
    assert found["equivariance_error_rotation"] > 1e-3
    assert found["equivariance_error_reflection"] > 1e-3


def test_fields_stand_beside_their_data():
    graph = flow(np.random.default_rng(0), 8e-3, "f", 4, dt=2e-3)
    net = small_network(
        levels=("morse", "navier-stokes-2d"), perturb=0.0
    ).eval()  # a step that changes nothing
    found = values(net, [graph], ("velocity", "vorticity", "pressure"))
    assert "law_burgers" not in found  # there is a pressure
    assert found["law_divergence"] < 1e-3 and found["law_divergence_of_data"] < 1e-3
    assert found["law_navier_stokes"] == pytest.approx(1.0, abs=0.2)  # no rate at all
    assert found["law_navier_stokes_of_data"] < 0.2
    torch.manual_seed(0)
    with torch.no_grad():
        net.field_head.weight.normal_(std=0.1)
    found = values(net, [graph], ("velocity", "vorticity", "pressure"))
    assert found["law_divergence"] > 3 * found["law_divergence_of_data"]
    assert 0 < found["equivariance_error_reflection"] < 1e-5
