"""The equations among the laws of a step: exact solutions obey them on grids and on scattered points, whatever way these are
turned, other constants do not, and a record that lacks what a law reads is not asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from atomfield.data.graph import Graph, collate
from atomfield.data.neighbors import grid_edges, with_edges
from atomfield.data.steady import unsolved
from atomfield.physics_priors import allen_cahn, kdv, kuramoto_sivashinsky
from atomfield.pretrain.config import LawName, LossWeights, OptimizerConfig
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets, rolled_out
from atomfield.pretrain.physics_loss import Step, applicable, counts, laws_of, physics_sums
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.streams import Stream
from tests.small import small_network

F64 = torch.float64
Solution = Callable[[torch.Tensor, float], dict[str, torch.Tensor]]
"""Quantities at points ``[N, 3]`` and a time."""


def record(
    solution: Solution, conditions: dict[str, float], side: int, length: float, dims: int,
    *, dt: float = 0.0, times: int = 3, scattered: bool = False, periodic: bool = True, fixed: tuple[str, ...] = (),
) -> Graph:  # fmt: skip
    """``solution`` on ``side`` points along each of ``dims`` axes of a box; ``scattered``: up to 0.2 of a spacing away from them.
    dt 0: steady. ``fixed``: quantities that do not evolve."""
    axis = (torch.arange(side).double() + 0.5) * length / side - length / 2
    points = torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)
    if scattered:
        noise = torch.rand(points.shape, dtype=F64, generator=torch.Generator().manual_seed(0))
        points = points + (noise - 0.5) * 0.4 * length / side
    points = torch.cat([points, torch.zeros(len(points), 3 - dims, dtype=F64)], dim=1)
    axes = [d < dims and periodic for d in range(3)]
    states = [solution(points, dt * n) for n in range(times if dt else 1)]
    moving = {k: torch.stack([s[k] for s in states]) for k in states[0] if k not in fixed and dt}
    graph = Graph(
        points, torch.zeros(len(points)), "field",
        cell=torch.diag(torch.tensor([length if a else 1.0 for a in axes])) if periodic else None,
        pbc=torch.tensor(axes),
        quantities={**states[0], **moving},
        conditions=conditions,
        times=dt * torch.arange(times).double() if dt else None,
        spacing=length / side,
        edges={} if scattered else {"grid": grid_edges((side,) * dims, (periodic,) * dims)},
        grid_shape=None if scattered else (side,) * dims,
    )  # fmt: skip
    return with_edges(graph, 1.0)


def along_x(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([values, torch.zeros_like(values), torch.zeros_like(values)], dim=-1)


def soliton(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    u = kdv.soliton(points[:, 0], t, 1.0, 6.0, 1.0)
    return {"solution": u, "gravity": torch.tensor([2.0, 0, 0], dtype=F64)}


def growing(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    """A mode of Kuramoto-Sivashinsky of wave number k, so small that it does not carry itself: it grows by b k^2 - c k^4."""
    k = 0.6
    return {"velocity": along_x(1e-6 * math.exp((k**2 - k**4) * t) * torch.sin(k * points[:, 0]))}


def flame(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    return {"velocity": along_x(kuramoto_sivashinsky.front(points[:, 0], t, 0.4))}


def phases(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    """Phase 1 in the middle of a line, growing into the unstable state at both ends; the fronts are far apart."""
    front = lambda x: allen_cahn.front(x + 8, t, 0.3, 2.0)  # noqa: E731
    return {"solution": front(points[:, 0]) * front(-points[:, 0])}


def oblique(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    return {"solution": allen_cahn.front(0.6 * points[:, 0] + 0.8 * points[:, 1], t, 0.3, 2.0)}


def standing(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    """Two standing waves of wave length 1, speed 0.7."""
    tau = 2 * math.pi
    shape = torch.cos(tau * points[:, 0]) * torch.sin(tau * points[:, 1])
    return {"solution": shape * math.cos(tau * 2**0.5 * 0.7 * t + 0.5)}


def porous(points: torch.Tensor, t: float) -> dict[str, torch.Tensor]:
    """k = 1 + r^2 and u = -log(1 + r^2) / 4 in the plane: k du/dr = -r/2, whose divergence is -1."""
    r2 = points.square().sum(1)
    return {"solution": -torch.log1p(r2) / 4, "permeability": 1 + r2}


WAVE_NUMBER = 2 * math.pi / 0.6
CASES: dict[str, tuple[LawName, str, Graph, float, float]] = {
    # law, a constant, the record, at most this for the data, at least this with twice the constant
    "soliton on a grid": ("kdv", "dispersion", record(
        soliton, {"advection": 6.0, "dispersion": 1.0}, 128, 40, 1, dt=0.02, fixed=("gravity",)), 1e-3, 0.5),
    "soliton on scattered points": ("kdv", "dispersion", record(
        soliton, {"advection": 6.0, "dispersion": 1.0}, 160, 40, 1, dt=0.02, fixed=("gravity",), scattered=True), 0.05, 0.5),
    "growing mode on a grid": ("kuramoto_sivashinsky", "hyperdiffusivity", record(
        growing, {"antidiffusivity": 1.0, "hyperdiffusivity": 1.0}, 32, WAVE_NUMBER, 1, dt=0.05), 1e-4, 0.5),
    "flame on scattered points": ("kuramoto_sivashinsky", "hyperdiffusivity", record(
        flame, {"antidiffusivity": 1.0, "hyperdiffusivity": 1.0}, 120, 40, 1, dt=0.02, scattered=True, periodic=False),
        0.1, 0.5),
    "phases on a grid": ("allen_cahn", "double_well_rate", record(
        phases, {"diffusivity": 0.3, "double_well_rate": 2.0}, 256, 40, 1, dt=0.02), 1e-3, 0.5),
    "front on scattered points": ("allen_cahn", "double_well_rate", record(
        oblique, {"diffusivity": 0.3, "double_well_rate": 2.0}, 32, 6, 2, dt=0.02, scattered=True, periodic=False), 0.1, 0.3),
    "standing wave on a grid": ("wave", "wave_speed", record(standing, {"wave_speed": 0.7}, 16, 1, 2, dt=0.01), 1e-3, 2.0),
    "standing wave on scattered points": ("wave", "wave_speed", record(
        standing, {"wave_speed": 0.7}, 32, 1, 2, dt=0.01, scattered=True), 0.15, 2.0),
    "porous medium on a grid": ("darcy", "source", record(porous, {"source": 1.0}, 20, 2, 2, periodic=False), 0.05, 0.9),
    "porous medium on scattered points": ("darcy", "source", record(
        porous, {"source": 1.0}, 32, 2, 2, scattered=True, periodic=False), 0.1, 0.9),
}  # fmt: skip


def batch_of(graph: Graph, time: int = 1):
    return collate([graph.pair(time) if graph.num_times > 1 else unsolved(graph, ("solution",))])


def figure(law: LawName, graph: Graph, time: int = 1) -> float:
    """The relative residual of the record's own step."""
    batch = batch_of(graph, time)
    assert law in set(laws_of(batch))
    key = f"physics/{law}"
    sums = physics_sums({law: 4.0}, batch, batch.next_quantities)
    assert counts({law: 4.0}, batch, tuple(batch.next_quantities)) == {key: 1.0}
    return math.sqrt(float(sums[key]) / 4)


@pytest.mark.parametrize("case", CASES)
def test_an_exact_solution_obeys_and_other_constants_do_not(case):
    law, constant, graph, most, least = CASES[case]
    assert figure(law, graph) < most
    wrong = replace(graph, conditions=graph.conditions | {constant: 2 * graph.conditions[constant]})
    assert figure(law, wrong) > least


@pytest.mark.parametrize("case", CASES)
def test_a_turned_and_mirrored_record_has_the_same_figure(case):
    law, _, graph, *_ = CASES[case]
    q = torch.linalg.qr(torch.randn(3, 3, dtype=F64, generator=torch.Generator().manual_seed(1)))[0]
    q = -q if torch.linalg.det(q) > 0 else q
    vectors = {k: v @ q.T for k, v in graph.quantities.items() if k in ("velocity", "gravity")}
    turned = graph.changed(
        positions=graph.positions @ q.T, cell=graph.cell @ q.T, quantities=graph.quantities | vectors
    )
    assert figure(law, turned) == pytest.approx(figure(law, graph), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_asks_nothing(case):
    law, constant, graph, *_ = CASES[case]
    conditions = {k: v for k, v in graph.conditions.items() if k != constant}
    assert law not in set(laws_of(batch_of(replace(graph, conditions=conditions))))
    for name in graph.quantities:
        without = {k: v for k, v in graph.quantities.items() if k != name}
        assert law not in set(laws_of(batch_of(replace(graph, quantities=without))))


def test_waves_go_the_way_that_the_record_says():
    law, _, graph, *_ = CASES["soliton on a grid"]
    back = graph.quantities | {"gravity": -graph.quantities["gravity"]}
    assert figure(law, replace(graph, quantities=back)) == pytest.approx(2.0, rel=1e-2)
    stream = {"inflow" if k == "gravity" else k: v for k, v in graph.quantities.items()}
    assert figure(law, replace(graph, quantities=stream)) == pytest.approx(figure(law, graph), rel=1e-9)
    still = graph.quantities | {"gravity": 0 * graph.quantities["gravity"]}
    assert law not in set(laws_of(batch_of(replace(graph, quantities=still))))


def test_second_order_in_time_needs_the_state_before():
    law, _, graph, *_ = CASES["standing wave on a grid"]
    assert law not in set(laws_of(batch_of(graph, 0)))
    both = collate([graph.pair(0), graph.pair(1)])
    assert applicable(law, both, ("solution",)).tolist() == [False, True]
    uneven = replace(graph, times=torch.tensor([0, 0.01, 0.03], dtype=F64))
    assert law not in set(laws_of(batch_of(uneven)))
    long = CASES["standing wave on a grid"][2]
    long = record(standing, long.conditions, 16, 1, 2, dt=0.01, times=5)
    double = collate([long.pair(2, stride=2)])
    assert Step.of(_part(double), double, double.next_quantities).dt == pytest.approx(0.02)
    assert float(physics_sums({law: 1.0}, double, double.next_quantities)[f"physics/{law}"]) < 1e-5


def _part(batch):
    from atomfield.models.field_operators import parts_of

    return next(parts_of(batch))


@pytest.mark.parametrize("case", ["soliton on a grid", "standing wave on a grid"])
def test_noise_of_training_does_not_drown_high_derivatives(case):
    """A network that answers a noisy state by the true next one is right."""
    law, _, graph, *_ = CASES[case]
    graph = graph.window(0, 2) if law == "kdv" else graph
    stream = Stream(
        [graph], Targets("next_step"), max_edges=10**6, micro_batches=1, cutoff=1.0, noise=0.02, seed=0
    )
    for number in range(2):
        batch = stream.batch(number)
        noise = batch.quantities["solution"] - batch.clean["solution"]
        assert (
            0.01 < float(noise.square().mean().sqrt() / batch.clean["solution"].square().mean().sqrt()) < 0.03
        )
        if law in set(laws_of(batch)):
            break
    assert float(physics_sums({law: 1.0}, batch, batch.next_quantities)[f"physics/{law}"]) < 1e-5
    noisy = physics_sums({law: 1.0}, replace(batch, clean={}), batch.next_quantities)
    assert float(noisy[f"physics/{law}"]) > 0.5


def test_a_rollout_replaces_the_state_before_by_its_own():
    long = record(standing, {"wave_speed": 0.7}, 16, 1, 2, dt=0.01, times=5)
    chain = [collate([long.pair(t)]) for t in (1, 2, 3)]
    batch = replace(chain[-1], earlier=tuple(chain[:-1]))
    rolled = rolled_out(lambda b: {"solution": b.quantities["solution"] + 1}, batch)
    first = chain[0].quantities["solution"]
    torch.testing.assert_close(rolled.quantities["solution"], first + 2)
    torch.testing.assert_close(rolled.quantities["solution_before"], first + 1)


@pytest.mark.parametrize(
    "case", ["porous medium on a grid", "standing wave on a grid", "growing mode on a grid"]
)
def test_a_penalty_is_a_term_of_the_step_and_falls(case):
    law, _, graph, *_ = CASES[case]
    if law == "darcy":
        graph = record(porous, {"source": 1.0}, 10, 2, 2, periodic=False)
    steady = graph.num_times == 1
    net = small_network(steady=("solution",) if steady else ())
    batch = batch_of(replace(graph, level="wave"))
    if law == "kuramoto_sivashinsky":  # of size 1 where the network is
        batch.quantities["velocity"] *= 1e6
        batch.next_quantities["velocity"] *= 1e6
    weights = LossWeights(field=1e-3, physics={law: 1.0})
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    micro = MicroBatch(batch, Targets("supervised" if steady else "next_step"))
    values = [training_step(engine, net, [micro], weights)[f"physics/{law}"] for _ in range(40)]
    assert values[-1] < 0.4 * values[0]
    assert f"physics/{law}" not in training_step(engine, net, [micro], LossWeights())
