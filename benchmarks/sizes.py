"""What each size of the dial costs: parameters, operations, memory and time per atom; writes docs/sizes.md.

    python benchmarks/sizes.py [--sizes xs,s,m,l] [--atoms 1000] [--threads 1] [--repeats 5] [--device cpu|cuda]

Rattled silicon, cutoff 5 angstrom (28 neighbours), float32. Every measurement runs in a process of its own, because the peak of
memory is that of a process (on a GPU: of the allocator). Kernels are compiled before anything is measured. Times on a
CPU are those of the processor, which other programs change little.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from atomfield.data.graph import Graph, GraphBatch
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.operations import Operations, dense_operations, power_shape, product_operations
from atomfield.models.sizes import SIZES, network_size

ROOT = Path(__file__).resolve().parents[1]
JOBS = ("energy and forces", "training step")


def silicon(config: NetworkConfig, num_atoms: int) -> GraphBatch:
    """The cubic supercell of diamond with the nearest number of atoms."""
    from ase.build import bulk

    repeats = max(1, round((num_atoms / 8) ** (1 / 3)))
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (repeats, repeats, repeats)
    atoms.rattle(0.05, seed=1)
    graph = Graph(
        torch.tensor(atoms.positions),
        torch.tensor(atoms.numbers),
        "crystal",
        cell=torch.tensor(atoms.cell[:]),
        pbc=torch.ones(3, dtype=torch.bool),
    )
    return graphs_to_batch(config, [graph])


def build(size: str) -> AtomFieldNet:
    torch.manual_seed(0)
    numbers = network_size(size).hyperparameters()
    config = NetworkConfig(**numbers, levels=("x",), default_level_atoms="x", average_neighbors=28.0)
    net = AtomFieldNet(config)
    torch.nn.init.normal_(net.atom_head.energy)
    return net


def perform(job: str, net: AtomFieldNet, batch: GraphBatch) -> None:
    if job == "energy and forces":
        with torch.no_grad():
            net(batch)
        return
    out = net(batch)
    net.zero_grad()
    (out["energy"].square().mean() * 1e-6 + out["forces"].square().mean()).backward()


# ---------------------------------------------------------------- operations
def operations(size: str) -> dict[str, float]:
    """Per atom, of one energy; the energy and its forces take about three times as many."""
    net = build(size)
    batch, config = silicon(net.config, 216), net.config
    neighbors = batch.num_edges / batch.num_nodes
    one = Operations.of(config)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "matmul_mflop": (config.layers * dense_operations(config) + one.head) / 1e6,
        "edge_mflop": neighbors * (one.first_edge + (config.layers - 1) * one.edge) / 1e6,
        "product_mflop": config.layers * product_operations(power_shape(config)) / 1e6,
    }


# ---------------------------------------------------------------- memory and time
def measure(size: str, job: str, options: argparse.Namespace) -> dict[str, float]:
    """Peak of memory above that of the program and its network, and the median time, both per atom; in a fresh process."""
    torch.set_num_threads(options.threads)
    net = build(size).to(options.device)
    perform(job, net, silicon(net.config, 8).to(options.device))  # compiles, warms up
    batch = silicon(net.config, options.atoms).to(options.device)
    cuda = options.device == "cuda"
    clock = time.perf_counter if cuda else time.process_time  # the machine may be shared
    before = torch.cuda.memory_allocated() if cuda else _memory("VmRSS")
    if not cuda:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far (Linux)
    times = []
    for _ in range(options.repeats):
        start = clock()
        perform(job, net, batch)
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    after = torch.cuda.max_memory_allocated() if cuda else _memory("VmHWM")
    return {
        "atoms": batch.num_nodes,
        "kB": (after - before) / batch.num_nodes / 1e3,
        "us": statistics.median(times) / batch.num_nodes * 1e6,
        "us_least": min(times) / batch.num_nodes * 1e6,
    }


def _memory(key: str) -> int:
    """Bytes that this process holds (``VmRSS``) or held at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(key))) * 1024


def in_fresh_process(size: str, job: str, options: argparse.Namespace) -> dict[str, float]:
    words = ["--one", size, job, "--atoms", str(options.atoms), "--threads", str(options.threads)]
    words += ["--repeats", str(options.repeats), "--device", options.device]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{size}, {job}: ended with {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---------------------------------------------------------------- the page
def page(record: dict[str, Any]) -> str:
    rows = record["sizes"]
    widths = "\n".join(
        f"| `{name}` | {n['channels']} + {n['channels_unnatural']} | {n['lmax']} | {n['layers']} | {n['correlation']} | "
        f"{n['radial_hidden']}, {n['head_hidden']} | {rows[name]['parameters']:,} |"
        for name in rows
        if (n := network_size(name).hyperparameters())
    )
    costs = "\n".join(
        f"| `{name}` | {r['matmul_mflop'] + r['edge_mflop'] + r['product_mflop']:.2f} "
        f"({r['matmul_mflop']:.2f} + {r['edge_mflop']:.2f} + {r['product_mflop']:.2f}) | "
        + " | ".join(f"{r[job]['kB']:.0f} | {r[job]['us']:.0f}" for job in JOBS)
        + " |"
        for name, r in rows.items()
    )
    time_of = "wall-clock" if record["device"] == "cuda" else "processor"
    return f"""# Sizes

Written by `{record["command"]}` on {record["date"]}: {record["machine"]},
{record["threads"]} thread(s), torch {record["torch"]}, float32; {record["atoms"]} silicon atoms with 28 neighbours each.

One dial, `xs s m l`, in a configuration (`network: s`, or `network: {{size: s, channels: 48}}`: what is given wins) or on
the command line (`atomfield finetune --from scratch --size m`). `xs` has natural parity alone, so neither vorticity nor
magnetic fields nor properties that change sign in a mirror.

| size | channels, natural + unnatural | degree | layers | factors at nodes | hidden: radial, heads | parameters |
|---|---|---|---|---|---|---|
{widths}

Parameters are those of one level; each further one adds a row to every head.

| size | MFLOP per atom: dense + edges + products | energy and forces: kB per atom | us | training step: kB per atom | us |
|---|---|---|---|---|---|
{costs}

Operations are those of one energy without derivatives, by the formulas in `models/operations.py` (two for each product
with a weight, in the radial network or with a rotation, three for each nonzero Clebsch-Gordan entry).
Memory is the peak above that of the loaded program and network.
Times are {time_of} time per atom, the median of {record["repeats"]} repeats. The control,
`network: {{size: s, symmetry: none}}`, has the widths of its size with degree 0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--atoms", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "sizes.md")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options)))
        return
    rows: dict[str, dict[str, Any]] = {}
    for size in options.sizes.split(","):
        rows[size] = {**operations(size), **{job: in_fresh_process(size, job, options) for job in JOBS}}
        print(size, json.dumps(rows[size]))
    record = {
        "command": " ".join(["python", "benchmarks/sizes.py", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "machine": torch.cuda.get_device_name() if options.device == "cuda" else _processor(),
        "device": options.device,
        "threads": options.threads,
        "torch": torch.__version__,
        "repeats": options.repeats,
        "atoms": next(iter(rows.values()))[JOBS[0]]["atoms"],
        "sizes": rows,
    }
    (ROOT / "benchmarks" / "results" / "sizes.json").write_text(json.dumps(record, indent=1) + "\n")
    options.out.write_text(page(record))
    print(f"Written: {options.out}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


if __name__ == "__main__":
    main()
