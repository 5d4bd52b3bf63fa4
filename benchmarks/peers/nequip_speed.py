"""NequIP as a timed worker, in an environment of its own (``make_env.sh nequip``): its model presets, float32.

A size is a preset, ``S`` or ``M``; with ``+compiled`` behind it, inference is its AOTInductor export (what ``nequip-compile``
makes) and the training step its ``compile_mode: compile``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import ase.io
import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import PresetNequIPGNNModel
from nequip.utils.global_state import set_global_state
from worker import Subject, serve

Data = dict[str, torch.Tensor]


def load(size: str, file: str, cutoff: float) -> Subject:
    set_global_state()
    preset, _, compiled = size.partition("+")
    structures = ase.io.read(file, index=":")
    symbols = sorted({s for atoms in structures for s in atoms.get_chemical_symbols()})
    transforms = [ChemicalSpeciesToAtomTypeMapper(symbols), NeighborListTransform(r_max=cutoff)]

    def graph() -> Data:
        frames = []
        for atoms in structures:
            frame = from_ase(atoms)
            for transform in transforms:
                frame = transform(frame)
            frames.append(frame)
        return AtomicDataDict.batched_from_list(frames)

    batch = graph()
    atoms, edges = AtomicDataDict.num_nodes(batch), AtomicDataDict.num_edges(batch)
    settings = {
        "preset": preset, "seed": 0, "model_dtype": "float32", "r_max": cutoff, "type_names": symbols,
        "avg_num_neighbors": edges / atoms, "per_type_energy_scales": 1.0, "per_type_energy_shifts": 0.0,
    }  # fmt: skip
    model = PresetNequIPGNNModel(**settings, compile_mode="eager")
    trained = PresetNequIPGNNModel(**settings, compile_mode="compile") if compiled else model
    per_graph = batch[AtomicDataDict.NUM_NODES_KEY].reshape(-1, 1)

    def infer() -> Data:
        return model(dict(batch))

    def train() -> None:
        trained.zero_grad()
        out = trained(dict(batch))
        energy, forces = out[AtomicDataDict.TOTAL_ENERGY_KEY], out[AtomicDataDict.FORCE_KEY]
        ((energy / per_graph).square().mean() + forces.square().mean()).backward()

    model.eval()
    assert bool(infer()[AtomicDataDict.FORCE_KEY].isfinite().all()), "forces are not finite"
    notes = ""
    if compiled:
        infer = exported(model, batch)
        if AtomicDataDict.num_frames(batch) == 1:
            notes = "its compiled training runs eagerly on a batch of one frame, by its own rule"

    def prepare(training: bool) -> None:
        model.requires_grad_(training).train(training)
        trained.requires_grad_(training).train(training)

    return Subject(
        jobs={"energy_forces": infer, "training_step": train, "graph": graph},
        atoms=atoms,
        edges=edges,
        parameters=sum(p.numel() for p in model.parameters()),
        notes=notes,
        prepare={"energy_forces": lambda: prepare(False), "training_step": lambda: prepare(True)},
    )


def exported(model: torch.nn.Module, batch: Data) -> Callable[[], Data]:
    """Inference of this batch through :func:`compiled_function`."""
    compiled, data = compiled_function(model, batch)
    return lambda: compiled(data)


def compiled_function(model: torch.nn.Module, batch: Data) -> tuple[Callable[[Data], Data], Data]:
    """Inference through AOTInductor, with the inputs that ``nequip-compile --target ase`` (one frame) or ``batch`` takes.

    Energies and forces alone: its stress costs time, and is not a number for molecules.
    """
    from nequip.nn.compile import DictInputOutputWrapper
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model
    from torch.export import Dim

    one = AtomicDataDict.num_frames(batch) == 1
    target = COMPILE_TARGET_DICT["ase" if one else "batch"]
    data = target["data_settings"](dict(batch)) if one else dict(batch)
    dims = {
        "graph": Dim("num_frames", min=2, max=torch.inf),
        "node": Dim("num_nodes", min=2, max=torch.inf),
        "edge": Dim("num_edges", min=2, max=torch.inf),
    }
    path = str(Path(tempfile.mkdtemp()) / "model.nequip.pt2")
    outputs = [AtomicDataDict.PER_ATOM_ENERGY_KEY, AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY]
    fields = target["input"], outputs
    aot_export_model(model, "cpu", *fields, data, target["batch_map_settings"](dims), path)
    compiled = DictInputOutputWrapper(torch._inductor.aoti_load_package(path), *fields)
    return compiled, data


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"nequip": version("nequip"), "e3nn": version("e3nn"), "torch": torch.__version__}


if __name__ == "__main__":
    serve("nequip", versions, load)
