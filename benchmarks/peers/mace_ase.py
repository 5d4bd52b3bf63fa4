"""MACE's calculator as a timed worker. A size is as in ``mace_speed.py``; with ``+compiled`` its calculator's own
``compile_mode="default"`` (``torch.compile``; a minute or more at the first call)."""

from __future__ import annotations

import ase.io
import torch
from ase_jobs import jobs_of
from mace.calculators import MACECalculator
from mace.data.neighborhood import get_neighborhood
from mace_speed import model_of, versions
from worker import DEVICE, Subject, serve

COMPILED = "+compiled"


def load(size: str, file: str, cutoff: float) -> Subject:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    structures = ase.io.read(file, index=":")
    numbers = sorted({int(z) for atoms in structures for z in atoms.numbers})
    first = structures[0]
    edges = get_neighborhood(first.positions, cutoff, tuple(first.pbc), first.cell.array)[0].shape[1]
    model = model_of(size.removesuffix(COMPILED), numbers, cutoff, edges / len(structures[0]))
    mode = "default" if size.endswith(COMPILED) else None
    calculator = MACECalculator(models=[model], device=DEVICE, default_dtype="float32", compile_mode=mode)
    return Subject(
        jobs=jobs_of(structures, calculator), atoms=len(structures[0]), edges=edges,
        parameters=sum(p.numel() for p in model.parameters()),
    )  # fmt: skip


if __name__ == "__main__":
    serve("mace", versions, load)
