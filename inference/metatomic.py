"""A network as a metatomic model, ``model.pt``: energies of atoms for LAMMPS, i-PI, ASE, torch-sim and others that load these.

The engine finds the pairs and differentiates the energy; forces and stress are its gradients. The pass is traced into one graph
of tensor operations with free sizes, as for :mod:`.export`, and that graph becomes TorchScript, which is what metatomic loads. A
TorchScript file is a zip: the code is text, weights are raw bytes, and how attributes hang together stands in ``data.pkl`` and
``constants.pkl``, which the format asks for and torch reads with an unpickler of its own for tensors and these classes alone.

Charge and spin are no inputs: the file answers for structures that state neither. Needs ``pip install 'atomfield[metatomic]'``.
"""

from __future__ import annotations

import copy
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from atomfield.data.errors import InputError
from atomfield.models.gpu.traced import SymbolicBatch
from atomfield.models.heads import Answers

from .export import example, for_crystals, refuse_far, traced_by, without_kernels

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from atomfield.models.network import AtomFieldNet


class EnergyOfAtoms(torch.nn.Module):
    """The function that is traced: ``[N]`` eV from positions ``[N, 3]`` and species ``[N]``, pairs ``[2, E]`` (senders,
    receivers) and what is added to the sender's position, ``offsets [E, 3]``. Every atom is a graph of its own, with
    neighbours in others."""

    def __init__(self, net: AtomFieldNet, level: str):
        super().__init__()
        self.net, self.level = net, level or net.config.default_level_atoms
        self.row = net.config.levels.index(self.level)

    def forward(self, positions: Tensor, species: Tensor, pairs: Tensor, offsets: Tensor) -> Tensor:
        count, zero = species.shape[0], torch.zeros_like(species)
        batch = SymbolicBatch(
            positions=positions,
            species=species,
            node_type=zero,
            graph_index=torch.arange(count, device=positions.device),
            volume=torch.ones_like(positions[:, 0]),
            cell=torch.eye(3, dtype=positions.dtype, device=positions.device).expand(count, 3, 3),
            pbc=torch.ones(count, 3, dtype=torch.bool, device=positions.device),
            edge_index=pairs,
            edge_shift=offsets,
            edge_is_radius=torch.ones_like(pairs[0], dtype=torch.bool),
            quantities={},
            next_quantities={},
            conditions={},
            levels=[self.level],
            spacing=torch.ones_like(positions[:, 0]),
            world="crystal",
            bonds_known=torch.zeros_like(species, dtype=torch.bool),
        )
        level = torch.full_like(species, self.row)
        answers = Answers(denoise=False, properties=False, features=False)
        with torch.no_grad():
            return self.net.read(batch, positions, batch.cell, level, added=True, answers=answers)["energy"]


def export_metatomic(
    net: AtomFieldNet, out: str | Path, *, level: str = "", dtype: torch.dtype | None = None
) -> Path:
    """Write ``net`` as ``out``, a name ending in ``.pt``. Geometry and energies are float64, weights as they are or as ``dtype``
    says.

    Raises ``InputError`` for a level without energies, for networks with terms beyond the cutoff (long range, dispersion), and
    where metatomic is not installed.
    """
    from atomfield.models.checkpoint import cast

    from .silent import refuse_silent
    from .unseen import seen_elements

    out = Path(out)
    if out.suffix != ".pt":
        raise InputError(f"is named {out.name!r}, expected a name ending in .pt", str(out))
    seen = seen_elements(net, level)
    refuse_silent(net, level)
    refuse_far(net.config)
    try:
        from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput

        from .metatomic_model import EnergyModel
    except ImportError as error:
        raise InputError(
            f"this needs {error.name}, which is not installed; pip install 'atomfield[metatomic]'", str(out)
        ) from error
    own = without_kernels(cast(copy.deepcopy(net), dtype).to("cpu").eval().requires_grad_(False))
    config, name = own.config, level or own.config.default_level_atoms
    model = EnergyModel(energies(own, level), config.cutoff, for_crystals(config, level), name).eval()
    capabilities = ModelCapabilities(
        outputs={
            "energy": ModelOutput(unit="eV", sample_kind="atom", description=f"level of theory: {name}")
        },
        atomic_types=list(range(1, 119))
        if seen is None
        else [z for z in torch.nonzero(seen).flatten().tolist() if z],
        interaction_range=config.layers * config.cutoff,
        length_unit="angstrom",
        supported_devices=["cpu", "cuda"],
        dtype="float64",
    )
    metadata = ModelMetadata(name=f"AtomField, {name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.stem}.{os.getpid()}.pt")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch says of TorchScript that it grows old; metatomic asks for it
            AtomisticModel(model, metadata, capabilities).save(draft)
        os.replace(draft, out)
    finally:
        draft.unlink(missing_ok=True)
    return out


def energies(net: AtomFieldNet, level: str) -> GraphModule:
    """:class:`EnergyOfAtoms` as a graph that TorchScript takes."""
    positions, species, _, pairs, offsets, _, _ = example(str(net.device))
    return scriptable(traced_by(EnergyOfAtoms(net, level), (positions, species, pairs, offsets)))


def scriptable(graph: GraphModule) -> GraphModule:
    """The same graph in words that TorchScript knows: operations without the name of their overload, sizes asked of tensors,
    new tensors on the device of the positions, a call for what is no finite number, constants as buffers, which move with the
    module."""
    nodes = list(graph.graph.nodes)
    with graph.graph.inserting_after(next(n for n in reversed(nodes) if n.op == "placeholder")):
        device = graph.graph.call_function(getattr, (nodes[0], "device"))
        unwritten = {text: graph.graph.call_function(float, (text,)) for text in ("nan", "inf", "-inf")}

    def written(value: Any) -> Any:
        return unwritten.get(str(value), value) if isinstance(value, float) else value

    for node in nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        kwargs = {k: v for k, v in node.kwargs.items() if k not in ("layout", "pin_memory", "memory_format")}
        if "device" in kwargs:
            kwargs["device"] = device
        node.args, node.kwargs = map_aggregate(node.args, written), map_aggregate(kwargs, written)
        if node.target is torch.ops.aten.sym_size.int:
            node.op, node.target = "call_method", "size"
        else:
            node.target = node.target.overloadpacket
    for node in nodes:
        if node.op == "get_attr":
            value = getattr(graph, node.target)
            if isinstance(value, Tensor) and node.target not in dict(graph.named_buffers()):
                delattr(graph, node.target)
                graph.register_buffer(node.target, value.detach().clone())
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph
