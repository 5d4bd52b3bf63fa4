"""A finer grid read as interleaved grids of the trained spacing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.inference.interleaved import interleaved, predict_interleaved
from atomfield.inference.predict import predict_graphs
from tests.small import small_network, waves


def repeated(points):
    """For each point of a grid that is twice as fine, the number of the coarse point it takes its value from."""
    index = torch.arange(points**2).reshape(points, points)
    return index.repeat_interleave(2, 0).repeat_interleave(2, 1).flatten()


def test_parts_have_every_point_once_at_twice_the_spacing():
    graph = waves(1, num_points=8)[0]
    parts = interleaved(graph, 2)
    assert len(parts) == 4
    numbers = torch.cat([index for _, index in parts])
    assert sorted(numbers.tolist()) == list(range(64))
    for part, index in parts:
        assert part.grid_shape == (4, 4) and part.spacing == 2 * graph.spacing
        torch.testing.assert_close(part.positions, graph.positions[index])
        torch.testing.assert_close(
            part.quantities["concentration"], graph.quantities["concentration"][:, index]
        )
        torch.testing.assert_close(part.quantities["velocity"], graph.quantities["velocity"][index])


def test_what_does_not_vary_between_the_points_is_answered_as_on_the_coarse_grid():
    coarse, fine = waves(1, num_points=4, seed=3)[0], waves(1, num_points=8, seed=3)[0]
    index = repeated(4)
    values = {
        "concentration": coarse.quantities["concentration"][:, index],
        "velocity": coarse.quantities["velocity"][index],
    }
    fine = replace(fine, quantities=values)
    net = small_network()
    (expected,) = predict_graphs(net, [coarse])
    (found,) = predict_interleaved(net, [fine], 2)
    assert found["concentration"].shape == (4, 64)
    np.testing.assert_allclose(
        found["concentration"], expected["concentration"][:, index.numpy()], rtol=1e-5, atol=1e-6
    )
    (as_it_is,) = predict_interleaved(net, [fine], 1)
    np.testing.assert_array_equal(as_it_is["concentration"], predict_graphs(net, [fine])[0]["concentration"])
    assert np.abs(as_it_is["concentration"] - found["concentration"]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "factor", "message"),
    [
        ({"grid_shape": None}, 2, "only a regular grid"),
        ({}, 4, "cannot be read 4 by 4"),
        ({}, 0, "cannot be read 0 by 0"),
    ],
)
def test_what_cannot_be_interleaved_is_refused(change, factor, message):
    graph = waves(1, num_points=8)[0].changed(**change)
    with pytest.raises(InputError, match=message):
        interleaved(graph, factor)


def test_a_periodic_axis_must_be_divisible():
    with pytest.raises(InputError, match="9 x 9 points is not divisible by 2"):
        interleaved(waves(1, num_points=9)[0], 2)


def test_atoms_are_refused_in_one_line(tmp_path, capsys):
    words = [
        "predict",
        "atomfield-s",
        "starter/task_molecules",
        "--out",
        str(tmp_path / "a.npz"),
        "--interleave",
        "2",
    ]
    assert main(words) == 2
    assert "only grids of fields can be read as interleaved ones, found atoms" in capsys.readouterr().err
