"""The laws on a GPU: symmetries, derivatives, and that all ways of a pass and the CPU give the same numbers.

    python benchmarks/gpu_laws.py [--checkpoint atomfield-s] [--rotations 100] [--compile] [--out FILE.json]
    python benchmarks/gpu_laws.py --page                     results/gpu_laws.md from results/gpu_laws.json

A molecule with stereo centres and a disordered crystal, in float64 and float32; errors are relative to the largest number of
their kind. ``--device cpu`` tries the script itself.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from torch import Tensor

import atomfield
from atomfield.data.graph_batch import GraphBatch
from atomfield.inference.pair_list import PairList
from atomfield.models.gpu import CapturedPass
from atomfield.models.network import AtomFieldNet

RESULTS = Path(__file__).parent / "results"
Pass = Callable[[GraphBatch], dict[str, Tensor]]


def molecule() -> Atoms:
    """Bromochlorofluoromethane beside methanol, so that mirror images differ."""
    positions = [
        (0, 0, 0), (0, 0, 1.94), (1.66, 0, -0.59), (-0.65, 1.13, -0.45), (-0.55, -0.89, -0.39),
        (4.0, 0.3, 1.1), (5.3, 0.9, 1.3), (3.5, 0.7, 0.2), (3.4, 0.6, 1.97), (4.1, -0.8, 1.04), (5.8, 0.6, 0.54),
    ]  # fmt: skip
    return Atoms("CBrClFHCOHHHH", positions)


def crystal() -> Atoms:
    atoms = bulk("Si", cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=0)
    atoms.set_cell(atoms.cell @ np.array([[1.02, 0.03, 0], [0, 0.99, 0.02], [0.01, 0, 1]]), scale_atoms=True)
    return atoms


def orthogonal(random: np.random.Generator) -> Tensor:
    """A random rotation, or with even chance one times the inversion."""
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    return torch.from_numpy(q * np.sign(np.diag(r)))


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def symmetries(run: Pass, batch: GraphBatch, rotations: int, energy_scale: float) -> dict[str, float]:
    random = np.random.default_rng(0)
    base = run(batch)
    worst = dict.fromkeys(("energy", "forces", "stress"), 0.0)
    for _ in range(rotations):
        q = orthogonal(random).to(batch.positions)
        shift = torch.from_numpy(random.normal(size=3)).to(batch.positions)
        out = run(replace(batch, positions=batch.positions @ q.T + shift, cell=batch.cell @ q.T))
        worst["energy"] = max(
            worst["energy"], float((out["energy"] - base["energy"]).abs().max()) / energy_scale
        )
        turned = {"forces": base["forces"] @ q.T.to(base["forces"].dtype)}
        if bool(batch.pbc.all()):
            turned["stress"] = q @ base["stress"].to(q) @ q.T
        for name, value in turned.items():
            worst[name] = max(worst[name], relative(out[name], value))
    order = torch.randperm(batch.num_nodes, generator=torch.Generator().manual_seed(0)).to(
        batch.positions.device
    )
    place = torch.argsort(order)
    moved = replace(
        batch,
        positions=batch.positions[order],
        species=batch.species[order],
        edge_index=place[batch.edge_index],
    )
    worst["permutation"] = relative(run(moved)["forces"], base["forces"][order])
    worst["net force"] = float(base["forces"].sum(0).abs().max() / base["forces"].abs().max())
    return worst


def slopes(run: Pass, batch: GraphBatch) -> dict[str, float]:
    """Forces and stress beside central differences of the energy, along random directions."""
    base, step = run(batch), 1e-4
    random = torch.Generator().manual_seed(1)
    way = torch.randn(batch.positions.shape, generator=random, dtype=torch.float64).to(batch.positions)
    ends = [run(replace(batch, positions=batch.positions + s * step * way))["energy"].sum() for s in (1, -1)]
    slope = -(base["forces"].double() * way).sum()
    out = {"forces": float(((ends[0] - ends[1]) / (2 * step) - slope).abs() / slope.abs())}
    if bool(batch.pbc.all()):
        strain = torch.randn(3, 3, generator=random, dtype=torch.float64).to(batch.positions)
        strain = (strain + strain.T) / 2
        ends = []
        for s in (1, -1):
            stretch = torch.eye(3).to(strain) + s * step * strain
            ends.append(
                run(replace(batch, positions=batch.positions @ stretch, cell=batch.cell @ stretch))["energy"]
            )
        volume = torch.linalg.det(batch.cell[0].cpu()).abs().to(strain)
        slope = (base["stress"][0].double() * strain).sum() * volume
        out["stress"] = float(((ends[0] - ends[1]).sum() / (2 * step) - slope).abs() / slope.abs())
    return out


def gradients(net: AtomFieldNet, batch: GraphBatch) -> list[Tensor]:
    """Of a loss of energy, forces and stress with respect to weights."""
    net.zero_grad()
    out = net(batch, stress=True)
    (out["energy"].square().sum() + out["forces"].square().sum() + out["stress"].square().sum()).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]


def worst_gradient(found: list[Tensor], expected: list[Tensor]) -> float:
    scale = max(float(g.abs().max()) for g in expected if g.numel())
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max(float((a.cpu().double() - b.cpu().double()).abs().max()) for a, b in pairs) / scale


def rows_of(
    name: str, net: AtomFieldNet, on_cpu: GraphBatch, options: argparse.Namespace
) -> list[dict[str, Any]]:
    reference = copy.deepcopy(net).double()
    with torch.no_grad():
        expected = reference(on_cpu, stress=True)
    expected_gradients = gradients(reference, on_cpu)
    energies = float(expected["energy"].abs().max())
    rows = []
    for dtype in (torch.float64, torch.float32):
        own = copy.deepcopy(net).to(dtype).to(options.device)
        batch = on_cpu.to(options.device)
        fixed = copy.deepcopy(own).eval().requires_grad_(False)
        captured = CapturedPass(fixed)

        def plain(b: GraphBatch, fixed: AtomFieldNet = fixed) -> dict[str, Tensor]:
            with torch.no_grad():
                return fixed(b, stress=True)

        def replayed(
            b: GraphBatch, fixed: AtomFieldNet = fixed, captured: CapturedPass = captured
        ) -> dict[str, Tensor]:
            with torch.no_grad():
                return fixed(b, stress=True, prepared=captured)

        row: dict[str, Any] = {"structure": name, "dtype": str(dtype).removeprefix("torch.")}
        first, again = plain(batch), plain(batch)
        replayed(batch)
        third = replayed(batch)
        kinds = ("energy", "forces") + (("stress",) if bool(batch.pbc.all()) else ())
        row["beside float64 on a CPU"] = {k: relative(first[k], expected[k]) for k in kinds}
        row["replayed beside plain"] = {k: relative(third[k], first[k]) for k in kinds}
        row["same bits again"] = {k: bool(torch.equal(first[k], again[k])) for k in kinds}
        row["symmetries"] = symmetries(plain, batch, options.rotations, energies)
        if dtype == torch.float64:
            row["derivatives"] = slopes(plain, batch)
        row["gradient of weights"] = worst_gradient(gradients(own, batch), expected_gradients)
        if options.compile:
            fixed.compile_passes()
            row["compiled beside plain"] = {k: relative(plain(batch)[k], first[k]) for k in kinds}
            row["compiled gradient of weights"] = worst_gradient(
                gradients(own.compile_passes(), batch), expected_gradients
            )
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def page(path: Path) -> str:
    known = json.loads(path.read_text())
    lines = [
        "# The laws on a GPU",
        "",
        "    python benchmarks/gpu_laws.py --compile",
        "",
        f"{known['device']}, torch {known['torch']}, network {known['checkpoint']}, {known['rotations']} random rotations and "
        f"reflections with translations. {known['date']}. Errors relative to the largest number of their kind.",
        "",
        "| structure | precision | what | worst errors |",
        "|---|---|---|---|",
    ]
    for row in known["rows"]:
        for what, value in row.items():
            if what in ("structure", "dtype"):
                continue
            found = value if isinstance(value, dict) else {"": value}
            text = ", ".join(
                f"{k} {('yes' if v else 'no') if isinstance(v, bool) else f'{v:.1e}'}".strip()
                for k, v in found.items()
                if isinstance(v, bool) or not math.isnan(v)
            )
            lines.append(f"| {row['structure']} | {row['dtype']} | {what} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="atomfield-s")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rotations", type=int, default=100)
    parser.add_argument("--compile", action="store_true", help="compiled passes too: minutes")
    parser.add_argument("--page", action="store_true", help="only write results/gpu_laws.md")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_laws.json")
    options = parser.parse_args()
    if options.page:
        (RESULTS / "gpu_laws.md").write_text(page(options.out))
        return
    net = atomfield.load(options.checkpoint).net
    pairs = PairList(net.config.cutoff, 0.0)
    levels = {
        "molecule": net.config.default_level_atoms,
        "crystal": next(iter(net.config.crystal_levels), ""),
    }
    rows: list[dict[str, Any]] = []
    for name, atoms in (("molecule", molecule()), ("crystal", crystal())):
        rows += rows_of(name, net, pairs.batch(atoms, levels[name]), options)
        out = {
            "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
            "torch": torch.__version__, "checkpoint": options.checkpoint, "rotations": options.rotations,
            "date": time.strftime("%Y-%m-%d"), "rows": rows,
        }  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
