"""MACE's calculator as a timed worker. A size is as in ``mace_speed.py``."""

from __future__ import annotations

import ase.io
import torch
from ase.neighborlist import neighbor_list
from ase_jobs import jobs_of
from mace.calculators import MACECalculator
from mace_speed import model_of, versions
from worker import Subject, serve


def load(size: str, file: str, cutoff: float) -> Subject:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    structures = ase.io.read(file, index=":")
    numbers = sorted({int(z) for atoms in structures for z in atoms.numbers})
    edges = len(neighbor_list("i", structures[0], cutoff))
    model = model_of(size, numbers, cutoff, edges / len(structures[0]))
    calculator = MACECalculator(models=[model], device="cpu", default_dtype="float32")
    return Subject(
        jobs=jobs_of(structures, calculator), atoms=len(structures[0]), edges=edges,
        parameters=sum(p.numel() for p in model.parameters()),
    )  # fmt: skip


if __name__ == "__main__":
    serve("mace", versions, load)
