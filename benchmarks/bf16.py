"""What bfloat16 costs in equivariance: direct forces of rotated molecules, relative to the largest force.

    python benchmarks/bf16.py [--checkpoint DIR] [--molecules 20] [--out FILE.md]

The best case: products with weights (channel mixing, radial networks, gates) alone are in bfloat16, while positions, directions,
harmonics, frames, products of features and sums over neighbours stay float32. Without a checkpoint: a fresh network of each
size whose weights were moved by noise, so that every path is open.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from atomfield.data.source import open_source
from atomfield.models import checkpoint
from atomfield.models.backbone import Layer
from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeConvolution
from atomfield.models.layers import EquivariantLinear
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.sizes import network_size


def fresh(size: str) -> AtomFieldNet:
    torch.manual_seed(0)
    levels = ("gfn2-xtb",)
    options = network_size(size).hyperparameters()
    net = AtomFieldNet(
        NetworkConfig(**options, levels=levels, default_level_atoms=levels[0], auxiliary=("direct",))
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return net.eval()


@contextmanager
def mixing_in_bf16(net: AtomFieldNet) -> Iterator[None]:
    """Products with weights in bfloat16, one module at a time, everything between them in float32."""
    changed: list[tuple[nn.Module, str]] = [
        (m, "forward") for m in net.modules() if isinstance(m, (EquivariantLinear, nn.Linear))
    ]
    changed += [(m, "edge_weights") for m in net.modules() if isinstance(m, EdgeConvolution)]

    def wrapped(original: Callable[..., torch.Tensor]):
        def call(x: torch.Tensor, *options: bool) -> torch.Tensor:
            with torch.autocast(x.device.type, dtype=torch.bfloat16):
                return original(x, *options).to(x.dtype)

        return call

    for module, name in changed:
        setattr(module, name, wrapped(getattr(module, name)))
    try:
        yield
    finally:
        for module, name in changed:
            delattr(module, name)


@torch.no_grad()
def error(net: AtomFieldNet, graphs: list, way: str) -> tuple[float, float]:
    """(largest, median over molecules) of max |F(Rx) - R F(x)| / max |F(x)| over 20 rotations each."""
    generator = torch.Generator().manual_seed(1)
    worst = []
    for graph in graphs:
        q, _ = torch.linalg.qr(torch.randn(20, 3, 3, generator=generator, dtype=torch.float64))
        turned = [graph.changed(positions=graph.positions @ m.T, quantities={}) for m in q]
        batch = graphs_to_batch(net.config, [graph.changed(quantities={}), *turned])
        match way:
            case "float32":
                forces = net(batch, direct=True, properties=False)["forces"]
            case _:
                with mixing_in_bf16(net):
                    forces = net(batch, direct=True, properties=False)["forces"]
        forces = forces.double().reshape(21, -1, 3)
        expected = forces[0] @ q.transpose(1, 2)
        worst.append(float((forces[1:] - expected).abs().max() / forces[0].abs().max()))
    return max(worst), sorted(worst)[len(worst) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--molecules", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    source = open_source("starter/molecules")
    graphs = [g for g in (source[i] for i in range(0, len(source), 53)) if g.num_nodes > 3][
        : options.molecules
    ]
    nets = (
        {str(options.checkpoint): checkpoint.load(options.checkpoint)}
        if options.checkpoint
        else {size: fresh(size) for size in ("xs", "s", "m")}
    )
    lines = [
        "# Equivariance error of direct forces in bfloat16",
        "",
        f"`python benchmarks/bf16.py`, {time.strftime('%d %B %Y')}; {len(graphs)} starter molecules, "
        "20 rotations and reflections each.",
        "",
        "| network | arithmetic | largest | median over molecules |",
        "|---|---|---|---|",
    ]
    for name, net in nets.items():
        for layer in net.backbone.layers:
            assert isinstance(layer, Layer)
            layer.fused = False  # kernels are float32
        for way in ("float32", "channel mixing in bfloat16"):
            largest, median = error(net, graphs, way)
            lines.append(f"| {name} | {way} | {largest:.1e} | {median:.1e} |")
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
