"""What people hold in their hands becomes a ``Graph``: SMILES, ASE Atoms, pymatgen objects, or a Graph already.

Charge and spin are read where the object states them (``atoms.info["charge"]``, ``atoms.info["spin"]``: unpaired electrons,
or ``"multiplicity"``; for separate ions and molecules also ``atoms.arrays["fragment_charge"]`` and ``["fragment_spin"]``); where
it does not they stay unknown, which the model treats as a state of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import PER_FRAGMENT

if TYPE_CHECKING:
    from ase import Atoms

    from atomfield.models.config import NetworkConfig

EXPECTED = "a SMILES string, ASE Atoms, a pymatgen Structure or Molecule, or a Graph"


def without_labels(graph: Graph) -> Graph:
    """What the network reads of ``graph``, without edges: of its quantities the charges and spins of fragments."""
    kept = {n: v for n, v in graph.quantities.items() if n in PER_FRAGMENT.values()}
    return replace(graph, edges={}, quantities=kept, next_quantities={})


def to_graphs(items: Iterable[Any], config: NetworkConfig, seed: int = 0) -> list[Graph]:
    """One graph per item, in order. ``seed`` fixes the conformer that a SMILES string is embedded in.

    Raises ``InputError`` naming the index of an item that cannot be read or whose level ``config`` does not know.
    """
    if _kind(items) != "unknown" or not isinstance(items, Iterable):
        raise InputError(f"got one {type(items).__name__}, expected a list; put it in brackets")
    graphs = [_one(item, Provenance("<input>", number), seed) for number, item in enumerate(items)]
    for number, graph in enumerate(graphs):
        if graph.level and graph.level not in config.levels:
            known = ", ".join(config.levels)
            where = graph.provenance if graph.provenance.file else Provenance("<input>", number)
            raise InputError(
                f"level {graph.level!r} is unknown to this model, expected one of {known}", where
            )
    return graphs


def _kind(item: Any) -> Literal["graph", "smiles", "ase", "pymatgen", "unknown"]:
    """By the names of its classes, so that neither ASE nor pymatgen is imported to find out."""
    if isinstance(item, Graph):
        return "graph"
    if isinstance(item, str):
        return "smiles"
    names = {f"{c.__module__.split('.')[0]}.{c.__name__}" for c in type(item).__mro__}
    if "ase.Atoms" in names:
        return "ase"
    return "pymatgen" if names & {"pymatgen.IStructure", "pymatgen.IMolecule"} else "unknown"


def _one(item: Any, where: Provenance, seed: int) -> Graph:
    match _kind(item):
        case "graph":
            return item
        case "smiles":
            return _from_smiles(item, where, seed)
        case "ase":
            return graph_from_atoms(item, where=where)
        case "pymatgen":
            return graph_from_pymatgen(item, where=where)
    raise InputError(f"got {type(item).__name__}, expected {EXPECTED}", where)


def _from_smiles(smiles: str, where: Provenance, seed: int) -> Graph:
    from atomfield.data.readers.smiles import embed_smiles

    return embed_smiles(smiles, seed=seed, where=where)[0]


STATED = ("charge", "spin", "multiplicity")
"""Keys of ``atoms.info`` that the model reads."""
_LABELS = ("energy", "forces", "stress", "charges", "dipole")


def graph_from_atoms(atoms: Atoms, *, level: str = "", where: Provenance = Provenance()) -> Graph:  # noqa: B008 (frozen)
    """Geometry, charge and spin of ASE Atoms; results of an attached calculator become labels where they are current.

    Raises ``InputError`` for no atoms, coordinates that are not finite, atoms on top of each other, a cell without volume, and a
    charge or spin that is none.
    """
    from atomfield.data.readers.atoms import atoms_graph
    from atomfield.data.readers.options import ReadOptions

    if len(atoms) == 0:
        raise InputError("Atoms hold no atoms, expected at least one", where)
    values = {
        name: _stated(atoms.info[name], name, where) for name in STATED if name in atoms.info
    } | _labels(atoms)
    values |= {name: atoms.arrays[name] for name in PER_FRAGMENT.values() if name in atoms.arrays}
    options = ReadOptions(level=level)
    return atoms_graph(
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc.tolist(), values, options, where
    )


def _stated(value: Any, name: str, where: Provenance) -> Any:
    """What ``atoms.info`` says under ``name``; text and None as they are, for the reader to judge."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return value
    if array.size != 1:
        raise InputError(f"atoms.info[{name!r}] has shape {list(array.shape)}, expected one number", where)
    return array.reshape(()).item()


def _labels(atoms: Atoms) -> dict[str, Any]:
    """What an attached calculator already holds for exactly these positions; nothing is computed."""
    calculator = atoms.calc
    if (
        calculator is None
        or getattr(calculator, "check_state", None) is None
        or calculator.check_state(atoms)
    ):
        return {}
    wanted = [name for name in _LABELS if name != "stress" or atoms.pbc.all()]
    return {name: calculator.results[name] for name in wanted if calculator.results.get(name) is not None}


def graph_from_pymatgen(item: Any, *, level: str = "", where: Provenance = Provenance()) -> Graph:  # noqa: B008 (frozen)
    """Geometry and charge of a pymatgen Structure, or geometry, charge and spin of a Molecule.

    Disordered sites and dummy species are refused: a graph needs one element per site.
    """
    from atomfield.data.readers.atoms import atoms_graph
    from atomfield.data.readers.options import ReadOptions

    if len(item) == 0:
        raise InputError(f"the {type(item).__name__} has no sites, expected at least one", where)
    species = []
    for index, site in enumerate(item):
        number = getattr(site.specie, "Z", 0) if site.is_ordered else 0
        if not 1 <= int(number) <= 118:
            raise InputError(
                f"site {index} holds {site.species_string!r}, expected one element with occupancy 1", where
            )
        species.append(int(number))
    is_crystal = hasattr(item, "lattice")
    values: dict[str, Any] = {}
    if not is_crystal:
        values = {"charge": item.charge, "multiplicity": item.spin_multiplicity}
    elif item._charge is not None:  # unset means unknown; ``.charge`` would answer 0
        values = {"charge": item._charge}
    cell, pbc = (item.lattice.matrix, item.lattice.pbc) if is_crystal else (None, (False,) * 3)
    return atoms_graph(
        np.array(species), item.cart_coords, cell, pbc, values, ReadOptions(level=level), where
    )
