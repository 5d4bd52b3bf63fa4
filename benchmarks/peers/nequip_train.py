"""NequIP's own ``nequip-train`` for a given time, then its predictions of the test file, in NequIP's environment.

Its model preset with the settings of its tutorial: Adam 0.01, reduced on plateaus, batches of 5, averaged weights, energy per
atom and forces weighted alike. In ten minutes that schedule lowers the rate to nothing long before the end, since an epoch
counts as progress only if it is better by a fifth; ``--size S+cosine`` has half a cosine over the time, and the rest as it is.

Its checkpoint of the best epoch can be written between the swap of averaged and raw weights, and its own loader refuses that
state (0.19.1: "EMA module loaded in a state where it does not contain EMA weights"); the two sets are then swapped back in the
file, which loads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
import yaml
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import ModelFromCheckpoint
from nequip.utils.global_state import set_global_state

CUTOFF = 5.0


def configuration(options: argparse.Namespace, symbols: list[str]) -> dict[str, Any]:
    days, rest = divmod(int(options.seconds), 86400)
    clock = f"{days:02d}:{timedelta(seconds=rest)!s:0>8}"
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 5, "num_workers": 0}
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
    }
    monitor = "val0_epoch/weighted_sum"
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": options.seed,
            "train_file_path": str(options.train),
            "val_file_path": str(options.valid),
            "key_mapping": {"REF_energy": "total_energy", "REF_forces": "forces"},
            "include_keys": ["REF_energy", "REF_forces"],
            "transforms": [
                {
                    "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": symbols,
                },
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF},
            ],
            "train_dataloader": {**loader, "shuffle": True},
            "val_dataloader": {**loader, "batch_size": 10},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "dataloader_kwargs": {"batch_size": 10},
                "type_names": symbols,
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 10**6,
            "max_time": clock,
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "monitor": monitor,
                    "dirpath": str(options.work / "checkpoints"),
                    "filename": "best",
                    "save_last": True,
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.999,
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss",
                "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0},
            },
            "val_metrics": metrics,
            "train_metrics": metrics,
            "test_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "lr_scheduler": schedule(options, monitor),
            "model": {
                "_target_": "nequip.model.PresetNequIPGNNModel",
                "preset": options.size.partition("+")[0],
                "seed": options.seed,
                "model_dtype": "float32",
                "type_names": symbols,
                "r_max": CUTOFF,
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
                "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
            },
        },
    }


def schedule(options: argparse.Namespace, monitor: str) -> dict[str, Any]:
    """The tutorial's, or half a cosine over the time."""
    if options.size.endswith("+cosine"):
        factor = {"_target_": "schedule.Cosine", "seconds": options.seconds}
        scheduler: dict[str, Any] = {"_target_": "torch.optim.lr_scheduler.LambdaLR", "lr_lambda": factor}
        return {"scheduler": scheduler, "interval": "step", "frequency": 1}
    scheduler = {
        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.6, "patience": 5, "threshold": 0.2,
        "min_lr": 1e-6,
    }  # fmt: skip
    return {"scheduler": scheduler, "monitor": monitor, "interval": "epoch", "frequency": 1}


def mended(path: Path) -> tuple[Path, bool]:
    """A checkpoint that the package's loader takes, and whether it had to be changed."""
    # NequIP's own file, written a moment ago by this run in its own environment; it holds more than tensors
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    weights = checkpoint["state_dict"]
    (key,) = [k for k in weights if k.startswith("ema.") and k.endswith("_extra_state")]
    if weights[key]["is_holding_ema_weights"]:
        return path, False
    names = checkpoint_parameters(weights)
    for number, name in enumerate(names):
        average = f"ema.ema_weight_{number}"
        assert weights[name].shape == weights[average].shape, f"{name} and {average} differ in shape"
        weights[name], weights[average] = weights[average], weights[name]
    weights[key]["is_holding_ema_weights"] = True
    out = path.with_name("mended.ckpt")
    torch.save(checkpoint, out)
    return out, True


def checkpoint_parameters(weights: dict[str, Any]) -> list[str]:
    """Names of the model's parameters in their order: the first tensors of ``model.*`` whose shapes are those averaged."""
    count = sum(k.startswith("ema.ema_weight_") for k in weights)
    candidates = [k for k, v in weights.items() if k.startswith("model.") and isinstance(v, torch.Tensor)]
    shapes = [weights[f"ema.ema_weight_{i}"].shape for i in range(count)]
    names, place = [], 0
    for candidate in candidates:
        if place < count and weights[candidate].shape == shapes[place]:
            names.append(candidate)
            place += 1
    assert place == count, f"{count} averaged weights, but {place} of the model's tensors match them"
    return names


def predict(checkpoint: Path, options: argparse.Namespace, symbols: list[str]) -> int:
    set_global_state()
    loaded = ModelFromCheckpoint(str(checkpoint))
    model = loaded["sole_model"] if isinstance(loaded, torch.nn.ModuleDict) else loaded
    model.eval().requires_grad_(False)
    transforms = [ChemicalSpeciesToAtomTypeMapper(symbols), NeighborListTransform(r_max=CUTOFF)]
    energy, forces = [], []
    structures = ase.io.read(options.test, index=":")
    for start in range(0, len(structures), 32):
        frames = []
        for atoms in structures[start : start + 32]:
            frame = from_ase(atoms)
            for transform in transforms:
                frame = transform(frame)
            frames.append(frame)
        out = model(AtomicDataDict.batched_from_list(frames))
        energy.append(out[AtomicDataDict.TOTAL_ENERGY_KEY].detach().double().reshape(-1).numpy())
        forces.append(out[AtomicDataDict.FORCE_KEY].detach().double().numpy())
    np.savez(options.work / "predictions.npz", energy=np.concatenate(energy), forces=np.concatenate(forces))
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--size", required=True, help="model preset, or preset+cosine")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    symbols = sorted(
        {s for atoms in ase.io.read(options.train, index=":") for s in atoms.get_chemical_symbols()}
    )
    (options.work / "nequip.yaml").write_text(yaml.safe_dump(configuration(options, symbols)))
    begun = time.monotonic()
    # what the command nequip-train runs, without asking where it was installed
    command = [
        sys.executable,
        "-c",
        "from nequip.scripts.train import main; main()",
        "-cp",
        str(options.work),
        "-cn",
        "nequip.yaml",
    ]
    here = str(Path(__file__).parent)  # where schedule.py lies
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{known}" if known else here}
    subprocess.run([*command, f"hydra.run.dir={options.work}/hydra"], check=True, env=environment)
    took = time.monotonic() - begun
    best, last = (options.work / "checkpoints" / f"{x}.ckpt" for x in ("best", "last"))
    if not (best.exists() or last.exists()):
        raise SystemExit("no epoch was finished in the time given")
    checkpoint, changed = mended(best if best.exists() else last)
    training = {"training_s": took, "checkpoint": checkpoint.name, "checkpoint_mended": changed}
    training["parameters"] = predict(checkpoint, options, symbols)
    (options.work / "training.json").write_text(json.dumps(training))


if __name__ == "__main__":
    main()
