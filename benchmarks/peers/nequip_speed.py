"""NequIP as a timed worker, in an environment of its own (``make_env.sh nequip``): its model presets, float32.

A size is a preset, ``S`` or ``M``; with ``+compiled`` behind it, inference is its AOTInductor export (what ``nequip-compile``
makes) and the training step its ``compile_mode: compile``. With ``:cueq`` behind the preset, as in ``S:cueq+compiled``, inference
takes its modifier ``enable_CuEquivariance``, which needs a GPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import ase.io
import torch
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import PresetNequIPGNNModel, modify
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.utils.global_state import set_global_state
from worker import DEVICE, Subject, serve

Data = dict[str, torch.Tensor]


def batch_of(structures: list[ase.Atoms], cutoff: float, symbols: list[str] | None = None) -> Data:
    """With the neighbours, on the CPU; ``symbols``: the elements that the network knows, where they are more."""
    known = symbols or elements(structures)
    transforms = [ChemicalSpeciesToAtomTypeMapper(known), NeighborListTransform(r_max=cutoff)]
    frames = []
    for atoms in structures:
        frame = from_ase(atoms)
        for transform in transforms:
            frame = transform(frame)
        frames.append(frame)
    return AtomicDataDict.batched_from_list(frames)


def elements(structures: list[ase.Atoms]) -> list[str]:
    return sorted({s for atoms in structures for s in atoms.get_chemical_symbols()})


@lru_cache(maxsize=1)
def found(file: str, cutoff: float) -> tuple[list[ase.Atoms], Data]:
    """The structures of ``file``, and as one batch."""
    set_global_state()
    structures = ase.io.read(file, index=":")
    return structures, batch_of(structures, cutoff)


def read(file: str, cutoff: float) -> tuple[int, int]:
    _, batch = found(file, cutoff)
    return AtomicDataDict.num_nodes(batch), AtomicDataDict.num_edges(batch)


Made = tuple[torch.nn.Module, torch.nn.Module, Callable[[Data], Data]]
MADE: dict[tuple[str, tuple[str, ...], float, bool], Made] = {}
"""The network, that which is trained, and inference; each made once for its elements and for one frame or several: the mean
number of neighbours, of the first structure that had them, only scales a sum."""


def made(size: str, symbols: list[str], cutoff: float, batch: Data) -> Made:
    base, _, compiled = size.partition("+")
    preset, _, how = base.partition(":")
    neighbors = AtomicDataDict.num_edges(batch) / AtomicDataDict.num_nodes(batch)
    settings = {
        "preset": preset, "seed": 0, "model_dtype": "float32", "r_max": cutoff, "type_names": symbols,
        "avg_num_neighbors": neighbors, "per_type_energy_scales": 1.0, "per_type_energy_shifts": 0.0,
    }  # fmt: skip
    model = PresetNequIPGNNModel(**settings, compile_mode="eager").to(DEVICE)
    if how == "cueq":
        model = modify(model, [{"modifier": "enable_CuEquivariance"}]).to(DEVICE)
    elif how:
        raise ValueError(f"expected PRESET or PRESET:cueq, found :{how}")
    trained = PresetNequIPGNNModel(**settings, compile_mode="compile").to(DEVICE) if compiled else model
    model.eval()
    infer: Callable[[Data], Data] = model
    if compiled:
        infer, _ = compiled_function(model, batch)
    return model, trained, infer


def load(size: str, file: str, cutoff: float) -> Subject:
    structures, on_cpu = found(file, cutoff)
    atoms, edges = read(file, cutoff)
    symbols, one = elements(structures), len(structures) == 1
    batch = {k: v.to(DEVICE) for k, v in on_cpu.items()}
    key = (size, tuple(symbols), cutoff, one)
    if key not in MADE:
        MADE[key] = made(size, symbols, cutoff, batch)
    model, trained, inference = MADE[key]
    compiled = "+" in size
    given = inputs(batch) if compiled else batch
    per_graph = batch[AtomicDataDict.NUM_NODES_KEY].reshape(-1, 1)

    def infer() -> Data:
        return inference(dict(given))

    def train() -> None:
        trained.zero_grad()
        out = trained(dict(batch))
        energy, forces = out[AtomicDataDict.TOTAL_ENERGY_KEY], out[AtomicDataDict.FORCE_KEY]
        ((energy / per_graph).square().mean() + forces.square().mean()).backward()

    def prepare(training: bool) -> None:
        model.requires_grad_(training).train(training)
        trained.requires_grad_(training).train(training)

    prepare(False)
    assert bool(infer()[AtomicDataDict.FORCE_KEY].isfinite().all()), "forces are not finite"
    notes = ""
    if compiled and one:
        notes = "its compiled training runs eagerly on a batch of one frame, by its own rule"
    if ":cueq" in size:
        notes = "its cuequivariance is for inference"

    return Subject(
        jobs={"energy_forces": infer, "graph": lambda: batch_of(structures, cutoff)}
        | ({"training_step": train} if ":cueq" not in size else {}),
        atoms=atoms,
        edges=edges,
        parameters=sum(p.numel() for p in model.parameters()),
        notes=notes,
        prepare={"energy_forces": lambda: prepare(False), "training_step": lambda: prepare(True)},
    )


def inputs(batch: Data) -> Data:
    """What the export of one frame (``nequip-compile --target ase``), or of several (``batch``), takes."""
    if AtomicDataDict.num_frames(batch) > 1:
        return dict(batch)
    return COMPILE_TARGET_DICT["ase"]["data_settings"](dict(batch))


def compiled_function(model: torch.nn.Module, batch: Data) -> tuple[Callable[[Data], Data], Data]:
    """Inference through AOTInductor, with the inputs that ``nequip-compile --target ase`` (one frame) or ``batch`` takes.

    Energies and forces alone: its stress costs time, and is not a number for molecules.
    """
    from nequip.nn.compile import DictInputOutputWrapper
    from nequip.utils.aot import aot_export_model
    from torch.export import Dim

    target = COMPILE_TARGET_DICT["ase" if AtomicDataDict.num_frames(batch) == 1 else "batch"]
    data = inputs(batch)
    dims = {
        "graph": Dim("num_frames", min=2, max=torch.inf),
        "node": Dim("num_nodes", min=2, max=torch.inf),
        "edge": Dim("num_edges", min=2, max=torch.inf),
    }
    path = str(Path(tempfile.mkdtemp()) / "model.nequip.pt2")
    outputs = [AtomicDataDict.PER_ATOM_ENERGY_KEY, AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY]
    fields = target["input"], outputs
    aot_export_model(model, DEVICE, *fields, data, target["batch_map_settings"](dims), path)
    compiled = DictInputOutputWrapper(torch._inductor.aoti_load_package(path), *fields)
    return compiled, data


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"nequip": version("nequip"), "e3nn": version("e3nn"), "torch": torch.__version__}


if __name__ == "__main__":
    serve("nequip", versions, load, read)
