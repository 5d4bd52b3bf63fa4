"""NequIP's calculator as a timed worker. A size is a preset, ``S``; with ``+compiled`` its AOTInductor export
(minutes to compile), which is made once for the elements of all structures."""

from __future__ import annotations

import ase.io
import torch
from ase_jobs import jobs_of
from nequip.ase import NequIPCalculator
from nequip.data import AtomicDataDict
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import PresetNequIPGNNModel
from nequip.utils.global_state import set_global_state
from nequip_speed import Data, batch_of, compiled_function, versions
from worker import DEVICE, Subject, serve

SYMBOLS = ["C", "Cl", "H", "Na", "O", "Si"]
"""Of the structures that ``structures.py`` knows."""


class Exported(torch.nn.Module):
    """The compiled function as a module, which the calculator wants."""

    def __init__(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]):
        super().__init__()
        self.call, _ = compiled_function(model, batch)

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self.call(data)


MADE: dict[tuple[str, float], tuple[NequIPCalculator, int]] = {}
"""The calculator and its number of parameters: the mean number of neighbours, of the first structure, only scales a sum."""


def made(size: str, batch: Data, cutoff: float) -> tuple[NequIPCalculator, int]:
    preset, _, compiled = size.partition("+")
    neighbors = AtomicDataDict.num_edges(batch) / AtomicDataDict.num_nodes(batch)
    model = PresetNequIPGNNModel(
        preset=preset, seed=0, model_dtype="float32", r_max=cutoff, type_names=SYMBOLS,
        avg_num_neighbors=neighbors, per_type_energy_scales=1.0, per_type_energy_shifts=0.0,
        compile_mode="eager",
    ).to(DEVICE).eval().requires_grad_(False)  # fmt: skip
    used: torch.nn.Module = model
    if compiled:
        used = Exported(model, {k: v.to(DEVICE) for k, v in batch.items()}).eval()
    transforms = [ChemicalSpeciesToAtomTypeMapper(SYMBOLS), NeighborListTransform(r_max=cutoff)]
    calculator = NequIPCalculator(used, device=DEVICE, transforms=transforms)
    return calculator, sum(p.numel() for p in model.parameters())


def load(size: str, file: str, cutoff: float) -> Subject:
    set_global_state()
    structures = ase.io.read(file, index=":")
    batch = batch_of(structures[:1], cutoff, SYMBOLS)
    if (size, cutoff) not in MADE:
        MADE[size, cutoff] = made(size, batch, cutoff)
    calculator, parameters = MADE[size, cutoff]
    return Subject(
        jobs=jobs_of(structures, calculator), atoms=len(structures[0]), edges=AtomicDataDict.num_edges(batch),
        parameters=parameters,
    )  # fmt: skip


if __name__ == "__main__":
    serve("nequip", versions, load)
