"""Charges of ions by a shipped model: how far their sum is from the total, and what making it exact does to each.

    python benchmarks/total_charge.py

Molecules of the starter corpus at the model's default level, drawn anew with a seed: neutral ones, cations and anions. The model
saw a larger corpus of the same kind, so these figures are no test of its accuracy; they compare its charges with and without
``inference/total_charge.py``. ``dipole moved`` is what the model's dipole would err by if the shares counted in it too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch

import atomfield
from atomfield.data.graph import Graph
from atomfield.data.source import open_source
from atomfield.inference.predict import batch_of_items, packs
from atomfield.inference.total_charge import with_stated_total
from atomfield.models.heads import sum_by_graph
from atomfield.models.network import AtomFieldNet

COLUMNS = ("sum off", "most", "charges", "charges shared", "dipole", "dipole moved")


def drawn(source: str, level: str, count: int, seed: int) -> dict[float, list[Graph]]:
    """``count`` molecules of each total charge."""
    graphs = open_source(source)
    found: dict[float, list[Graph]] = {0.0: [], 1.0: [], -1.0: []}
    for number in np.random.default_rng(seed).permutation(len(graphs)):
        graph = graphs[int(number)]
        kept = found.get(graph.conditions.get("charge", np.nan))
        if kept is not None and graph.level == level and len(kept) < count:
            kept.append(graph)
        if all(len(kept) == count for kept in found.values()):
            break
    return found


@torch.no_grad()
def errors(net: AtomFieldNet, graphs: Sequence[Graph]) -> list[float]:
    """Mean absolute ones, in e and e angstrom, in the order of ``COLUMNS``."""
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in COLUMNS}
    for items in packs(net.config, graphs, 20_000, False):
        batch = batch_of_items(items, net.config.cutoff)
        out = net(batch, forces=False, properties=False)
        shared = with_stated_total(out, batch)["charges"]
        mass = net.masses[batch.species][:, None]
        centre = sum_by_graph(mass * batch.positions, batch) / sum_by_graph(mass, batch)
        arms = batch.positions - centre[batch.graph_index]
        moved = out["dipole"] + sum_by_graph((shared - out["charges"])[:, None] * arms, batch)
        off = (sum_by_graph(out["charges"].double(), batch) - batch.conditions["charge"]).abs()
        rows["sum off"].append(off)
        for name, values, label in (
            ("charges", out["charges"], "charges"), ("charges shared", shared, "charges"),
            ("dipole", out["dipole"], "dipole"), ("dipole moved", moved, "dipole"),
        ):  # fmt: skip
            rows[name].append((values - batch.quantities[label]).abs().flatten())
    means = {name: float(torch.cat(values).mean()) for name, values in rows.items() if values}
    return [means.get(name, float(torch.cat(rows["sum off"]).max())) for name in COLUMNS]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="atomfield-s")
    parser.add_argument("--source", default="starter/molecules")
    parser.add_argument("--count", type=int, default=60, help="molecules of each charge")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    net = atomfield.load(options.model).net.eval()
    print("| charge, e | molecules | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (2 + len(COLUMNS)))
    found = drawn(options.source, net.config.default_level_atoms, options.count, options.seed)
    for charge, graphs in found.items():
        numbers = " | ".join(f"{x:.3f}" for x in errors(net, graphs))
        print(f"| {charge:+g} | {len(graphs)} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
