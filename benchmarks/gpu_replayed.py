"""Training steps on a GPU, passes started kernel by kernel, compiled, recorded as CUDA graphs, or both: time and agreement.

    python benchmarks/gpu_replayed.py [--limit 120] [--only "ethanol x 5"]      results/gpu_replayed.json, .md
    python benchmarks/gpu_replayed.py --device cpu --tiny                       tries it without a GPU

A case is a stream of batches whose sizes change by up to a fifth, as those of a training do. A step is that of ``atomfield
finetune``: loss, way back, clipping, AdamW; batches are on the card beforehand. Medians over ``--seconds``, after two rounds
over the batches. *agreement*: the largest difference of any answer and of any weight's gradient from those of the plain pass
over all batches, relative to the largest, in float64 (``--dtype``); forces and stress among the answers. Networks are of the
size ``s`` with random weights.
"""

from __future__ import annotations

import argparse
import copy
import fcntl
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structures
import torch
from gpu_card import card
from machine import commit, description
from page_text import table, wrapped

from atomfield.data.graph import Graph, GraphBatch
from atomfield.data.neighbors import grid_edges
from atomfield.data.quantities import scalar_property
from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.sizes import network_size
from atomfield.pretrain.config import LossWeights, OptimizerConfig
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.step import MicroBatch, training_step

RESULTS = Path(__file__).parent / "results"
BATCHES = 6
WAYS = ("plain", "recorded", "compiled", "compiled, recorded")


@dataclass(frozen=True)
class Case:
    """``size`` graphs of ``what`` in a batch, give or take a fifth. ``terms``: labels that are trained on."""

    name: str
    what: str
    size: int
    terms: tuple[str, ...] = ("energy", "forces")
    ways: tuple[str, ...] = WAYS


CASES = (
    Case("ethanol x 5", "ethanol", 5),
    Case("ethanol x 32", "ethanol", 32),
    Case("silicon 64 x 4", "si64", 4, ("energy", "forces", "stress")),
    Case("fields 16 x 16 x 4", "grid16", 4, (), WAYS[:2]),
    Case("properties of molecules x 32", "ethanol", 32, ("gap",), WAYS[:2]),
    Case("silicon 216 x 10", "si216", 10),
    Case("fields 64 x 64 x 2", "grid64", 2, (), WAYS[:2]),
)


def graphs_of(case: Case) -> list[Graph]:
    """Structures with labels at random: what counts is the arithmetic."""
    random = torch.Generator().manual_seed(0)
    count = case.size + max(1, case.size // 5)
    if case.what.startswith("grid"):
        return [grid(int(case.what.removeprefix("grid")), random) for _ in range(count)]
    found = []
    for number in range(count):
        atoms = structures.named(f"{case.what}1" if case.what == "ethanol" else case.what)[0]
        atoms.rattle(0.05, seed=number)
        crystal = bool(atoms.pbc.all())
        labels = {
            "energy": torch.randn((), generator=random, dtype=torch.float64),
            "forces": torch.randn(len(atoms), 3, generator=random, dtype=torch.float64),
            "gap": torch.randn((), generator=random, dtype=torch.float64),
        }
        if crystal:
            labels["stress"] = 0.01 * torch.randn(3, 3, generator=random, dtype=torch.float64)
        kept = {name: value for name, value in labels.items() if name in case.terms}
        found.append(
            Graph(
                torch.tensor(atoms.positions), torch.tensor(atoms.numbers), "crystal" if crystal else "molecule",
                cell=torch.tensor(atoms.cell[:]) if crystal else None, pbc=torch.ones(3).bool() if crystal else None,
                quantities=kept, level="atoms", properties={"gap": scalar_property("gap")} if "gap" in kept else {},
            )
        )  # fmt: skip
    return found


def grid(points: int, random: torch.Generator) -> Graph:
    """Two states of a velocity and a concentration on a periodic square."""
    axis = torch.arange(points, dtype=torch.float64) / points
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    velocity = torch.randn(2, points**2, 3, generator=random, dtype=torch.float64)
    velocity[..., 2] = 0
    return Graph(
        torch.stack([x.flatten(), y.flatten(), torch.zeros(points**2)], dim=1), torch.zeros(points**2), "field",
        cell=torch.eye(3), pbc=torch.tensor([True, True, False]), edges={"grid": grid_edges((points, points), (True, True))},
        grid_shape=(points, points), spacing=1 / points, times=torch.tensor([0.0, 0.1], dtype=torch.float64), level="fields",
        quantities={"velocity": velocity, "concentration": torch.rand(2, points**2, generator=random, dtype=torch.float64)},
    ).snapshot(0)  # fmt: skip


def network(size: str, properties: tuple[str, ...] = ()) -> AtomFieldNet:
    """Nothing of it is zero, which the heads of a new network are."""
    torch.manual_seed(0)
    changes = (
        {} if size != "tiny" else {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8}
    )
    given = {**network_size("s" if size == "tiny" else size).hyperparameters(), **changes}
    net = AtomFieldNet(
        NetworkConfig(
            **given, levels=("atoms", "fields"), default_level_atoms="atoms", default_level_field="fields",
            average_neighbors=20.0, properties=tuple(PropertyConfig(name=name) for name in properties),
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in net.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=0.05)
    net.property_head.dropout.p = 0.0  # masks would differ between the ways
    return net


def batches_of(case: Case, config: NetworkConfig, device: str) -> list[GraphBatch]:
    graphs, most = graphs_of(case), max(1, case.size // 5)
    sizes = [case.size - most + round(2 * most * k / (BATCHES - 1)) for k in range(BATCHES)]
    return [
        graphs_to_batch(config, [graphs[(k + n) % len(graphs)] for n in range(max(1, size))]).to(device)
        for k, size in enumerate(sizes)
    ]


def targets_of(case: Case) -> Targets:
    return Targets("next_step" if case.what.startswith("grid") else "supervised", case.terms)


class Again:
    """Without a GPU: work is done again instead of a replay."""

    def warm(self, run: Callable[[], None]) -> None:
        run()

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        run()
        return run


def set_way(net: AtomFieldNet, way: str, recorder: Any = None) -> AtomFieldNet:
    net.compile_passes("compiled" in way).replay_passes("recorded" in way)
    if recorder is not None and net.replayed is not None:
        net.replayed._recorder = recorder
    return net


def gradients(net: AtomFieldNet, batch: GraphBatch, case: Case) -> list[torch.Tensor]:
    """All answers, and the gradient of a smooth function of them."""
    net.zero_grad()
    stress = "stress" in case.terms
    derived = "forces" in case.terms
    out = net(batch, forces=derived, stress=stress)
    names = [n for n in sorted(out) if out[n].requires_grad]
    sum((out[n] / (1 + out[n].detach().abs().mean())).square().sum() for n in names).backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
    return [*(out[n].detach() for n in names), torch.cat([g.double().flatten() for g in found])]


@contextmanager
def alone(lock: Path | None) -> Iterator[None]:
    """While other processes that share the file ``lock`` wait."""
    if lock is None:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def agreement(
    net: AtomFieldNet, case: Case, way: str, device: str, recorder: Any, dtype: torch.dtype
) -> float:
    """Of the batches in order, then of the first again."""
    double = copy.deepcopy(net).to(device, dtype)
    batches = batches_of(case, net.config, device)
    other = set_way(copy.deepcopy(double), way, recorder)
    worst = 0.0
    for batch in [*batches, batches[0]]:
        pairs = zip(gradients(double, batch, case), gradients(other, batch, case), strict=True)
        worst = max(worst, *(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs))
    return worst


def timed(
    net: AtomFieldNet, case: Case, way: str, options: argparse.Namespace, recorder: Any
) -> dict[str, Any]:
    own = set_way(copy.deepcopy(net).to(options.device).train(), way, recorder)
    settings = OptimizerConfig(learning_rate=1e-5)
    engine = TorchEngine(own, parameter_groups(own, settings.weight_decay), settings)
    batches, targets, weights = batches_of(case, net.config, options.device), targets_of(case), LossWeights()
    wait: Callable[[], Any] = torch.cuda.synchronize if options.device == "cuda" else lambda: None

    def step(number: int) -> None:
        training_step(engine, own, [MicroBatch(batches[number % BATCHES], targets)], weights)

    began = time.perf_counter()
    for number in range(2 * BATCHES):
        step(number)
    wait()
    ready, took, number = time.perf_counter() - began, list[float](), 0
    with alone(options.lock):
        while sum(took) < options.seconds or len(took) < 2 * BATCHES:
            start = time.perf_counter()
            step(number)
            wait()
            took.append(time.perf_counter() - start)
            number += 1
    nodes = statistics.mean(b.num_nodes for b in batches)
    return {
        "way": way,
        "nodes": nodes,
        "edges": statistics.mean(b.num_edges for b in batches),
        "step_ms": 1e3 * statistics.median(took),
        "per_s": nodes / statistics.median(took),
        "ready_s": ready,
        "recordings": len(own.replayed._recordings) if own.replayed is not None else 0,
        "memory_gb": torch.cuda.max_memory_reserved() / 2**30 if options.device == "cuda" else None,
    }


def page(found: dict[str, Any]) -> str:
    gpu = found["card"]
    rows = []
    for row in found["rows"]:
        plain = next((r for r in found["rows"] if r["case"] == row["case"] and r["way"] == "plain"), {})
        if "step_ms" not in row:
            said = row.get("error", row.get("agreement"))
            rows.append([row["case"], row["way"], *[""] * 6, str(said)])
            continue
        gain = (
            f" ({plain['step_ms'] / row['step_ms']:.1f}x)"
            if plain.get("step_ms") and row is not plain
            else ""
        )
        apart = f"{row['agreement']:.0e}" if row.get("agreement") is not None else ""
        rows.append(
            [
                row["case"], row["way"], f"{row['nodes']:,.0f}", f"{row['edges']:,.0f}", f"{row['step_ms']:.1f}{gain}",
                f"{row['per_s']:,.0f}", str(row["recordings"] or ""), f"{row['ready_s']:.0f}", apart,
            ]
        )  # fmt: skip
    header = [
        "batches", "pass", "atoms or points", "edges", "step, ms", "per second", "recordings", "first two rounds, s", "agreement"
    ]  # fmt: skip
    where = f"{gpu['name']}, driver {gpu['driver']}, torch {gpu['torch']}" if gpu["driver"] else gpu["name"]
    text = f"{found['machine']['date'][:10]}, {where}, commit {found['commit']}. " + " ".join(
        __doc__.split("\n\n")[2].split()
    )
    return (
        wrapped(
            [
                "# Recorded training steps on a GPU",
                "",
                "    python benchmarks/gpu_replayed.py",
                "",
                text,
                "",
                *table(header, rows),
            ]
        )
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small network")
    parser.add_argument("--only", default="", help="names of cases, with commas")
    parser.add_argument("--ways", default="", help="of the passes, with semicolons")
    parser.add_argument("--what", default="time,agreement")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the agreement")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each timing")
    parser.add_argument(
        "--limit", type=float, default=180.0, help="seconds after which nothing more is begun"
    )
    parser.add_argument("--lock", type=Path, help="file that processes share which time on one card")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_replayed.json")
    parser.add_argument("--page", action="store_true", help="only the page of what stands in --out")
    options = parser.parse_args()
    if options.page:
        options.out.with_suffix(".md").write_text(page(json.loads(options.out.read_text())))
        return
    end = time.monotonic() + options.limit
    size = "tiny" if options.tiny else "s"
    found = {
        "machine": description(),
        "card": card(options.device),
        "commit": commit(Path(__file__).parent),
        "rows": [],
    }
    recorder = Again() if options.device == "cpu" else None
    only, ways = (
        options.only.split(",") if options.only else [],
        options.ways.split(";") if options.ways else WAYS,
    )
    for case in CASES:
        net = network(
            size, tuple(name for name in case.terms if name == "gap")
        )  # with properties nothing is compiled
        for way in (w for w in case.ways if w in ways):
            if (only and case.name not in only) or time.monotonic() > end:
                continue
            row: dict[str, Any] = {"case": case.name, "way": way}
            try:
                if "time" in options.what:
                    row |= timed(net, case, way, options, recorder)
                if "agreement" in options.what and way == "recorded":
                    dtype = getattr(torch, options.dtype)
                    row["agreement"] = agreement(net, case, way, options.device, recorder, dtype)
            except RuntimeError as error:
                row["error"] = str(error).splitlines()[0]
            found["rows"].append(row)
            print(json.dumps(row), flush=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(page(found))


if __name__ == "__main__":
    main()
