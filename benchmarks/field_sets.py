"""The sets of the table ``fields``: one list of trajectories for every package, and the one evaluator of their forecasts.

``flows``: decaying Navier-Stokes, tested at viscosities that training never has. ``obstacles``: the same around discs and
ellipses, tested at obstacles of their own. Both are generated (``data/generate``). ``wake``: the cylinder wake of a public data
set (folder ``cylinder_wake_nek5000``), interpolated to a uniform grid, since a Fourier neural operator needs one; consecutive
blocks of time with a gap of one shedding period. Ours is told the velocity far upstream, a vector that turns with the input.

The state is the velocity. Every package reads the same arrays: ``velocity [S, T, nx, ny, 2]``, ``solid [S, nx, ny]`` and
``viscosity [S]``; ours reads them as graphs, whose walls have normals.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from convert_cylinder_wake import SOURCE, VISCOSITY, blocks_of_time

from atomfield.data.generate.fields import TASK_STEP, VISCOSITY_GAP, flow
from atomfield.data.generate.fields import VISCOSITY as FLOW_VISCOSITY
from atomfield.data.generate.obstacles import obstacle_flows
from atomfield.data.graph import Graph, NodeType
from atomfield.data.neighbors import grid_edges

SETS = ("flows", "obstacles", "wake")
SIZES = {"flows": (64, 8, 16), "obstacles": (96, 12, 24)}
"""Trajectories to train, validate and test on."""
FRAMES = 13
WAKE_BOX = ((-2.0, 10.0), (-2.5, 2.5))
WAKE_SPACING = 0.2
WAKE_START, WAKE_STRIDE, WAKE_GAP = 110.0, 2, 5.58


def parts_of(name: str, data: Path | None) -> dict[str, list[Graph]]:
    """``train``, ``valid`` and ``test`` trajectories; the same for every package and seed."""
    match name:
        case "flows":
            return _flows()
        case "obstacles":
            sizes = dict(zip(("train", "valid", "test"), SIZES[name], strict=True))
            return {
                part: [_only_velocity(g) for g in obstacle_flows(count, 100 + k)]
                for k, (part, count) in enumerate(sizes.items())
            }
        case "wake":
            assert data is not None, "the wake needs --data"
            return _wake(data / "cylinder_wake_nek5000" / SOURCE)
    raise SystemExit(f"no set {name!r}, expected one of {', '.join(SETS)}")


def _flows() -> dict[str, list[Graph]]:
    train, valid, test = SIZES["flows"]
    rng = np.random.default_rng(100)
    low, high = (math.log(x) for x in FLOW_VISCOSITY)

    def seen() -> float:
        while True:
            value = math.exp(rng.uniform(low, high))
            if not VISCOSITY_GAP[0] <= value <= VISCOSITY_GAP[1]:
                return value

    def unseen(number: int) -> float:
        ends = VISCOSITY_GAP if number % 2 else (1.1 * FLOW_VISCOSITY[1], 2 * FLOW_VISCOSITY[1])
        return math.exp(rng.uniform(*(math.log(x) for x in ends)))

    def make(values: list[float], part: str) -> list[Graph]:
        return [
            _only_velocity(flow(rng, nu, f"{part}-{k}", FRAMES, dataset="generated/flows", dt=TASK_STEP))
            for k, nu in enumerate(values)
        ]

    return {
        "train": make([seen() for _ in range(train)], "train"),
        "valid": make([seen() for _ in range(valid)], "valid"),
        "test": make([unseen(k) for k in range(test)], "test"),
    }


def _only_velocity(graph: Graph) -> Graph:
    kept = {k: v for k, v in graph.quantities.items() if k in ("velocity", "normal")}
    return graph.changed(quantities=kept)


def _wake(file: Path) -> dict[str, list[Graph]]:
    from scipy.interpolate import LinearNDInterpolator

    with np.load(file, allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    axes = [np.arange(low, high + 1e-9, WAKE_SPACING) for low, high in WAKE_BOX]
    shape = tuple(len(a) for a in axes)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    onto = lambda values: LinearNDInterpolator(data["pos"].astype(float), values)(points)  # noqa: E731
    solid = np.hypot(*points.T) <= 0.5
    mean = onto(data["mean_u"].astype(float))
    modes = np.stack([onto(mode) for mode in data["modes_u"].astype(float)])
    moments = np.flatnonzero(data["t"] >= WAKE_START - 1e-9)[::WAKE_STRIDE]
    times = data["t"][moments].astype(float)
    velocity = mean + np.einsum("ti,inc->tnc", data["a"][moments].astype(float), modes)
    velocity[:, solid] = 0.0
    radius = np.maximum(np.hypot(*points.T), 1e-9)
    normal = np.where((solid & (radius > 0.5 - 1.5 * WAKE_SPACING))[:, None], -points / radius[:, None], 0.0)
    kinds = np.full(len(points), int(NodeType.INTERIOR))
    kinds[points[:, 0] < WAKE_BOX[0][0] + 1e-9] = int(NodeType.INLET)
    kinds[points[:, 0] > WAKE_BOX[0][1] - 1e-9] = int(NodeType.OUTLET)
    kinds[solid] = int(NodeType.WALL)
    flat = lambda x: torch.from_numpy(np.concatenate([x, np.zeros((*x.shape[:-1], 1))], -1))  # noqa: E731
    return {
        part: [
            Graph(
                flat(points),
                torch.zeros(len(points)),
                "field",
                node_type=torch.from_numpy(kinds),
                edges={"grid": grid_edges(shape, (False, False))},
                grid_shape=shape,
                volume=torch.full((len(points),), WAKE_SPACING**2),
                quantities={
                    "velocity": flat(velocity[mask]).float(),
                    "normal": flat(normal),
                    "inflow": torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64),
                },
                conditions={"viscosity": VISCOSITY},
                level="wake",
                group=f"wake-{part}",
                times=torch.from_numpy(times[mask] - times[mask][0]),
                spacing=WAKE_SPACING,
            )
        ]
        for part, mask in blocks_of_time(times, WAKE_GAP, 0.1, 0.2).items()
    }


def arrays_of(graphs: list[Graph]) -> dict[str, np.ndarray]:
    """What a package without graphs reads."""
    shape = graphs[0].grid_shape
    assert shape is not None
    velocity = np.stack([g.quantities["velocity"][..., :2].numpy() for g in graphs])
    return {
        "velocity": velocity.reshape(*velocity.shape[:2], *shape, 2).astype(np.float32),
        "solid": np.stack([(g.node_type == int(NodeType.WALL)).numpy().reshape(shape) for g in graphs]),
        "viscosity": np.array([g.conditions["viscosity"] for g in graphs]),
        "periodic": np.array(bool(graphs[0].pbc.any())),
    }


def turned(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A quarter turn about z, (x, y) -> (-y, x), which maps the grid onto itself or onto the one of exchanged sides."""
    u = arrays["velocity"].swapaxes(2, 3)[:, :, ::-1]
    return arrays | {
        "velocity": np.ascontiguousarray(np.stack([-u[..., 1], u[..., 0]], -1)),
        "solid": np.ascontiguousarray(arrays["solid"].swapaxes(1, 2)[:, ::-1]),
    }


def turned_graph(graph: Graph) -> Graph:
    """The same of a graph: positions, cell and vectors turn; points, edges and their order stay."""
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    vectors = {k: (v.double() @ turn.T).to(v.dtype) for k, v in graph.quantities.items()}
    return graph.changed(positions=graph.positions @ turn.T, cell=graph.cell @ turn.T, quantities=vectors)


def errors(truth: np.ndarray, forecast: np.ndarray, solid: np.ndarray) -> dict[str, float]:
    """VRMSE of rollouts over fluid points, mean over times and trajectories, and at the end of the rollout.

    truth, forecast: ``[S, T, nx, ny, 2]``, time 0 given. VRMSE: root of the mean squared error over the variance of the truth at
    that time (Ohana et al., The Well, NeurIPS 2024). Where a forecast is not finite or beyond 10, it counts as 10.
    """
    fluid = ~solid[:, None, ..., None]
    count = fluid.sum((2, 3, 4)) * 2.0
    mean = (truth * fluid).sum((2, 3), keepdims=True) / fluid.sum((2, 3), keepdims=True)
    variance = (np.square(truth - mean) * fluid).sum((2, 3, 4)) / count
    with np.errstate(over="ignore", invalid="ignore"):
        square = (np.square(np.asarray(forecast, dtype=np.float64) - truth) * fluid).sum((2, 3, 4)) / count
        values = np.sqrt(square / variance)[:, 1:]
    values = np.minimum(np.nan_to_num(values, nan=10.0, posinf=10.0), 10.0)
    return {
        "rollout_vrmse": float(values.mean()),
        "first_step_vrmse": float(values[:, 0].mean()),
        "last_step_vrmse": float(values[:, -1].mean()),
    }
