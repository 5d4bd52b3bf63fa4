"""MACE as a timed worker, in an environment of its own (``make_env.sh mace``): two layers, max_ell 3, correlation 3, float32.

These are the defaults of its training command; a size is its ``--hidden_irreps``, e.g. ``64x0e+64x1o``.
"""

from __future__ import annotations

import ase.io
import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric
from worker import Subject, serve


def model_of(size: str, numbers: list[int], cutoff: float, neighbors: float) -> torch.nn.Module:
    """Random weights; ``numbers``: the atomic numbers it knows."""
    return modules.ScaleShiftMACE(
        r_max=cutoff,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(size),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros((1, len(numbers))),
        avg_num_neighbors=neighbors,
        atomic_numbers=numbers,
        correlation=3,
        radial_type="bessel",
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def load(size: str, file: str, cutoff: float) -> Subject:
    torch.set_default_dtype(torch.float32)  # what mace_run_train --default_dtype float32 does
    torch.manual_seed(0)
    structures = ase.io.read(file, index=":")
    numbers = sorted({int(z) for atoms in structures for z in atoms.numbers})
    table = AtomicNumberTable(numbers)
    configs = [data.config_from_atoms(atoms) for atoms in structures]

    def graph() -> dict[str, torch.Tensor]:
        loader = torch_geometric.dataloader.DataLoader(
            [data.AtomicData.from_config(c, z_table=table, cutoff=cutoff) for c in configs], len(configs)
        )
        return next(iter(loader)).to_dict()

    batch = graph()
    atoms, edges = len(batch["positions"]), batch["edge_index"].shape[1]
    model = model_of(size, numbers, cutoff, edges / atoms)
    per_graph = batch["ptr"][1:] - batch["ptr"][:-1]

    def infer() -> dict[str, torch.Tensor]:
        return model(batch, training=False, compute_force=True)

    def train() -> None:
        model.zero_grad()
        out = model(batch, training=True, compute_force=True)
        ((out["energy"] / per_graph).square().mean() + out["forces"].square().mean()).backward()

    assert bool(infer()["forces"].isfinite().all()), "forces are not finite"
    return Subject(
        jobs={"energy_forces": infer, "training_step": train, "graph": graph},
        atoms=atoms,
        edges=edges,
        parameters=sum(p.numel() for p in model.parameters()),
        prepare={
            "energy_forces": lambda: model.requires_grad_(False),  # as its calculator does
            "training_step": lambda: model.requires_grad_(True),
        },
    )


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"mace-torch": version("mace-torch"), "e3nn": version("e3nn"), "torch": torch.__version__}


if __name__ == "__main__":
    serve("mace", versions, load)
