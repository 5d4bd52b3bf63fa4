"""MACE as a timed worker, in an environment of its own (``make_env.sh mace``): two layers, max_ell 3, correlation 3, float32.

These are the defaults of its training command; a size is its ``--hidden_irreps``, e.g. ``64x0e+64x1o``. With ``:cueq`` behind
it, its operations are those of cuequivariance, as its ``--only_cueq`` makes them; on the GPU with its fused convolution too.
Where cuequivariance is installed, MACE takes its reduced coupling coefficients without ``:cueq`` too.
"""

from __future__ import annotations

from functools import lru_cache

import ase.io
import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.modules.wrapper_ops import CUET_AVAILABLE, CuEquivarianceConfig
from mace.tools import AtomicNumberTable, torch_geometric
from worker import DEVICE, Subject, serve


def model_of(size: str, numbers: list[int], cutoff: float, neighbors: float) -> torch.nn.Module:
    """Random weights; ``numbers``: the atomic numbers it knows."""
    size, _, how = size.partition(":")
    cueq = None
    if how == "cueq":
        assert CUET_AVAILABLE, "cuequivariance is not installed"
        cueq = CuEquivarianceConfig(
            enabled=True, layout="ir_mul", group="O3_e3nn", optimize_all=True, conv_fusion=DEVICE == "cuda"
        )
    elif how:
        raise ValueError(f"expected IRREPS or IRREPS:cueq, found :{how}")
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
        cueq_config=cueq,
    ).to(DEVICE)


def batch_of(structures: list[ase.Atoms], cutoff: float) -> torch_geometric.batch.Batch:
    """With the neighbours, on the CPU."""
    table = AtomicNumberTable(elements(structures))
    configs = [data.config_from_atoms(atoms) for atoms in structures]
    graphs = [data.AtomicData.from_config(c, z_table=table, cutoff=cutoff) for c in configs]
    return next(iter(torch_geometric.dataloader.DataLoader(graphs, len(graphs))))


def elements(structures: list[ase.Atoms]) -> list[int]:
    return sorted({int(z) for atoms in structures for z in atoms.numbers})


@lru_cache(maxsize=1)
def found(file: str, cutoff: float) -> tuple[list[ase.Atoms], torch_geometric.batch.Batch]:
    """The structures of ``file``, and as one batch."""
    torch.set_default_dtype(torch.float32)  # what mace_run_train --default_dtype float32 does
    structures = ase.io.read(file, index=":")
    return structures, batch_of(structures, cutoff)


def read(file: str, cutoff: float) -> tuple[int, int]:
    _, batch = found(file, cutoff)
    return len(batch["positions"]), batch["edge_index"].shape[1]


MODELS: dict[tuple[str, tuple[int, ...], float], torch.nn.Module] = {}
"""Each is made once for its elements: the mean number of neighbours, of the first structure that had them, only scales a sum."""


def load(size: str, file: str, cutoff: float) -> Subject:
    structures, on_cpu = found(file, cutoff)
    numbers = elements(structures)
    atoms, edges = read(file, cutoff)
    key = (size, tuple(numbers), cutoff)
    if key not in MODELS:
        torch.manual_seed(0)
        MODELS[key] = model_of(size, numbers, cutoff, edges / atoms)
    model = MODELS[key]
    batch = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in on_cpu.to_dict().items()}
    per_graph = batch["ptr"][1:] - batch["ptr"][:-1]

    def infer() -> dict[str, torch.Tensor]:
        return model(batch, training=False, compute_force=True)

    def train() -> None:
        model.zero_grad()
        out = model(batch, training=True, compute_force=True)
        ((out["energy"] / per_graph).square().mean() + out["forces"].square().mean()).backward()

    model.requires_grad_(False)
    assert bool(infer()["forces"].isfinite().all()), "forces are not finite"
    return Subject(
        jobs={"energy_forces": infer, "training_step": train, "graph": lambda: batch_of(structures, cutoff)},
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

    cueq = {"cuequivariance": version("cuequivariance")} if CUET_AVAILABLE else {}
    return {"mace-torch": version("mace-torch"), "e3nn": version("e3nn"), "torch": torch.__version__, **cueq}


if __name__ == "__main__":
    serve("mace", versions, load, read)
