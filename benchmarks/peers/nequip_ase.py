"""NequIP's calculator as a timed worker. A size is a preset, ``S``; with ``+compiled`` its AOTInductor export
(minutes to compile)."""

from __future__ import annotations

import ase.io
import torch
from ase.neighborlist import neighbor_list
from ase_jobs import jobs_of
from nequip.ase import NequIPCalculator
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import PresetNequIPGNNModel
from nequip.utils.global_state import set_global_state
from nequip_speed import compiled_function, versions
from worker import Subject, serve


class Exported(torch.nn.Module):
    """The compiled function as a module, which the calculator wants."""

    def __init__(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]):
        super().__init__()
        self.call, _ = compiled_function(model, batch)

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self.call(data)


def load(size: str, file: str, cutoff: float) -> Subject:
    set_global_state()
    preset, _, compiled = size.partition("+")
    structures = ase.io.read(file, index=":")
    symbols = sorted({s for atoms in structures for s in atoms.get_chemical_symbols()})
    transforms = [ChemicalSpeciesToAtomTypeMapper(symbols), NeighborListTransform(r_max=cutoff)]
    edges = len(neighbor_list("i", structures[0], cutoff))
    model = PresetNequIPGNNModel(
        preset=preset, seed=0, model_dtype="float32", r_max=cutoff, type_names=symbols,
        avg_num_neighbors=edges / len(structures[0]), per_type_energy_scales=1.0, per_type_energy_shifts=0.0,
        compile_mode="eager",
    ).eval().requires_grad_(False)  # fmt: skip
    used: torch.nn.Module = model
    if compiled:
        frame = from_ase(structures[0])
        for transform in transforms:
            frame = transform(frame)
        used = Exported(model, AtomicDataDict.batched_from_list([frame])).eval()
    calculator = NequIPCalculator(used, device="cpu", transforms=transforms)
    return Subject(
        jobs=jobs_of(structures, calculator), atoms=len(structures[0]), edges=edges,
        parameters=sum(p.numel() for p in model.parameters()),
    )  # fmt: skip


if __name__ == "__main__":
    serve("nequip", versions, load)
