"""The one record for atoms and fields: ``Graph``, validated at construction. ``collate`` packs many (:mod:`.graph_batch`).

Shapes: ``N`` nodes, ``E`` edges, ``G`` graphs, ``T`` times. Lattice vectors are the ROWS of ``cell`` (ASE's convention);
an edge with integer shift ``s`` from sender ``j`` to receiver ``i`` has the vector
``positions[j] + s @ cell - positions[i]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .bonds import Bonds, joined
from .errors import InputError, Provenance
from .graph_batch import GraphBatch, World
from .quantities import CONDITIONS, EARLIER_STATES, VOCABULARY, Quantity

EdgeKind = Literal["radius", "grid", "mesh", "knn"]

MIN_DISTANCE = 0.1
"""Two atoms closer than this (angstrom) are an error in the input: gradients of directions explode there."""
MIN_VOLUME = 1e-3
"""Smallest acceptable cell volume, angstrom^3."""


class NodeType(IntEnum):
    """What a node is."""

    ATOM = 0
    INTERIOR = 1
    WALL = 2
    INLET = 3
    OUTLET = 4
    COARSE = 5


@dataclass(frozen=True)
class Edges:
    """Directed edges. ``index [2, E]`` int64: row 0 senders, row 1 receivers; ``shift [E, 3]`` int64 lattice shifts."""

    index: Tensor
    shift: Tensor

    @property
    def num_edges(self) -> int:
        return int(self.index.shape[1])


@dataclass(frozen=True)
class Graph:
    """One structure (atoms) or one trajectory on fixed points (a field). See the module's text for conventions.

    positions: ``[N, 3]`` float64; angstrom for atoms, the record's own length unit for fields (2D lies in z=0).
    species: ``[N]`` int64 atomic numbers; 0 is a continuum point.
    node_type: ``[N]`` int64, :class:`NodeType`; default: atom or interior.
    cell, pbc: ``[3, 3]`` float64 and ``[3]`` bool; zeros and False where not periodic. A 2D periodic field has
        a cell with a third row (0, 0, 1) and ``pbc = (True, True, False)``.
    volume: ``[N]`` quadrature weights of a field, or None.
    edges: typed edge sets. Atoms have none at rest: radius graphs are built on the fly (``neighbors.with_edges``).
    quantities: name -> Cartesian values. Node quantities ``[N, ...]``, graph quantities ``[...]``; in a trajectory
        (``times`` is set) what evolves has T in front: ``[T, N, ...]`` or ``[T, ...]``.
    next_quantities: the state one step later, in the snapshot pairs that :meth:`pair` makes and where points move.
    conditions: name -> float; absent means unknown, which is a state of its own.
    level: level of theory or solver, e.g. ``"gfn2-xtb"``; each level has its own head row in the model.
    id: the record's own name in its file (a key that the user names), empty where nobody asked; not unique by itself.
    world, dataset, group: ``group`` is the split key (molecule, composition+prototype, trajectory).
    times: ``[T]`` float64 or None. spacing: mean distance of neighbouring field points (1.0 for atoms).
    properties: definitions of user-defined quantities that are not in the vocabulary.
    grid_shape: ``(nx,)``, ``(nx, ny)`` or ``(nx, ny, nz)`` of a regular grid in C order, whose ``grid`` edges are then
        ``neighbors.grid_edges(grid_shape, pbc)``; None for everything else.
    bonds: as the file says them (:mod:`.bonds`); None where it says nothing, which is not "no bonds".
    """

    positions: Tensor
    species: Tensor
    world: World
    node_type: Tensor = None  # type: ignore[assignment]  # filled in when made
    cell: Tensor = None  # type: ignore[assignment]  # filled in when made
    pbc: Tensor = None  # type: ignore[assignment]  # filled in when made
    volume: Tensor | None = None
    edges: dict[EdgeKind, Edges] = field(default_factory=dict)
    quantities: dict[str, Tensor] = field(default_factory=dict)
    next_quantities: dict[str, Tensor] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)
    level: str = ""
    dataset: str = ""
    group: str = ""
    times: Tensor | None = None
    spacing: float = 1.0
    properties: dict[str, Quantity] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    grid_shape: tuple[int, ...] | None = None
    bonds: Bonds | None = None
    id: str = ""

    @classmethod
    def trusted(cls, values: dict[str, object]) -> Graph:
        """A graph from all of its fields, as another ``Graph`` held them: nothing is checked or defaulted.

        For the store, whose shards hold only records that were validated when they were written.
        """
        graph = object.__new__(cls)
        graph.__dict__.update(values)
        return graph

    def changed(self, **fields: object) -> Graph:
        """A copy with other ``fields`` that need no checks, since they were made from checked ones (edges, a snapshot)."""
        return Graph.trusted({**vars(self), **fields})

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (frozen dataclass)
        positions = torch.as_tensor(self.positions, dtype=torch.float64)
        put("positions", positions)
        if positions.ndim != 2 or positions.shape[1] != 3 or positions.shape[0] == 0:
            self._refuse(f"positions have shape {list(positions.shape)}, expected [N, 3] with N > 0")
        num_nodes = positions.shape[0]
        put("species", torch.as_tensor(self.species, dtype=torch.int64))
        if self.species.shape != (num_nodes,):
            self._refuse(
                f"species have shape {list(self.species.shape)}, expected [{num_nodes}] as positions say"
            )
        if self.world not in ("molecule", "crystal", "field"):
            self._refuse(f"world is {self.world!r}, expected molecule, crystal or field")
        if self.node_type is None:
            kind = NodeType.INTERIOR if self.world == "field" else NodeType.ATOM
            put("node_type", torch.full((num_nodes,), int(kind), dtype=torch.int64))
        put(
            "cell",
            torch.zeros(3, 3, dtype=torch.float64)
            if self.cell is None
            else torch.as_tensor(self.cell, dtype=torch.float64),
        )
        put(
            "pbc",
            torch.zeros(3, dtype=torch.bool)
            if self.pbc is None
            else torch.as_tensor(self.pbc, dtype=torch.bool),
        )
        if self.volume is not None:
            put("volume", torch.as_tensor(self.volume, dtype=torch.float64))
        if self.times is not None:
            put("times", torch.as_tensor(self.times, dtype=torch.float64))
        self._check_geometry()
        if self.bonds is not None and (fault := self.bonds.fault(num_nodes)):
            self._refuse(fault)
        self._check_quantities(self.quantities)
        self._check_quantities(self.next_quantities)
        for name, value in self.conditions.items():
            if name not in CONDITIONS:
                self._refuse(f"condition {name!r} is not known; expected one of {', '.join(CONDITIONS)}")
            if not isinstance(value, (int, float)) or value != value or abs(value) == float("inf"):
                self._refuse(
                    f"condition {name!r} is {value!r}, expected a finite number; leave it out if unknown"
                )

    # ------------------------------------------------------------------ checks
    def _refuse(self, message: str) -> None:
        raise InputError(message, self.provenance)

    def _check_geometry(self) -> None:
        # as numpy arrays, whose operations on few numbers cost a fraction of torch's: millions of records pass here
        positions, species = self.positions.detach().cpu().numpy(), self.species.cpu().numpy()
        if not np.isfinite(positions).all():
            i = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
            self._refuse(f"position of node {i} is {positions[i].tolist()}, expected finite numbers")
        is_atom = self.node_type.cpu().numpy() == int(NodeType.ATOM)
        wrong = np.where(is_atom, (species < 1) | (species > 118), species != 0)
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            self._refuse(
                f"species of node {i} is {int(species[i])}, expected 1 to 118 for atoms and 0 for field points"
            )
        cell, pbc = self.cell.detach().cpu().numpy(), self.pbc.cpu().numpy()
        if not np.isfinite(cell).all():
            self._refuse("the cell has entries that are not finite numbers")
        if pbc.any():
            rows = cell[pbc]
            volume = math.sqrt(max(float(np.linalg.det(rows @ rows.T)), 0.0))
            if volume < (MIN_VOLUME if self.world != "field" else 1e-12):
                self._refuse(
                    f"cell volume is {volume:.3g}, expected > {MIN_VOLUME} angstrom^3; lattice rows {self.cell.tolist()}"
                )
        if self.world != "field" and self.num_nodes > 1 and self.num_nodes <= 2000:
            distances = torch.pdist(self.positions.detach())
            if float(distances.min()) < MIN_DISTANCE:
                flat = int(distances.argmin())
                i, j = torch.triu_indices(self.num_nodes, self.num_nodes, 1)[:, flat].tolist()
                self._refuse(
                    f"atoms {i} and {j} are {float(distances.min()):.3g} angstrom apart, expected at least {MIN_DISTANCE}"
                )

    def _check_quantities(self, quantities: dict[str, Tensor]) -> None:
        for name, value in list(quantities.items()):
            q = self.definition(name)
            value = torch.as_tensor(value)
            if not value.is_floating_point():
                value = value.to(torch.float64)
            quantities[name] = value
            plain = (self.num_nodes, *q.shape) if q.support == "node" else q.shape
            timed = (len(self.times), *plain) if self.times is not None else None
            if tuple(value.shape) not in (plain, timed):
                expected = f"{list(plain)}" + (f" or {list(timed)}" if timed else "")
                self._refuse(f"quantity {name!r} has shape {list(value.shape)}, expected {expected}")
            array = value.detach().cpu().numpy()
            if (
                q.support == "node" and name in self.properties
            ):  # a user's value per atom may be known of some alone
                array = np.where(np.isnan(array), 0.0, array) if not np.isnan(array).all() else array
            if not np.isfinite(array).all():
                self._refuse(f"quantity {name!r} has values that are not finite; leave out what is unknown")

    @property
    def is_periodic_grid(self) -> bool:
        """Whether the points are a regular grid that repeats along each of its axes."""
        shape = self.grid_shape
        return shape is not None and bool(self.pbc[: len(shape)].all())

    def definition(self, name: str) -> Quantity:
        """The vocabulary's entry, or this record's own definition of a user's property."""
        q = self.properties.get(name) or VOCABULARY.get(name)
        if q is None:
            self._refuse(f"quantity {name!r} is neither in the vocabulary nor defined by the record")
        return q  # type: ignore[return-value]

    # ------------------------------------------------------------------ views
    @property
    def num_nodes(self) -> int:
        return int(self.positions.shape[0])

    @property
    def num_edges(self) -> int:
        return sum(e.num_edges for e in self.edges.values())

    @property
    def num_times(self) -> int:
        return 1 if self.times is None else len(self.times)

    def snapshot(self, time_index: int) -> Graph:
        """The state at one time of a trajectory, as a graph without ``times``."""
        return self.changed(times=None, quantities=self._at(time_index), next_quantities={})

    def pair(self, time_index: int, stride: int = 1) -> Graph:
        """The state at ``time_index`` with the one ``stride`` steps later as ``next_quantities``; sets ``dt`` and
        the dimensionless step conditions. ``solution_before`` is the solution as long before, where the record has it."""
        if self.times is None or time_index + stride >= len(self.times):
            self._refuse(f"no pair ({time_index}, +{stride}) in a record of {self.num_times} times")
        dt = self._length(time_index, time_index + stride)
        later = {k: v for k, v in self._at(time_index + stride).items() if k in self._evolving()}
        now = self._at(time_index)
        if time_index >= stride and abs(self._length(time_index - stride, time_index) / dt - 1) < 1e-3:
            known = {k: name for k, name in EARLIER_STATES.items() if k in later}
            now |= {name: self.quantities[k][time_index - stride] for k, name in known.items()}
        return self.changed(
            times=None,
            quantities=now,
            next_quantities=later,
            conditions=step_conditions(self.conditions, dt, self.spacing),
        )

    def _length(self, start: int, stop: int) -> float:
        """Time from one index to another."""
        return float(self.times[stop] - self.times[start])  # type: ignore[index]

    def window(self, start: int, stop: int) -> Graph:
        """Times ``start`` to ``stop`` (exclusive) of a trajectory, as a trajectory."""
        if self.times is None or not 0 <= start < stop <= len(self.times):
            self._refuse(f"no window {start}:{stop} in a record of {self.num_times} times")
        evolving = self._evolving()
        part = {k: v[start:stop] if k in evolving else v for k, v in self.quantities.items()}
        return self.changed(times=self.times[start:stop], quantities=part)  # type: ignore[index]

    def _evolving(self) -> set[str]:
        if self.times is None:
            return set()
        return {
            k
            for k, v in self.quantities.items()
            if v.ndim == 1 + (self.definition(k).support == "node") + len(self.definition(k).shape)
        }

    def _at(self, time_index: int) -> dict[str, Tensor]:
        evolving = self._evolving()
        return {k: v[time_index] if k in evolving else v for k, v in self.quantities.items()}


def step_conditions(conditions: dict[str, float], dt: float, spacing: float) -> dict[str, float]:
    """``conditions`` with ``dt`` and the dimensionless groups of one step: ``diffusion_number``, ``dt_over_spacing``."""
    coefficient = conditions.get("viscosity", conditions.get("diffusivity"))
    out = {**conditions, "dt": dt, "dt_over_spacing": dt / spacing}
    if coefficient is not None:
        out["diffusion_number"] = coefficient * dt / spacing**2
    return out


def packed(graphs: list[Graph], attribute: str, support_sizes: list[int]) -> dict[str, Tensor]:
    """Concatenate one dictionary of quantities; absent ones become NaN."""
    names: dict[str, Quantity] = {}
    for g in graphs:
        for name in getattr(g, attribute):
            names.setdefault(name, g.definition(name))
    packed = {}
    for name, q in names.items():
        parts = []
        for g, n in zip(graphs, support_sizes, strict=True):
            shape = (n, *q.shape) if q.support == "node" else (1, *q.shape)
            value = getattr(g, attribute).get(name)
            if value is None:
                parts.append(torch.full(shape, float("nan"), dtype=torch.float64))
            else:
                parts.append(value.to(torch.float64).reshape(shape))
        packed[name] = torch.cat(parts)
    return packed


def collate(graphs: list[Graph]) -> GraphBatch:
    """Pack graphs of one world, each with its edges already built (``neighbors.with_edges``) and no time axis."""
    assert graphs, "collate needs at least one graph"
    worlds = {"field" if g.world == "field" else "atoms" for g in graphs}
    assert len(worlds) == 1, "a batch holds atoms or fields, not both"
    assert all(g.times is None for g in graphs), "take snapshots or pairs of trajectories before collating"
    sizes = [g.num_nodes for g in graphs]
    offsets = [0]
    for n in sizes[:-1]:
        offsets.append(offsets[-1] + n)
    index, shift, is_radius = [], [], []
    for g, offset in zip(graphs, offsets, strict=True):
        for kind, e in g.edges.items():
            index.append(e.index + offset)
            shift.append(e.shift)
            is_radius.append(torch.full((e.num_edges,), kind == "radius"))
    condition_names = sorted({name for g in graphs for name in g.conditions})
    nan = float("nan")
    return GraphBatch(
        positions=torch.cat([g.positions for g in graphs]),
        species=torch.cat([g.species for g in graphs]),
        node_type=torch.cat([g.node_type for g in graphs]),
        graph_index=torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(sizes)),
        volume=torch.cat(
            [
                torch.ones(n, dtype=torch.float64) if g.volume is None else g.volume.double()
                for g, n in zip(graphs, sizes, strict=True)
            ]
        ),
        cell=torch.stack([g.cell for g in graphs]),
        pbc=torch.stack([g.pbc for g in graphs]),
        edge_index=torch.cat(index, dim=1) if index else torch.zeros(2, 0, dtype=torch.int64),
        edge_shift=(torch.cat(shift) if shift else torch.zeros(0, 3)).to(torch.float64),
        edge_is_radius=torch.cat(is_radius) if is_radius else torch.zeros(0, dtype=torch.bool),
        quantities=packed(graphs, "quantities", sizes),
        next_quantities=packed(graphs, "next_quantities", sizes),
        conditions={
            name: torch.tensor([g.conditions.get(name, nan) for g in graphs], dtype=torch.float64)
            for name in condition_names
        },
        levels=[g.level for g in graphs],
        spacing=torch.tensor([g.spacing for g in graphs], dtype=torch.float64),
        world="field" if graphs[0].world == "field" else graphs[0].world,
        provenance=[g.provenance for g in graphs],
        grid_shapes=[g.grid_shape for g in graphs] if worlds == {"field"} else (),
        bonds=joined(
            [g.bonds for g in graphs if g.bonds is not None],
            [offset for g, offset in zip(graphs, offsets, strict=True) if g.bonds is not None],
        ),
        bonds_known=torch.tensor([g.bonds is not None for g in graphs]),
    )
