import numpy as np
import torch

from atomfield.data.generate.obstacles import obstacle_flows
from atomfield.data.graph import NodeType


def test_flows_rest_in_the_solid_and_normals_point_into_it():
    (graph,) = obstacle_flows(1, 5, num_frames=3)
    solid = graph.node_type == int(NodeType.WALL)
    velocity, normal = graph.quantities["velocity"], graph.quantities["normal"]
    assert 0.01 < float(solid.float().mean()) < 0.3
    assert velocity[:, solid].abs().max() == 0 and velocity[..., 2].abs().max() == 0
    assert 0.8 < float(velocity[0, ~solid].square().sum(1).mean().sqrt()) < 1.2
    length = normal.norm(dim=1)
    assert length[~solid].abs().max() == 0
    walls = length > 0
    assert walls.any() and torch.allclose(length[walls], torch.ones_like(length[walls]))
    # one step along the normal is solid or deeper, one step against it nearer to the fluid
    n = graph.grid_shape[0]
    at = lambda x: solid.reshape(n, n)[tuple(np.round(x * n).astype(int).T % n)]  # noqa: E731
    points = graph.positions[walls, :2].numpy()
    inward = normal[walls, :2].numpy() * 2 / n
    assert at(points + inward).float().mean() > 0.9
    assert at(points - inward).float().mean() < 0.1


def test_the_seed_decides_and_no_two_share_obstacles():
    first, second = obstacle_flows(2, 8, num_frames=2)
    (again,) = obstacle_flows(1, 8, num_frames=2)
    assert torch.equal(first.quantities["velocity"], again.quantities["velocity"])
    assert not torch.equal(first.node_type, second.node_type)
