"""A property that changes sign in a mirror: nothing is subtracted from it, and the network can say it or refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import scalar_property
from atomfield.finetune.extend import fit_scales, fresh
from atomfield.finetune.tasks import task_of
from atomfield.models.network import graphs_to_batch
from atomfield.models.sizes import NetworkSize
from atomfield.pretrain.normalize import Statistics
from atomfield.pretrain.property_fits import fit_property
from tests.small import morse_clusters, waves


def rotations() -> list[Graph]:
    """Clusters with a made-up optical rotation whose mean is far from zero."""
    return [
        replace(
            g,
            quantities={"rotation": torch.tensor(20.0 + i)},
            properties={"rotation": scalar_property("rotation")},
        )
        for i, g in enumerate(morse_clusters(4))
    ]


def test_an_odd_property_has_a_scale_and_no_shift():
    fit = fit_property("rotation", rotations(), "auto", "auto", "odd")
    assert fit.config.irreps == "0o" and fit.config.kind == "regression"
    assert fit.shift == 0 and not fit.reference.any()
    assert fit.scale == pytest.approx(np.sqrt(np.mean(np.arange(20.0, 24.0) ** 2)))


def test_mirror_images_get_opposite_values():
    graphs = rotations()
    fits = [fit_property("rotation", graphs, "auto", "auto", "odd")]
    task = task_of(("rotation",), graphs)
    net = fresh(NetworkSize(channels=8, channels_unnatural=4, lmax=1, correlation=2), task, "morse", fits, 0)
    fit_scales(net, task, "morse", Statistics(), fits, scratch=True)
    torch.nn.init.ones_(net.property_head.pseudoscalar.mean_weight)
    net = net.double().eval()
    mirrored = [replace(g, positions=g.positions * torch.tensor([-1.0, 1.0, 1.0])) for g in graphs]
    left, right = (
        net(graphs_to_batch(net.config, gs), forces=False)["rotation"] for gs in (graphs, mirrored)
    )
    assert (left.abs() > 1e-9).all() and left.abs().max() > 1e-4
    assert torch.allclose(right, -left, rtol=1e-10)


def test_a_network_without_pseudoscalars_is_refused():
    graphs = rotations()
    fits = [fit_property("rotation", graphs, "auto", "auto", "odd")]
    with pytest.raises(InputError, match=r"'rotation' changes sign in a mirror.*size s"):
        fresh(NetworkSize.model_validate("xs"), task_of(("rotation",), graphs), "morse", fits, 0)


def test_points_that_move_are_refused():
    """Else a velocity beside another field would pass for a steady problem."""
    pairs = [g.pair(0) for g in waves(3)]
    with pytest.raises(InputError, match="the points of this record move"):
        task_of(("velocity",), pairs)
    assert task_of(("concentration",), waves(3)).targets.objective == "next_step"
