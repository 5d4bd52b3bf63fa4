"""An ASE calculator around a network: energy, free energy, forces, stress, and charges and dipole where there are any.

Pairs are kept between calls (:mod:`.pair_list`). What the model cannot answer is refused by name: elements and
worlds that training
never showed (:mod:`.unseen`), colliding atoms, energies that are not numbers, structures that memory does not hold
(:mod:`.memory`).
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
from atomfield.models.denormals import flushed_denormals
from atomfield.models.force_pass import ForcePass, kept_pass

from .levels import level_for
from .memory import explained, is_out_of_memory
from .pair_list import PairList, stated
from .predict import probabilities
from .silent import SURFACE, refuse_silent, silent
from .total_charge import with_stated_total
from .unseen import refuse_unseen, seen_elements

if TYPE_CHECKING:
    from atomfield.data.graph import GraphBatch
    from atomfield.models.gpu import CapturedPass
    from atomfield.models.network import AtomFieldNet

ONE_THREAD_BELOW = 1000
"""Edges."""


class AtomFieldCalculator(Calculator):
    """``atoms.calc = AtomFieldCalculator(net)``.

    Results: ``energy`` and ``free_energy`` (eV, the same number), ``forces`` (eV/angstrom), ``stress`` (Voigt order xx yy zz yz
    xz xy, eV/angstrom^3, positive in tension; only where periodic in three directions), ``charges`` (e; they add up to
    the total charge where it is stated, :mod:`.total_charge`), ``dipole`` (e*angstrom, only where not periodic; of ions about the
    centre of mass), each where the level was trained on it
    (:mod:`.silent`). The network's own properties, for which ASE has no
    names, are in ``user_properties`` (name -> number or array; of a classification the probability of class 1). Where a
    finetuned network knows how sure it is of energies at this level, the standard deviation (eV) is in ``results`` as
    ``uncertainty`` and ``ood_score`` beside it.

    net: copied, so that training the original later changes nothing here. level: level of theory; default: the
    network's for molecules, and for periodic structures the one that knows them (:mod:`.levels`);
    ``answering_level`` says which it was. dtype: of the weights, ``"float32"`` or ``"float64"``; default: as they are. skin:
    angstrom, see :mod:`.pair_list`. allow_unseen: answer for elements that training never showed too. uncertainty: False leaves
    it out where it could be given, for steps that nobody watches. where: what errors call the structure, a file for instance;
    default: its formula. compile: on a GPU, let ``torch.compile`` fuse the pass:
    20 seconds or more at the first call, and steps of small systems take about two thirds of the time. ``atoms.info["charge"]``
    and ``atoms.info["spin"]`` (unpaired electrons; or ``"multiplicity"``) are read at each call.

    Raises ``InputError`` for an unknown level, where several levels could answer for a crystal, for elements that the level has
    not seen, for energies and forces of a level that learnt properties alone, for a missing device, for atoms closer than 0.1
    angstrom when pairs are searched, where the energy is not a finite number, and where memory does not suffice (with the size
    that fits).
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
        allow_unseen: bool = False,
        uncertainty: bool = True,
        where: Provenance | None = None,
        compile: bool = False,
    ):
        super().__init__()
        if level and level not in net.config.levels:
            known = ", ".join(net.config.levels)
            raise InputError(f"level {level!r} is unknown to this model, expected one of {known}")
        if not skin >= 0:
            raise InputError(f"skin is {skin}, expected a number of at least 0 angstrom")
        if not allow_unseen:
            seen_elements(net, level)  # refuses a network without a level of atoms
        self.net = own_copy(net, dtype, device).compile_passes(compile)
        quiet = (
            silent(net, level) - SURFACE
        )  # charges and dipoles; energies are refused where they are asked for
        self.implemented_properties = [n for n in type(self).implemented_properties if n not in quiet]
        self.level = level
        self.answering_level = level
        """The level of theory of the last answer; "" before the first where none was named."""
        self.pairs = PairList(net.config.cutoff, skin, self.net.device, where)
        self.results: dict[str, Any] = {}
        self.user_properties: dict[str, float | np.ndarray] = {}
        self.uncertainty = uncertainty
        self._allow_unseen = allow_unseen
        self._pass: ForcePass | CapturedPass | None = None
        self._own: Atoms | None = None
        self._weighed = 0
        """Pairs that memory has held."""
        self._checked: tuple[np.ndarray, bool] | None = None
        self._where = Provenance()
        """What errors call the structure of ``_checked``."""
        self._quiet: frozenset[str] = frozenset()
        """What was never learnt at ``answering_level``."""
        self._stated: tuple[Any, ...] = ()

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """As ASE's, but exact and an order of magnitude faster, and a changed charge or spin counts as a change."""
        mine = self.atoms
        if mine is None or len(mine) != len(atoms):
            return list(all_changes)
        changes = []
        if (mine.positions != atoms.positions).any():
            changes.append("positions")
        if (mine.numbers != atoms.numbers).any():
            changes.append("numbers")
        if (mine.cell.array != atoms.cell.array).any():
            changes.append("cell")
        if (mine.pbc != atoms.pbc).any():
            changes.append("pbc")
        if stated(atoms) != self._stated:
            changes.append("info")
        return changes

    @torch.inference_mode(False)  # where there are no kernels forces are derivatives by autograd
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything for ``atoms`` and keep it in ``results``; one pass whatever is asked for."""
        if atoms is not None:
            if self._own is not None and system_changes == ["positions"]:
                self._own.positions[:] = atoms.positions  # a step of dynamics: nothing else is copied
            else:
                self._own = atoms.copy()
            self.atoms = self._own  # ASE forgets it at each change
        structure = self.atoms
        assert structure is not None
        self.results = {}
        self._stated = stated(structure)
        self._choose_level(structure)
        quiet = self._quiet
        if "energy" in quiet and {*SURFACE, "free_energy"}.intersection(properties or ()):
            refuse_silent(self.net, self.answering_level, self._where)
        batch = self._batch(structure)
        solid = bool(structure.pbc.all())
        judge = self.net.uncertainty if self.uncertainty else None
        with (
            torch.no_grad(),
            threads_for(batch.num_edges),
            explained(self.net, batch, solid, self._where, held=self._weighed),
            flushed_denormals(),
        ):
            self._pass = kept_pass(self.net, batch, self._pass)
            out = self.net(batch, stress=solid, added=True, features=judge is not None, prepared=self._pass)
            out = with_stated_total(out, batch)
        self._weighed = max(self._weighed, batch.num_edges)
        energy = float(out["energy"])
        if not np.isfinite(energy):
            raise InputError(
                "the energy is not a finite number; atoms have come too close or the time step is too long",
                self._where,
            )
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": _numpy(out["forces"])}
        if solid:
            results["stress"] = full_3x3_to_voigt_6_stress(_numpy(out["stress"][0]))
        results["charges"] = _numpy(out["charges"])
        if "dipole" in out and not structure.pbc.any():
            results["dipole"] = _numpy(out["dipole"][0])
        if judge is not None:
            sure = judge(out, batch, self.net.level_index(batch))
            if "energy_std" in sure and np.isfinite(float(sure["energy_std"])):
                results["uncertainty"] = float(sure["energy_std"])
                results["ood_score"] = float(sure["ood_score"])
        self.results = {n: v for n, v in results.items() if n not in quiet}
        if "energy" in quiet:
            del self.results["free_energy"]
        if self.net.config.properties:
            known = self.net.config.properties
            own = {p.name: _numpy(out[p.name] if p.support == "node" else out[p.name][0]) for p in known}
            self.user_properties = {
                k: float(v) if v.ndim == 0 else v for k, v in probabilities(known, [own])[0].items()
            }

    @torch.inference_mode(False)
    def hessian(self, atoms: Atoms) -> np.ndarray:
        """``[3N, 3N]`` eV/angstrom^2, exact second derivatives with respect to x, y, z of atom 0, of atom 1, ...
        Costs 3N passes."""
        self._choose_level(atoms)
        refuse_silent(self.net, self.answering_level, self._where)
        batch = self._batch(atoms)
        positions = batch.positions.clone().requires_grad_(True)
        with torch.enable_grad(), threads_for(batch.num_edges), flushed_denormals():
            moved = replace(batch, positions=positions)
            energy = self.net(moved, forces=False, properties=False, added=True)["energy"].sum()
            (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
            rows = [
                torch.autograd.grad(g, positions, retain_graph=True)[0].flatten() for g in gradient.flatten()
            ]
        full = _numpy(torch.stack(rows).detach())
        return 0.5 * (full + full.T)

    def _batch(self, atoms: Atoms) -> GraphBatch:
        try:
            return self.pairs.batch(atoms, self.answering_level)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"out of memory: the pairs of {len(atoms)} atoms do not fit; take a smaller structure or more memory",
                self._where,
            ) from error

    def _choose_level(self, atoms: Atoms) -> None:
        """Set ``answering_level`` and refuse elements that it has not seen, anew only where elements or periodicity changed."""
        periodic = bool(atoms.pbc.any())
        if (
            self._checked is not None
            and self._checked[1] == periodic
            and np.array_equal(self._checked[0], atoms.numbers)
        ):
            return
        species = torch.from_numpy(atoms.numbers)
        self._where = self.pairs.place(atoms)
        self.answering_level = self.level or level_for(self.net, species, periodic, self._where)
        if not self._allow_unseen:
            refuse_unseen(self.net, species, self.answering_level, self._where)
        self._quiet = silent(self.net, self.answering_level)
        self._checked = (atoms.numbers.copy(), periodic)


@contextmanager
def threads_for(num_edges: int) -> Iterator[None]:
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


@torch.inference_mode(False)
def own_copy(
    net: AtomFieldNet, dtype: torch.dtype | str | None, device: torch.device | str | None
) -> AtomFieldNet:
    """``net`` for answers alone, with weights in ``dtype`` on ``device`` (None: as they are); training the original later changes
    nothing in it. Raises ``InputError`` for a precision that is not offered and for a missing device."""
    from atomfield.models.checkpoint import cast, placed

    own = placed(cast(copy.deepcopy(net), as_dtype(dtype)), device)
    return own.eval().requires_grad_(False)


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """``"float32"`` or ``"float64"`` (or the torch dtype itself) as a torch dtype; None stays None."""
    if dtype is None or dtype in (torch.float32, torch.float64):
        return dtype
    if dtype in ("float32", "float64"):
        return torch.float32 if dtype == "float32" else torch.float64
    raise InputError(
        f"dtype is {dtype!r}, expected float32 or float64; lower precision breaks the symmetries"
    )
