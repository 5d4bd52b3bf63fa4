"""What a network with a cutoff of 5 angstrom learns of charges further apart, with and without what acts beyond the cutoff.

    python benchmarks/long_range.py [--steps 4000] [--out benchmarks/results/long_range.md]

Two sets with exact labels: Coulomb's law of charges +1 and -1 (Na, Cl) plus a Born-Mayer repulsion exp(-(r - r0) / rho) between
unlike ions. Pairs of ions have an energy that falls as 1/r, pairs of NaCl molecules, randomly turned, one that falls as 1/r^3.
Trained up to 12 angstrom between the centres, tested in bins up to 20: the first bins are interpolation, the last are distances
never seen. Every network takes the same steps. The error stands beside the spread of
the labels in the bin, which a constant would leave.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch

from atomfield.data.graph import Graph, GraphBatch
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.physics_priors.coulomb import COULOMB

NETWORKS = {
    "local": {},
    "filter": {"long_range": "filter"},
    "filter to 40 A": {"long_range": "filter", "long_range_largest": 40.0},
    "charges of bonds": {"electrostatics": True},
    "charges of atoms": {"electrostatics": True, "electrostatics_charges": "atoms"},
}
BINS = ((3.5, 5.0), (5.0, 8.0), (8.0, 12.0), (12.0, 16.0), (16.0, 20.0))
BOND, SOFTNESS = 2.36, 0.32


def labelled(positions: torch.Tensor, charges: torch.Tensor, total: float) -> Graph:
    """Energy in eV and forces of ions at ``positions [N, 3]``."""
    x = positions.clone().requires_grad_()
    i, j = torch.triu_indices(len(x), len(x), 1)
    r = (x[i] - x[j]).norm(dim=1)
    unlike = charges[i] * charges[j] < 0
    scale = COULOMB / BOND**2 * SOFTNESS  # so that a NaCl molecule is at rest at its bond length
    energy = (COULOMB * charges[i] * charges[j] / r + unlike * scale * torch.exp((BOND - r) / SOFTNESS)).sum()
    (gradient,) = torch.autograd.grad(energy, x)
    species = torch.where(charges > 0, 11, 17)
    return Graph(
        positions, species, "molecule", conditions={"charge": total}, quantities={"energy": energy.detach(), "forces": -gradient}
    )  # fmt: skip


def fragment(kind: str, rng: np.random.Generator, sign: float) -> tuple[torch.Tensor, torch.Tensor]:
    if kind == "ions":
        return torch.zeros(1, 3).double(), torch.tensor([sign]).double()
    direction = torch.from_numpy(rng.standard_normal(3))
    half = direction / direction.norm() * BOND / 2
    return torch.stack([half, -half]), torch.tensor([1.0, -1.0]).double()


def sample(kind: str, count: int, low: float, high: float, rng: np.random.Generator) -> list[Graph]:
    """Two fragments, distances uniform between ``low`` and ``high``."""
    graphs = []
    while len(graphs) < count:
        (a, qa), (b, qb) = fragment(kind, rng, 1.0), fragment(kind, rng, -1.0)
        direction = torch.from_numpy(rng.standard_normal(3))
        b = b + direction / direction.norm() * rng.uniform(low, high)
        if torch.cdist(a, b).min() > 2.0:
            graphs.append(
                labelled(torch.cat([a, b]), torch.cat([qa, qb]), float((qa.sum() + qb.sum()).round()))
            )
    return graphs


def targets(graphs: list[Graph]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([g.quantities["energy"] for g in graphs]), torch.cat(
        [g.quantities["forces"] for g in graphs]
    )


def train(far: dict[str, object], graphs: list[Graph], steps: int) -> AtomFieldNet:
    """Adam on energies and forces in units of their spread, the rate falling to nothing; energies are about their mean."""
    torch.manual_seed(0)
    config = NetworkConfig(
        channels=16, channels_unnatural=0, lmax=1, correlation=2, radial_hidden=16, head_hidden=16, cutoff=5.0,
        average_neighbors=2.0, levels=("ions",), default_level_atoms="ions", **far,
    )  # fmt: skip
    net = AtomFieldNet(config)
    energy, forces = targets(graphs)
    spread_e, spread_f = energy.std(), forces.square().mean().sqrt()
    net.atom_head.reference[:] = energy.mean() / graphs[0].num_nodes
    net.atom_head.energy_scale.copy_(spread_e)
    batches: list[tuple[GraphBatch, torch.Tensor, torch.Tensor]] = []
    for start in range(0, len(graphs), 40):
        part = graphs[start : start + 40]
        batches.append((graphs_to_batch(config, part), *targets(part)))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    order = np.random.default_rng(0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        batch, energy, forces = batches[order.integers(len(batches))]
        out = net(batch, properties=False)
        loss = ((out["energy"] - energy) / spread_e).square().mean() + (
            (out["forces"] - forces) / spread_f
        ).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/long_range.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = [
        f"# Beyond the cutoff ({date.today()})\n",
        f"`python benchmarks/long_range.py --steps {arguments.steps}` on {platform.machine()}, one thread, "
        f"torch {torch.__version__}.",
        f"Cutoff 5 A; trained on 400 pairs up to 12 A apart, energy and forces, {arguments.steps} steps of 40.",
        "RMSE of the energy in meV (whole system), 100 pairs in each bin; `spread` is the standard deviation of the labels",
        "there; seconds are those of the processor.",
    ]
    for kind, title in (("ions", "An ion pair, E ~ 1/r"), ("molecules", "Two NaCl molecules, E ~ 1/r^3")):
        rng = np.random.default_rng(1)
        graphs = sample(kind, 400, 3.5, 12.0, rng)
        tests = [sample(kind, 100, low, high, rng) for low, high in BINS]
        rows = [[f"{1e3 * float(targets(t)[0].std()):.1f}" for t in tests]]
        names = ["spread"]
        for name, far in NETWORKS.items():
            begin = time.process_time()
            net = train(far, graphs, arguments.steps)
            seconds = time.process_time() - begin
            row = []
            for test in tests:
                with torch.no_grad():
                    energy = net(graphs_to_batch(net.config, test), forces=False)["energy"]
                row.append(f"{1e3 * float((energy - targets(test)[0]).square().mean().sqrt()):.1f}")
            rows.append(row)
            names.append(f"{name} ({seconds:.0f} s)")
            print(kind, name, f"{seconds:.0f} s", row, flush=True)
        text.append(f"\n## {title}\n")
        text.append("| network | " + " | ".join(f"{low:g}-{high:g} A" for low, high in BINS) + " |")
        text.append("|---|" + "---:|" * len(BINS))
        text += [f"| {name} | " + " | ".join(row) + " |" for name, row in zip(names, rows, strict=True)]
    arguments.out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
