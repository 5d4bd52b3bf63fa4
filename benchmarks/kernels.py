"""Energy and forces, and one training step, with compiled kernels beside the same network in eager mode.

    python benchmarks/kernels.py [--threads 2] [--repeats 20] [--out FILE.json]

216 silicon atoms, cutoff 5 angstrom, float32, both in one run and in turns; minima and medians in milliseconds. Both modes give
the same energies and forces to rounding, which is checked first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from ase.build import bulk

from atomfield.data.graph import Graph, GraphBatch
from atomfield.models.backbone import Layer
from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeConvolution
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.sizes import NetworkSize

NETWORKS = {
    name: NetworkConfig(
        **NetworkSize.model_validate(size).hyperparameters(),
        levels=("x",),
        default_level_atoms="x",
        average_neighbors=28,
    )
    for name, size in {
        "s": "s",
        "s, natural parity only": {"size": "s", "channels_unnatural": 0},
        "xs": "xs",
    }.items()
}


def silicon(config: NetworkConfig) -> GraphBatch:
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (3, 3, 3)
    atoms.rattle(0.05, seed=1)
    cell = torch.tensor(atoms.cell[:])
    graph = Graph(
        torch.tensor(atoms.positions),
        torch.tensor(atoms.numbers),
        "crystal",
        cell=cell,
        pbc=torch.ones(3).bool(),
    )
    return graphs_to_batch(config, [graph])


def jobs(network: AtomFieldNet, batch: GraphBatch) -> dict[str, Callable[[], object]]:
    def train() -> None:
        out = network(batch)
        network.zero_grad()
        (out["energy"].square().mean() * 1e-6 + out["forces"].square().mean()).backward()

    return {"energy and forces": lambda: network(batch), "training step": train}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, config in NETWORKS.items():
        torch.manual_seed(0)
        network = AtomFieldNet(config)
        torch.nn.init.normal_(network.atom_head.energy)
        batch = silicon(config)
        switches = [m for m in network.modules() if isinstance(m, EdgeConvolution | Layer)]
        times: dict[tuple[str, bool], list[float]] = {}
        forces = {}
        for repeat in range(options.repeats + 1):
            for fused in (False, True):
                for module in switches:
                    module.fused = fused
                if not repeat:  # compiles, warms up
                    forces[fused] = network(batch)["forces"].detach()
                for job, run in jobs(network, batch).items():
                    start = time.perf_counter()
                    run()
                    if repeat:
                        times.setdefault((job, fused), []).append(1e3 * (time.perf_counter() - start))
        error = float((forces[True] - forces[False]).abs().max() / forces[False].abs().max())
        assert error < 1e-4, f"forces differ by {error:.1e}"
        for job in ("energy and forces", "training step"):
            eager, fused = times[job, False], times[job, True]
            row = {
                "network": name, "job": job, "edges": batch.num_edges, "threads": options.threads,
                "eager_ms": min(eager), "compiled_ms": min(fused), "eager_median_ms": statistics.median(eager),
                "compiled_median_ms": statistics.median(fused), "ratio": min(eager) / min(fused), "forces_differ": error,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{name:20} {job:18} eager {min(eager):6.1f} ms  compiled {min(fused):6.1f} ms  "
                f"ratio {row['ratio']:.2f}  (medians {row['eager_median_ms']:.1f}, {row['compiled_median_ms']:.1f})"
            )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
