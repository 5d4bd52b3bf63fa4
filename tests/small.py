"""Small graphs and networks that several rooms' tests share: analytic labels, no file, no network, fractions of a second."""

from __future__ import annotations

import signal

import numpy as np
import torch

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.network import AtomFieldNet


def morse_clusters(count: int, seed: int = 0, level: str = "morse") -> list[Graph]:
    """Jittered five-atom clusters of H and C with the energy and forces of a Morse pair potential (eV, angstrom)."""
    rng = np.random.default_rng(seed)
    base = torch.tensor(
        [[0.0, 0, 0], [1.3, 0, 0], [0, 1.4, 0], [0, 0, 1.5], [1.1, 1.2, 0.3]], dtype=torch.float64
    )
    species = torch.tensor([6, 1, 1, 6, 1])
    graphs = []
    for number in range(count):
        positions = (base + 0.1 * torch.from_numpy(rng.standard_normal((5, 3)))).requires_grad_(True)
        distance = torch.pdist(positions)
        energy = (1.0 * (1 - torch.exp(-1.5 * (distance - 1.4))) ** 2 - 1.0).sum()
        (gradient,) = torch.autograd.grad(energy, positions)
        graphs.append(
            Graph(
                positions.detach(),
                species.clone(),
                "molecule",
                level=level,
                group=f"cluster-{number}",
                dataset="morse",
                conditions={"charge": 0.0, "spin": 1.0},  # an odd number of electrons
                quantities={"energy": energy.detach() - 30.0, "forces": -gradient},
            )
        )
    return graphs


def waves(
    count: int, seed: int = 0, num_points: int = 8, num_times: int = 5, level: str = "wave"
) -> list[Graph]:
    """Plane waves of a scalar that move with constant speed on a periodic square."""
    rng = np.random.default_rng(seed)
    index = torch.from_numpy(
        np.stack(np.meshgrid(*[np.arange(num_points)] * 2, indexing="ij"), -1).reshape(-1, 2)
    )
    positions = torch.cat([index.double() / num_points, torch.zeros(num_points**2, 1)], dim=1)
    times = torch.arange(num_times, dtype=torch.float64) * 0.05
    graphs = []
    for number in range(count):
        phase, axis = rng.uniform(0, 2 * np.pi), int(rng.integers(2))
        values = torch.stack([torch.cos(2 * np.pi * (positions[:, axis] - t) + phase) for t in times])
        velocity = torch.zeros(num_points**2, 3, dtype=torch.float64)
        velocity[:, axis] = 1.0
        graphs.append(
            Graph(
                positions,
                torch.zeros(num_points**2),
                "field",
                cell=torch.eye(3),
                pbc=torch.tensor([True, True, False]),
                edges={"grid": grid_edges((num_points, num_points), (True, True))},
                grid_shape=(num_points, num_points),
                quantities={"concentration": values, "velocity": velocity},
                conditions={"diffusivity": 1e-3},
                times=times,
                spacing=1 / num_points,
                level=level,
                group=f"wave-{number}",
                dataset="waves",
            )
        )
    return graphs


def small_network(
    seed: int = 0, levels: tuple[str, ...] = ("morse", "wave"), perturb: float = 0.1, **sizes: object
) -> AtomFieldNet:
    """A network with every parameter away from its initial zeros, so that no output vanishes."""
    torch.manual_seed(seed)
    options = {
        "channels": 8,
        "channels_unnatural": 4,
        "lmax": 1,
        "radial_hidden": 8,
        "head_hidden": 8,
        **sizes,
    }
    net = AtomFieldNet(
        NetworkConfig(
            **options,
            levels=levels,
            default_level_atoms=levels[0],
            default_level_field=levels[-1],  # type: ignore[arg-type]
            properties=(PropertyConfig(name="gap"), PropertyConfig(name="volume", pooling="sum")),
        )
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += perturb * torch.randn_like(parameter)
    return net


def hears_ctrl_c() -> None:
    """For ``preexec_fn``: what a shell starts in the background ignores Ctrl-C, and so does all that it starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
