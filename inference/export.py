"""A network as one compiled file, ``model.pt2``, that needs neither its checkpoint nor this package: energy, forces and stress.

The pass and its derivatives are traced into one graph of tensor operations with free numbers of atoms and pairs, and compiled by
AOTInductor. The file is a zip of machine code with the weights in it and of JSON: no pickle. It runs from Python (
``torch._inductor.aoti_load_package``) and from C++ (``AOTIModelPackageLoader`` of libtorch of the same version). It is a program:
load only files that you trust. Charges and the user's properties stay behind.

Inputs: positions ``[N, 3]`` float64 angstrom; species ``[N]`` int64; cell ``[3, 3]`` float64, rows, zero where not
periodic; pairs
``[2, E]`` int64, senders and receivers, all within ``cutoff``, both directions; shifts ``[E, 3]`` float64, lattice shifts of the
senders; charge and spin ``[1]`` float64, NaN where unknown. Outputs: energy ``[]`` eV, forces ``[N, 3]`` eV/angstrom, stress
``[3, 3]`` eV/angstrom^3 (zero where there is no cell). N and E are at least 2. Run on this machine's kind of processor or GPU.
"""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.quantities import PER_FRAGMENT
from atomfield.models.gpu.traced import SymbolicBatch

from .pair_list import PairList, stated

if TYPE_CHECKING:
    from atomfield.models.config import NetworkConfig
    from atomfield.models.network import AtomFieldNet

VERSION = 1
INPUTS = ("positions", "species", "cell", "pairs", "shifts", "charge", "spin")
ABOUT = "model/extra/atomfield.json"
"""Within the file: cutoff, level, elements, precision."""


class EnergyForcesStress(torch.nn.Module):
    """The function that is traced, with the signature of the file."""

    def __init__(self, net: AtomFieldNet, level: str):
        super().__init__()
        self.net, self.level = net, level

    def forward(
        self,
        positions: Tensor,
        species: Tensor,
        cell: Tensor,
        pairs: Tensor,
        shifts: Tensor,
        charge: Tensor,
        spin: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        zero = torch.zeros_like(species)
        batch = SymbolicBatch(
            positions=positions,
            species=species,
            node_type=zero,
            graph_index=zero,
            volume=torch.ones_like(positions[:, 0]),
            cell=cell[None],
            pbc=torch.ones(1, 3, dtype=torch.bool, device=positions.device),
            edge_index=pairs,
            edge_shift=shifts,
            edge_is_radius=torch.ones_like(pairs[0], dtype=torch.bool),
            quantities={},
            next_quantities={},
            conditions={"charge": charge, "spin": spin},
            levels=[self.level],
            spacing=torch.ones(1, dtype=torch.float64, device=positions.device),
            world="crystal",
        )
        with torch.no_grad():
            out = self.net(batch, stress=True, properties=False, added=True)
        return out["energy"][0], out["forces"], out["stress"][0]


def export(
    net: AtomFieldNet,
    out: str | Path,
    *,
    level: str = "",
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> Path:
    """Compile ``net`` for ``device`` into ``out``, a name ending in ``.pt2``. Takes a minute or more, and a C++ compiler.

    Raises ``InputError`` for a level without energies, for networks whose sums depend on the structure in ways that do not
    trace (long range, dispersion), and where there is no C++ compiler.
    """
    from torch.export import Dim

    from atomfield.models.checkpoint import cast

    from .silent import refuse_silent
    from .unseen import seen_elements

    out = Path(out)
    if out.suffix != ".pt2":
        raise InputError(
            f"is named {out.name!r}, expected a name ending in .pt2 (or .pt: metatomic)", str(out)
        )
    seen = seen_elements(net, level)
    refuse_silent(net, level)
    config = net.config
    refuse_far(config)
    _check_compiler()
    own = cast(copy.deepcopy(net), dtype).to(device).eval().requires_grad_(False)
    graph, example = traced(own, level)
    nodes, edges = Dim("num_nodes", min=2, max=10**7), Dim("num_pairs", min=2, max=10**9)
    free = ({0: nodes}, {0: nodes}, None, {1: edges}, {0: edges}, None, None)
    program = torch.export.export(graph, example, dynamic_shapes=free)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.stem}.draft.pt2")
    torch._inductor.aoti_compile_and_package(
        program, package_path=str(draft), inductor_configs={"aot_inductor.compile_wrapper_opt_level": "O0"}
    )
    about = {
        "format": "atomfield-export", "version": VERSION, "cutoff": config.cutoff, "device": device,
        "level": level or config.default_level_atoms, "dtype": str(own.dtype).removeprefix("torch."), "inputs": INPUTS,
        "crystals": for_crystals(config, level),
        "elements": None if seen is None else [z for z in torch.nonzero(seen).flatten().tolist() if z],
    }  # fmt: skip
    with zipfile.ZipFile(draft, "a") as archive:
        archive.writestr(ABOUT, json.dumps(about))
    draft.replace(out)
    return out


def refuse_far(config: NetworkConfig) -> None:
    """Raise ``InputError`` for terms that reach beyond the cutoff."""
    if config.long_range != "none" or config.electrostatics or any(p != "zbl" for p in config.priors):
        raise InputError(
            "networks with long-range terms (long_range, electrostatics, d3, d4) cannot be exported: their sums differ with the "
            "structure; use the ASE calculator"
        )


def for_crystals(config: NetworkConfig, level: str) -> bool:
    """Whether a file for ``level`` ("": none was named) answers for periodic structures: where the network has levels of
    crystals, the one of molecules must be asked for by its name."""
    return bool(level) or not config.crystal_levels or config.default_level_atoms in config.crystal_levels


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise InputError(
            "an export needs a C++ compiler and found none; install g++, or name one in $CXX"
        ) from error


def traced(net: AtomFieldNet, level: str) -> tuple[torch.fx.GraphModule, tuple[Tensor, ...]]:
    """The pass and its derivatives as one graph of tensor operations with free sizes, and the inputs it was traced
    with. ``net`` is left without its own kernels."""
    given = example(str(net.device))
    return traced_by(EnergyForcesStress(without_kernels(net), level), given), given


def without_kernels(net: AtomFieldNet) -> AtomFieldNet:
    """``net`` itself, on torch's operations alone: our kernels are not what a tracer sees."""
    for part in net.modules():
        if hasattr(part, "fused"):
            setattr(part, "fused", False)  # noqa: B010 (modules promise tensors for any name)
    return net


def traced_by(module: torch.nn.Module, given: tuple[Tensor, ...]) -> torch.fx.GraphModule:
    """``module`` as a graph of tensor operations in which the sizes of the inputs are free."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(module, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*given)


def example(device: str) -> tuple[Tensor, ...]:
    """Inputs to trace with: a few atoms in a cell; their number is a free symbol of the graph."""
    random = np.random.default_rng(0)
    positions = torch.from_numpy(random.uniform(0, 6, (7, 3)))
    sender, receiver = torch.combinations(torch.arange(7)).T
    pairs = torch.stack([torch.cat([sender, receiver]), torch.cat([receiver, sender])])
    shifts = torch.zeros(pairs.shape[1], 3, dtype=torch.float64)
    unknown = torch.full((1,), float("nan"), dtype=torch.float64)
    given = (
        positions,
        torch.ones(7, dtype=torch.int64),
        6 * torch.eye(3, dtype=torch.float64),
        pairs,
        shifts,
        unknown,
        unknown,
    )
    return tuple(x.to(device).clone() for x in given)


def read_about(path: str | Path) -> dict[str, Any]:
    """What the file says of itself. Raises ``InputError`` where it is none of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(ABOUT))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"is not an exported model ({error})", str(path)) from error
    if about["version"] > VERSION:
        raise InputError(
            f"version {about['version']} is newer than this AtomField runs ({VERSION})", str(path)
        )
    return about


class ExportedCalculator(Calculator):
    """ASE's calculator around an exported file, without the network: ``atoms.calc = ExportedCalculator("model.pt2")``.

    Answers raise ``InputError`` for elements that the level has not seen, for periodic structures where no level was named at the
    export and the default is one for molecules, for charges of fragments, and for fewer than two atoms or pairs.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (ASE's way)

    def __init__(self, path: str | Path, *, skin: float = 0.5):
        super().__init__()
        self.about = read_about(path)
        self.model = torch._inductor.aoti_load_package(str(path))
        self.pairs = PairList(self.about["cutoff"], skin)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties or ["energy"], system_changes)
        structure = self.atoms
        assert structure is not None
        known = self.about["elements"]
        if known is not None and (unknown := sorted(set(structure.numbers.tolist()) - set(known))):
            raise InputError(
                f"the model has not seen the elements {unknown} (atomic numbers), expected some of {known}",
                self.pairs.place(structure),
            )
        if structure.pbc.any() and not self.about.get("crystals", True):
            raise InputError(
                f"the file answers at level {self.about['level']!r}, which is for molecules; export a level for crystals by its "
                "name (--level)",
                self.pairs.place(structure),
            )
        if own := [name for name in PER_FRAGMENT.values() if name in structure.arrays]:
            raise InputError(
                f"an exported model reads no {' or '.join(own)}, only the total charge and spin; take the network's calculator",
                self.pairs.place(structure),
            )
        batch = self.pairs.batch(structure, "")
        if batch.num_nodes < 2 or batch.num_edges < 2:
            raise InputError(
                f"found {batch.num_nodes} atoms with {batch.num_edges} pairs, expected at least 2 of each",
                self.pairs.place(structure),
            )
        nan = torch.full((1,), float("nan"), dtype=torch.float64)
        charge, spin = (batch.conditions.get(name, nan) for name in ("charge", "spin"))
        device = self.about["device"]
        given = (
            batch.positions,
            batch.species,
            batch.cell[0],
            batch.edge_index,
            batch.edge_shift,
            charge,
            spin,
        )
        energy, forces, stress = self.model(*(x.contiguous().to(device) for x in given))
        if not np.isfinite(float(energy)):
            raise InputError(
                "the energy is not a finite number; atoms have come too close or the time step is too long",
                self.pairs.place(structure),
            )
        self.results = {
            "energy": float(energy), "free_energy": float(energy), "forces": forces.double().cpu().numpy(),
        }  # fmt: skip
        if structure.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress.double().cpu().numpy())

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """As ASE's, and a changed charge or spin counts as a change."""
        changes = list(super().check_state(atoms, tol=tol))
        if self.atoms is not None and stated(atoms) != stated(self.atoms):
            changes.append("info")
        return changes
