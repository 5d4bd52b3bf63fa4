"""Optimisers beside torch's AdamW after the same processor time on a small task: starter molecules, energies and forces.

    python benchmarks/optimizers.py --seconds 40 [--only adamw,muon] [--rates 3e-3,6e-3] [--out FILE.md]

Every candidate comes from its own library (``pip install pytorch-optimizer schedulefree`` for those that are not torch's) and
gets the same network, batches, warm-up and cosine, over seconds of the processor, since that is what a shared machine can
compare. The held-out error is that of the averaged weights (EMA), as in pretraining.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from atomfield.data.source import open_source
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.sizes import network_size
from atomfield.pretrain.config import LossWeights, OptimizerConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine, parameter_groups, set_learning_rate
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.normalize import Statistics, normalize
from atomfield.pretrain.schedule import learning_rate_factor
from atomfield.pretrain.sources import select
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.streams import Stream
from atomfield.pretrain.validate import errors

NAMES = ("adamw", "nadam", "adopt", "ademamix", "schedulefree", "muon")
WORKS_UNDER_ZERO = {
    "adamw": "yes", "nadam": "yes", "adopt": "yes", "ademamix": "yes",
    "schedulefree": "no: its weights for evaluation are not those of training",
    "muon": "no: ZeRO hands over flat pieces, not matrices",
}  # fmt: skip


class Both:
    """Two optimisers as one: Muon takes matrices only."""

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)


def optimizer(name: str, net: AtomFieldNet, rate: float, decay: float) -> Any:
    groups = parameter_groups(net, decay)
    match name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)
        case "nadam":
            return torch.optim.NAdam(groups, lr=rate, betas=(0.9, 0.99), decoupled_weight_decay=True)
        case "adopt":
            from pytorch_optimizer import ADOPT

            return ADOPT(groups, lr=rate, betas=(0.9, 0.99), weight_decouple=True)
        case "ademamix":
            from pytorch_optimizer import AdEMAMix

            return AdEMAMix(groups, lr=rate, betas=(0.9, 0.99, 0.999), alpha=2.0, weight_decouple=True)
        case "schedulefree":
            import schedulefree

            made = schedulefree.AdamWScheduleFree(groups, lr=rate, betas=(0.9, 0.99))
            made.train()
            return made
        case "muon":
            matrices = [p for p in groups[0]["params"] if p.ndim == 2 and min(p.shape) > 1]
            chosen = {id(p) for p in matrices}
            rest = [{**g, "params": [p for p in g["params"] if id(p) not in chosen]} for g in groups]
            return Both(
                torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
                torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), fused=True),
            )
    raise SystemExit(f"no optimiser {name!r}, expected one of {', '.join(NAMES)}")


def trained(name: str, rate: float, seconds: float, seed: int) -> dict[str, float]:
    """Train for ``seconds`` of the processor; steps done and held-out errors."""
    graphs = open_source("starter/molecules")
    train, valid = select(graphs, "train"), select(graphs, "valid")
    statistics = Statistics()
    statistics.add([train[i] for i in range(0, len(train), 4)])
    levels = tuple(dict.fromkeys(g.level for g in train))
    torch.manual_seed(seed)
    size = network_size("xs").hyperparameters()
    net = AtomFieldNet(NetworkConfig(**size, levels=levels, default_level_atoms=levels[0]))
    normalize(net, statistics)
    net.backbone.prepare()
    targets = Targets("supervised", ("energy", "forces"))
    stream = Stream(train, targets, cutoff=net.config.cutoff, max_edges=2000, seed=seed)
    held_out = Stream(valid, targets, cutoff=net.config.cutoff, max_edges=8000, seed=0)
    settings = OptimizerConfig(learning_rate=rate)
    engine = TorchEngine(net, parameter_groups(net, settings.weight_decay), settings)
    engine.optimizer = optimizer(name, net, rate, settings.weight_decay)
    ema, began, spent, step = Ema(net, 0.99), time.process_time(), 0.0, 0
    while spent < seconds:
        factor = (
            learning_rate_factor(spent / seconds, 0.05, 0.01)
            if name != "schedulefree"
            else min(1.0, 0.01 + 20 * spent / seconds)
        )
        set_learning_rate(engine.optimizer, rate * factor)
        training_step(engine, net, [MicroBatch(stream.batch(step), targets)], LossWeights())
        ema.update()
        step += 1
        spent = time.process_time() - began
    net.eval()
    if name == "schedulefree":
        engine.optimizer.eval()
        found = errors(net, held_out, "cpu", 8)
    else:
        with ema.applied():
            found = errors(net, held_out, "cpu", 8)
    return {"steps": step, **found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--rates", default="3e-3,6e-3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Optimisers after the same processor time",
        "",
        f"`python benchmarks/optimizers.py --seconds {options.seconds:g} --rates {options.rates}`, "
        f"{time.strftime('%d %B %Y')}, one core, size xs, starter molecules, seed {options.seed}.",
        "",
        "| optimiser | rate | steps | forces, MAE, eV/angstrom | energy, MAE, eV/atom | under ZeRO 1-3 |",
        "|---|---|---|---|---|---|",
    ]
    for name in options.only.split(","):
        for rate in map(float, options.rates.split(",")):
            found = trained(name, rate, options.seconds, options.seed)
            lines.append(
                f"| {name} | {rate:g} | {found['steps']} | {found['forces_mae_eV_per_A']:.4f} | "
                f"{found['energy_mae_eV_per_atom']:.5f} | {WORKS_UNDER_ZERO[name]} |"
            )
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
