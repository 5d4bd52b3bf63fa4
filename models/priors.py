"""Analytic terms inside the energy of the network: which, at which level of theory, and how.

A term is named ``zbl`` (repulsion of screened nuclei, ``physics_priors/zbl.py``), ``d3:<functional>`` (D3(BJ) with the
parameters of a functional, ``physics_priors/dispersion.py``), ``d4:<functional>`` (``physics_priors/dispersion_d4.py``; charges
are the records', 0 where unknown) or is a pair potential with its constants (``pair_terms.py``). What happens with it depends on
what the labels of a level contain:

- the labels contain it: the energy is the network plus the term, and the network learns the remainder. Every label
  of atoms contains the repulsion of nuclei, so ``zbl`` is always this, and so is a pair potential, whose constants are somebody's
  estimate of these labels;
- the labels are declared and contain no dispersion: the network learns the labels, and the term is added where a forecast is
  wanted and not a comparison with labels (``forward(..., added=True)``);
- the labels contain another dispersion (GFN2 has D4), or nobody has declared what they contain: nothing is added.

Terms enter before forces and stress are taken, so both follow. Legend: ``N`` nodes, ``G`` graphs, ``S`` species.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch
from atomfield.data.radius import radius_pairs
from atomfield.physics_priors.dispersion import RationalDamping, damping_of, dispersion
from atomfield.physics_priors.dispersion_d4 import damping_d4, dispersion_d4
from atomfield.physics_priors.pairs import PairEdges, derivatives
from atomfield.physics_priors.zbl import zbl

from .config import NetworkConfig
from .pair_terms import is_pair_term, pair_energy

Role = Literal["remainder", "added", "none"]
DECLARED: dict[str, tuple[str, ...]] = {
    "gfn1-xtb": ("d3",),
    "gfn2-xtb": ("d4",),
    "spgfn2-xtb": ("d4",),
    "emt": (),
}
"""Levels of the data that AtomField makes itself, and the dispersion in their labels: GFN1-xTB has a D3 of its own parameters
(Grimme, Bannwarth and Shushkov, J. Chem. Theory Comput. 13, 1989 (2017)), GFN2-xTB a self-consistent D4 (Bannwarth, Ehlert and
Grimme, J. Chem. Theory Comput. 15, 1652 (2019)), effective medium theory none."""


def contained(config: NetworkConfig, level: str) -> tuple[str, ...] | None:
    """The dispersion that the labels of ``level`` contain; None where nobody has said."""
    return dict(config.contains).get(level, DECLARED.get(level))


def role(config: NetworkConfig, term: str, level: str) -> Role:
    """What becomes of ``term`` at ``level``."""
    if _always(term):
        return "remainder"
    found = contained(config, level)
    if found is None:
        return "none"
    if term in found:
        return "remainder"
    return "none" if found else "added"


def _always(term: str) -> bool:
    """Whether a term is part of the labels of every level."""
    return term == "zbl" or is_pair_term(term)


def explain(config: NetworkConfig, levels: Sequence[str]) -> list[str]:
    """One sentence for each term and each of these levels of atoms, for the person who starts a run."""
    lines = []
    for term in config.priors:
        if _always(term):
            lines.append(f"{term} is part of the energy at every level; the network learns the remainder")
            continue
        for level in levels:
            found = contained(config, level)
            match role(config, term, level):
                case "remainder":
                    text = "in its labels, so part of the energy; the network learns the remainder"
                case "added":
                    text = "missing in its labels, so added in predictions, not in comparisons with labels"
                case "none" if found:
                    text = f"not added: its labels contain {', '.join(found)}"
                case _:
                    text = (
                        "not added: what its labels contain is not declared; say so in network.contains, e.g. "
                        f"{{{level!r}: []}} for none or {{{level!r}: [{term!r}]}}"
                    )
            lines.append(f"{term} at level {level!r}: {text}")
    return lines


class Priors(nn.Module):
    """The analytic terms of one network. No weights; the tables of D3 come from the extra ``atomfield[dispersion]``."""

    radii: Tensor
    """``[119]`` covalent radii in angstrom, which say where ZBL ends."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.register_buffer("radii", covalent_radii())
        self.damping = {term: found for term in config.priors if (found := _damping(term)) is not None}

    def forward(self, batch: GraphBatch, positions: Tensor, cell: Tensor, *, added: bool) -> Tensor:
        """``[G]`` eV, float64: terms that are part of the labels and, if asked, those that they lack."""
        total = torch.zeros(batch.num_graphs, dtype=torch.float64, device=positions.device)
        levels = [level or self.config.default_level_atoms for level in batch.levels]
        for term in self.config.priors:
            roles = [role(self.config, term, level) for level in levels]
            wanted = [r == "remainder" or (added and r == "added") for r in roles]
            if any(wanted):
                here = torch.tensor(wanted, device=positions.device)
                total = total + torch.where(here, self._energy(term, batch, positions, cell).double(), 0.0)
        return total

    def _energy(self, term: str, batch: GraphBatch, positions: Tensor, cell: Tensor) -> Tensor:
        if term == "zbl":
            near = batch.edge_is_radius
            index, shift = batch.edge_index[:, near], batch.edge_shift[near]
            pairs = PairEdges(positions, cell, batch.species, batch.graph_index, index[0], index[1], shift)
            return zbl(pairs, self.radii, self.config.cutoff)
        if term.startswith("d4:"):
            index, lattice = batch.edge_index, cell * batch.pbc[:, :, None]
            pairs = PairEdges(
                positions, lattice, batch.species, batch.graph_index, index[0], index[1], batch.edge_shift
            )
            known = batch.conditions.get("charge")
            try:
                return dispersion_d4(pairs, term[3:], None if known is None else torch.nan_to_num(known))
            except ValueError as error:
                raise InputError(f"{error} (the network has the term {term!r})") from error
        reach = self.config.dispersion_cutoff
        index, shift = radius_pairs(positions, batch.nodes_per_graph(), cell, batch.pbc, reach)
        pairs = PairEdges(positions, cell, batch.species, batch.graph_index, index[0], index[1], shift)
        if is_pair_term(term):
            return pair_energy(term, pairs, reach)
        return dispersion(pairs, self.damping[term], reach)


def remainder_of(config: NetworkConfig, graph: Graph) -> tuple[float, Tensor]:
    """What the terms within the labels take off a record: energy in eV and forces ``[N, 3]`` in eV/angstrom, float64."""
    from atomfield.data.neighbors import batch_of

    batch = batch_of([graph], config.cutoff)
    priors = Priors(config)
    index = batch.edge_index
    pairs = PairEdges(
        batch.positions, batch.cell, batch.species, batch.graph_index, index[0], index[1], batch.edge_shift
    )
    with torch.no_grad():
        found = derivatives(lambda p: priors(batch, p.positions, p.cell, added=False), pairs, stress=False)
    return float(found["energy"]), found["forces"]


def _damping(term: str) -> RationalDamping | None:
    """What D3 needs; of other terms None, once it is known that they can be had."""
    try:
        if term.startswith("d4:"):
            damping_d4(term[3:])
        return damping_of(term[3:]) if term.startswith("d3:") else None
    except (ImportError, ValueError) as error:
        raise InputError(f"{error} (the network has the term {term!r})") from error


def covalent_radii() -> Tensor:
    """``[119]`` angstrom by atomic number: ASE's (Cordero et al., Dalton Trans. 2832 (2008)), 2 angstrom beyond curium."""
    from ase import data

    return torch.from_numpy(data.covalent_radii[:119].astype("float64"))
