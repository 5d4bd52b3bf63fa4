from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.inference.predict import predict_graphs
from atomfield.inference.rollout import rollout
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import cavity, flow, water
from tests.small import small_network, waves

from .test_predict import trajectory


def test_each_state_is_the_forecast_from_the_one_before(net: AtomFieldNet) -> None:
    graph = trajectory()
    states = rollout(net, graph, num_steps=3)
    assert states["velocity"].shape == (4, 20, 3)
    assert states["velocity"].dtype == torch.float64
    assert torch.equal(states["pressure"][0], graph.quantities["pressure"][0])
    steps = [0.01, 0.02, 0.02]  # the trajectory's own, the last one repeated
    for t, dt in enumerate(steps):
        now = {name: value[t] for name, value in states.items()}
        times = torch.tensor([0.0, dt], dtype=torch.float64)
        pair = replace(graph, quantities={n: torch.stack([v, v]) for n, v in now.items()}, times=times).pair(
            0
        )
        (found,) = predict_graphs(net, [pair])
        for name in states:
            torch.testing.assert_close(states[name][t + 1], torch.from_numpy(found[name]), rtol=1e-10, atol=0)


def test_defaults(net: AtomFieldNet) -> None:
    assert len(rollout(net, trajectory())["velocity"]) == 3
    assert len(rollout(net, flow(), num_steps=2)["velocity"]) == 3  # dt from the snapshot's conditions
    same = rollout(net, trajectory(), num_steps=1, dt=0.01)["velocity"]
    assert torch.equal(same, rollout(net, trajectory(), num_steps=1)["velocity"])


def test_inputs_that_change_in_time_are_followed(net: AtomFieldNet) -> None:
    still = cavity()
    wall = still.quantities["normal"]
    quantities = {n: torch.stack([v, v]) if n != "gravity" else v for n, v in still.quantities.items()}
    steady = replace(still, quantities=quantities, times=torch.tensor([0.0, 0.1]))
    turning = replace(steady, quantities={**quantities, "normal": torch.stack([wall, -wall])})
    a, b = (rollout(net, g, num_steps=2)["velocity"] for g in (steady, turning))
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[2], b[2])


@pytest.mark.parametrize(
    ("graph", "steps", "dt", "message"),
    [
        (water(), 1, 0.1, "needs a field, got a molecule"),
        (flow(), None, None, "num_steps is not given"),
        (cavity(), 2, None, "dt is not given"),
        (flow(), 0, None, "num_steps is 0"),
        (flow(), 2, -0.1, "dt is -0.1"),
        (replace(flow(), quantities={}), 2, 0.1, "found no quantities, expected one of velocity"),
    ],
)
def test_mistakes(net: AtomFieldNet, graph: Graph, steps: int | None, dt: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rollout(net, graph, steps, dt)


def test_fields_are_not_for_networks_and_levels_of_atoms() -> None:
    """Untaught rows add nothing to a state: the answer was the state itself, as if nothing ever moved."""
    net = small_network()
    (wave,) = waves(1)
    assert rollout(net, wave, num_steps=1)
    net.atom_head.reference[0, [1, 6]] = -10.0
    with torch.no_grad():
        net.field_head.weight[0] = 0.0
    for ask in (lambda g: rollout(net, g), lambda g: predict_graphs(net, [g])):
        with pytest.raises(InputError, match="level 'morse' is one of atoms and knows no fields"):
            ask(wave.changed(level="morse"))
    net.config = net.config.model_copy(update={"default_level_field": ""})
    for ask in (lambda g: rollout(net, g), lambda g: predict_graphs(net, [g])):
        with pytest.raises(InputError, match="this model has not seen fields: no level stands for them"):
            ask(wave.changed(level=""))
