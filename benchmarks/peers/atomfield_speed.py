"""Our network as a timed worker; ``benchmarks/speed.py`` starts it with the Python that runs itself.

A size is one of :data:`SIZES` or ``xs``, ``s``, ``m``, ``l``; what stands behind a ``+`` names another way through the
same network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import ase.io
import torch
from worker import DEVICE, Subject, serve

from atomfield.data.graph import Graph, GraphBatch
from atomfield.models.config import NetworkConfig
from atomfield.models.force_pass import ForcePass
from atomfield.models.network import AtomFieldNet, graphs_to_batch

SIZES: dict[str, dict[str, Any]] = {
    "l1": {"channels_unnatural": 0, "lmax": 1},
    "l2": {"channels_unnatural": 0, "lmax": 2},
    "default": {},
}
"""What differs from ``NetworkConfig()``; ``l1`` and ``l2`` have 32 channels of natural parity alone."""


def graphs(file: str) -> list[Graph]:
    out = []
    for atoms in ase.io.read(file, index=":"):
        crystal = bool(atoms.pbc.all())
        out.append(
            Graph(
                torch.tensor(atoms.positions),
                torch.tensor(atoms.numbers),
                "crystal" if crystal else "molecule",
                cell=torch.tensor(atoms.cell[:]) if crystal else None,
                pbc=torch.ones(3).bool() if crystal else None,
            )
        )
    return out


def network_of(config: NetworkConfig) -> AtomFieldNet:
    """Random weights, with those that start as zero (the heads) drawn too, so that nothing is skipped or denormal."""
    torch.manual_seed(0)
    network = AtomFieldNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=0.1)
    return network


def config_of(size: str, cutoff: float, average_neighbors: float) -> NetworkConfig:
    changes = {
        "levels": ("x",),
        "default_level_atoms": "x",
        "cutoff": cutoff,
        "average_neighbors": average_neighbors,
    }
    if size not in SIZES:  # a named size: xs, s, m or l
        from atomfield.models.sizes import network_size

        return NetworkConfig(**{**network_size(size).hyperparameters(), **changes})
    return NetworkConfig(**{**changes, **SIZES[size]})


def loss_of(out: dict[str, torch.Tensor], batch: GraphBatch) -> torch.Tensor:
    """Mean squares of the energy per atom and of the forces (labels zero: only the arithmetic matters)."""
    per_atom = out["energy"] / batch.nodes_per_graph()
    return per_atom.square().mean() + out["forces"].square().mean()


@lru_cache(maxsize=1)
def found(file: str, cutoff: float) -> tuple[list[Graph], GraphBatch]:
    """The structures of ``file``, and with their neighbours."""
    structures = graphs(file)
    return structures, graphs_to_batch(config_of("default", cutoff, 16.0), structures)


def read(file: str, cutoff: float) -> tuple[int, int]:
    _, batch = found(file, cutoff)
    return batch.num_nodes, batch.num_edges


def inference_of(network: AtomFieldNet, how: str) -> Callable[[GraphBatch], dict[str, torch.Tensor]]:
    """Energy and forces of a batch, by a copy whose weights do not change. ``how`` is what stands behind the ``+`` of a size:
    ``captured`` replays the kernels of an earlier pass, ``compiled`` those that torch.compile made (GPU alone; training replays
    them likewise)."""
    fixed = copy.deepcopy(network).requires_grad_(False)
    match how:
        case "":
            kept = ForcePass(fixed, keep=True)  # as in a calculator
            return lambda batch: fixed(batch, prepared=kept)
        case "captured" | "compiled":
            from atomfield.models.gpu import CapturedPass

            fixed.compile_passes(how == "compiled")
            captured = CapturedPass(fixed)
            return lambda batch: fixed(batch, prepared=captured)
        case _:
            raise ValueError(f"no pass of the network is called {how!r}")


Forward = Callable[[GraphBatch], dict[str, torch.Tensor]]
MADE: dict[tuple[NetworkConfig, str], tuple[AtomFieldNet, Forward]] = {}
"""The network that is trained, and inference; made once, since compiling takes a minute."""


def load(size: str, file: str, cutoff: float) -> Subject:
    base, _, how = size.partition("+")
    structures, on_cpu = found(file, cutoff)
    config = config_of(base, cutoff, on_cpu.num_edges / on_cpu.num_nodes)
    if (config, how) not in MADE:
        network = network_of(config).to(DEVICE).compile_passes(how == "compiled").replay_passes(how != "")
        MADE[config, how] = network, inference_of(network, how)
    network, forward = MADE[config, how]
    batch = on_cpu.to(DEVICE)

    def infer() -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return forward(batch)

    def train() -> None:
        network.zero_grad()
        loss_of(network(batch), batch).backward()

    assert bool(infer()["forces"].isfinite().all()), "forces are not finite"
    notes = beside_plain(network, infer, train, batch) if how and batch.num_nodes <= CHECKED else ""
    return Subject(
        jobs={
            "energy_forces": infer,
            "training_step": train,
            "graph": lambda: graphs_to_batch(config, structures),
        },
        atoms=batch.num_nodes,
        edges=batch.num_edges,
        parameters=sum(p.numel() for p in network.parameters()),
        notes=notes,
    )


CHECKED = 2000
"""Atoms up to which ways of a pass are compared."""


def beside_plain(
    network: AtomFieldNet,
    infer: Callable[[], dict[str, torch.Tensor]],
    train: Callable[[], None],
    batch: GraphBatch,
) -> str:
    """How far forces and the gradient of weights are from those of the plain pass, relative to the largest."""
    for _ in range(3):  # a pass that is recorded is recorded at its second call
        found = infer()["forces"]
    train()
    weights = [p for p in network.parameters() if p.grad is not None and p.numel()]
    gradients = [p.grad.clone() for p in weights if p.grad is not None]
    before, network.compiled = (network.compiled, network.replayed), None
    network.replayed = None
    network.zero_grad()
    out = network(batch)
    loss_of(out, batch).backward()
    network.compiled, network.replayed = before
    forces = float((found - out["forces"].detach()).abs().max() / out["forces"].detach().abs().max())
    largest = max(float(g.abs().max()) for g in gradients)
    pairs = zip(weights, gradients, strict=True)
    apart = max(float((g - (0 if p.grad is None else p.grad)).abs().max()) for p, g in pairs) / largest
    return f"forces within {forces:.0e} and gradients of weights within {apart:.0e} of the plain pass"


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"atomfield": version("atomfield"), "torch": torch.__version__}


if __name__ == "__main__":
    serve("atomfield", versions, load, read)
