"""An ASE calculator around a network: energy, free energy, forces, stress, and charges and dipole where there are any.

Molecular dynamics asks for the same atoms a little further on, thousands of times. Pairs are therefore searched within
cutoff + skin and kept until an atom has moved by half the skin or the cell has changed (Verlet, Phys. Rev. 159, 98 (1967));
at each call the pairs beyond the cutoff are left out, so that the answer is that of a fresh search, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import GraphBatch, collate
from atomfield.data.neighbors import radius_edges

from .convert import STATED, graph_from_atoms
from .predict import probabilities

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

WHERE = Provenance(file="<atoms>")
ONE_THREAD_BELOW = 1000
"""Edges."""


class PairList:
    """The batch of one structure, whose pairs are searched anew only when they may be incomplete.

    cutoff, skin: angstrom. ``searches`` counts how often pairs were searched.
    """

    def __init__(self, cutoff: float, skin: float):
        self.cutoff, self.skin = cutoff, skin
        self.searches = 0
        self._batch: GraphBatch | None = None
        self._atoms: Atoms | None = None

    def batch(self, atoms: Atoms, level: str) -> GraphBatch:
        """Float64 batch on the CPU with exactly the pairs closer than ``cutoff``."""
        if self._batch is None or self._is_stale(atoms) or self._batch.levels != [level]:
            graph = graph_from_atoms(atoms, level=level, where=WHERE)
            edges = radius_edges(graph.positions, graph.cell, graph.pbc, self.cutoff + self.skin)
            self._batch = collate([replace(graph, edges={"radius": edges}, quantities={})])
            self._atoms = atoms.copy()
            self.searches += 1
        batch = self._batch
        positions = torch.from_numpy(np.array(atoms.positions, dtype=np.float64))
        sender, receiver = batch.edge_index
        vector = positions[sender] - positions[receiver] + batch.edge_shift @ batch.cell[0]
        near = (vector.square().sum(1) < self.cutoff**2).nonzero().squeeze(1)
        return replace(
            batch,
            positions=positions,
            edge_index=batch.edge_index[:, near],
            edge_shift=batch.edge_shift[near],
            edge_is_radius=batch.edge_is_radius[near],
        )

    def _is_stale(self, atoms: Atoms) -> bool:
        before = self._atoms
        assert before is not None
        if (
            len(before) != len(atoms)
            or (before.numbers != atoms.numbers).any()
            or (before.pbc != atoms.pbc).any()
        ):
            return True
        if (before.cell.array != atoms.cell.array).any() or _stated(before) != _stated(atoms):
            return True
        moved = ((atoms.positions - before.positions) ** 2).sum(axis=1).max()
        return not moved < (self.skin / 2) ** 2


def _stated(atoms: Atoms) -> tuple[Any, ...]:
    return tuple(atoms.info.get(name) for name in STATED)


class AtomFieldCalculator(Calculator):
    """``atoms.calc = AtomFieldCalculator(net)``.

    Results: ``energy`` and ``free_energy`` (eV, the same number), ``forces`` (eV/angstrom), ``stress`` (Voigt order xx yy zz yz
    xz xy, eV/angstrom^3, positive in tension; only where periodic in three directions), ``charges`` (e), ``dipole``
    (e*angstrom, only where not periodic; of ions about the centre of mass). The network's own properties, for which ASE has no
    names, are in ``user_properties`` (name -> number; of a classification the probability of class 1).

    net: copied, so that training the original later changes nothing here. level: level of theory; default: the
    network's. dtype: of the weights, ``"float32"`` or ``"float64"``; default: as they are. skin: angstrom, see the
    module's text. ``atoms.info["charge"]`` and ``atoms.info["spin"]`` (unpaired electrons; or ``"multiplicity"``) are
    read at each call.

    Raises ``InputError`` for an unknown level, for atoms closer than 0.1 angstrom when pairs are searched, and where the
    energy is not a finite number.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "charges", "dipole"]  # noqa: RUF012 (ASE's way)

    def __init__(
        self,
        net: AtomFieldNet,
        *,
        level: str = "",
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        skin: float = 0.5,
    ):
        super().__init__()
        if level and level not in net.config.levels:
            known = ", ".join(net.config.levels)
            raise InputError(f"level {level!r} is unknown to this model, expected one of {known}")
        if not skin >= 0:
            raise InputError(f"skin is {skin}, expected a number of at least 0 angstrom")
        from atomfield.models.checkpoint import cast

        self.net = cast(copy.deepcopy(net), as_dtype(dtype)).to(device).eval().requires_grad_(False)
        self.level = level
        self.pairs = PairList(net.config.cutoff, skin)
        self.results: dict[str, Any] = {}
        self.user_properties: dict[str, float] = {}
        self._stated: tuple[Any, ...] = ()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """As ASE's, and a changed charge or spin counts as a change."""
        changes = list(super().check_state(atoms, tol=tol))
        if self.atoms is not None and _stated(atoms) != self._stated:
            changes.append("info")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything for ``atoms`` and keep it in ``results``; one pass whatever is asked for."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        structure = self.atoms
        assert structure is not None
        self._stated = _stated(structure)
        batch = self.pairs.batch(structure, self.level).to(self.net.device)
        solid = bool(structure.pbc.all())
        with torch.no_grad(), _threads_for(batch.num_edges):
            out = self.net(batch, stress=solid, added=True)
        energy = float(out["energy"])
        if not np.isfinite(energy):
            raise InputError(
                "the energy is not a finite number; atoms have come too close or the time step is too long",
                WHERE,
            )
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": _numpy(out["forces"])}
        if solid:
            results["stress"] = full_3x3_to_voigt_6_stress(_numpy(out["stress"][0]))
        results["charges"] = _numpy(out["charges"])
        if "dipole" in out and not structure.pbc.any():
            results["dipole"] = _numpy(out["dipole"][0])
        self.results = results
        own = {p.name: _numpy(out[p.name][0]) for p in self.net.config.properties}
        self.user_properties = {k: float(v) for k, v in probabilities(self.net.config, [own])[0].items()}


@contextmanager
def _threads_for(num_edges: int) -> Iterator[None]:
    """One thread for a small structure: its operations are too short to share, and threads that wait for each other cost
    more than they give (ten times the time where other programs run too)."""
    before = torch.get_num_threads()
    if before == 1 or num_edges >= ONE_THREAD_BELOW:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """``"float32"`` or ``"float64"`` (or the torch dtype itself) as a torch dtype; None stays None."""
    if dtype is None or dtype in (torch.float32, torch.float64):
        return dtype
    if dtype in ("float32", "float64"):
        return torch.float32 if dtype == "float32" else torch.float64
    raise InputError(
        f"dtype is {dtype!r}, expected float32 or float64; lower precision breaks the symmetries"
    )
