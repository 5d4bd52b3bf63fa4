"""Many small systems relaxed or moved at once: one pass of the network for all of them, each with its own step and its own end.

Systems are packed by pairs of atoms. Relaxation is FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)) with the constants of
ASE's, one time step and mixing per system, so that each follows the path that it would follow alone. Systems that have
converged leave the batch. Dynamics is velocity Verlet. Pairs are kept within a skin, as in :mod:`.pair_list`. Cells are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import MIN_DISTANCE, Graph, GraphBatch, collate
from atomfield.data.radius import radius_pairs
from atomfield.models.denormals import flushed_denormals
from atomfield.models.force_pass import ForcePass, kept_pass
from atomfield.models.gpu import CapturedPass

from .convert import without_labels
from .kept_pairs import KeptPairs, TooClose
from .levels import with_level
from .memory import explained
from .predict import evaluating
from .run import positive
from .silent import refuse_silent
from .unseen import refuse_unseen

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


@dataclass(frozen=True)
class Relaxed:
    """One system: positions ``[N, 3]`` angstrom, energy eV, largest force eV/angstrom, steps that it took, whether
    it converged; failure: why it went no further, where atoms came too close or energies were no numbers, else empty."""

    positions: np.ndarray
    energy: float
    fmax: float
    steps: int
    converged: bool
    failure: str = ""


class Collision(InputError):
    """Atoms have come too close in these systems of a batch."""

    def __init__(self, systems: list[int]):
        self.systems = systems
        listed = ", ".join(map(str, systems[:10])) + (", ..." if len(systems) > 10 else "")
        super().__init__(
            f"atoms of system{'s' * (len(systems) > 1)} {listed} have come closer than {MIN_DISTANCE} angstrom"
        )


class Bunch:
    """Systems in one batch, and their energies and forces at any positions."""

    def __init__(self, net: AtomFieldNet, graphs: Sequence[Graph], skin: float = 0.5):
        self.net, self.skin = net, skin
        bare = [without_labels(with_level(net, g, n)) for n, g in enumerate(graphs)]
        self._bare: GraphBatch = collate(bare).to(net.device)
        self.owner = self._bare.graph_index
        """``[N]`` the system of each atom."""
        self.num = len(graphs)
        self.kept = KeptPairs(net.config.cutoff)
        self._seen: Tensor | None = None
        """Positions when pairs were last looked at from anew."""
        self._pass: ForcePass | CapturedPass | None = None

    @property
    def positions(self) -> Tensor:
        """``[N, 3]`` float64 at the start."""
        return self._bare.positions.clone()

    @property
    def species(self) -> Tensor:
        """``[N]`` atomic numbers."""
        return self._bare.species

    def energies_and_forces(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """``[G]`` eV and ``[N, 3]`` eV/angstrom, float64. Raises :class:`Collision`."""
        out = self.answers(positions, stress=False)
        return out["energy"].double(), out["forces"].double()

    def answers(self, positions: Tensor, *, stress: bool) -> dict[str, Tensor]:
        """What the network says of all systems, their properties left out. Raises :class:`Collision`."""
        batch = self._at(positions)
        with explained(self.net, batch, stress), flushed_denormals():
            self._pass = kept_pass(self.net, batch, self._pass)
            return self.net(batch, stress=stress, properties=False, added=True, prepared=self._pass)

    def total(self, values_N: Tensor) -> Tensor:
        """``[G]`` sums over the atoms of each system."""
        return torch.zeros(self.num, dtype=values_N.dtype, device=values_N.device).index_add(
            0, self.owner, values_N
        )

    def largest(self, forces: Tensor) -> Tensor:
        """``[G]`` largest norm of a force."""
        norms = forces.norm(dim=1)
        return torch.zeros(self.num, dtype=norms.dtype, device=norms.device).scatter_reduce(
            0, self.owner, norms, "amax"
        )

    def _at(self, positions: Tensor) -> GraphBatch:
        """With the pairs closer than the cutoff, see :class:`.kept_pairs.KeptPairs`."""
        before, closer = self._seen, float("inf")
        if before is not None:
            closer = 2 * float((positions - before).square().sum(1).max()) ** 0.5
        moved = not closer < self.skin
        if moved and not self.kept.complete:
            self._search(positions)
        if moved:
            self._seen = positions.clone()
        try:
            return self.kept.at(positions, self._bare.cell, closer)
        except TooClose as error:
            receiver = self.kept.batch.edge_index[1]
            raise Collision(torch.unique(self.owner[receiver[error.edges]]).tolist()) from None

    def _search(self, positions: Tensor) -> None:
        bare, reach = self._bare, self.net.config.cutoff + self.skin
        index, shift = radius_pairs(positions, bare.nodes_per_graph(), bare.cell, bare.pbc, reach)
        found = replace(
            bare, edge_index=index, edge_shift=shift.to(torch.float64),
            edge_is_radius=torch.ones(index.shape[1], dtype=torch.bool, device=index.device),
        )  # fmt: skip
        self.kept.keep(found, self.skin, same=self._seen is not None)


def relax_many(
    net: AtomFieldNet,
    graphs: Sequence[Graph],
    *,
    fmax: float = 0.05,
    steps: int = 500,
    max_edges: int = 60_000,
    done: Callable[[int], None] = lambda count: None,
) -> list[Relaxed]:
    """Relax every graph (atoms, cells fixed) until its largest force is below ``fmax`` (eV/angstrom), at most
    ``steps`` times each. A system whose atoms come too close, or whose energies are no numbers, ends there
    (``Relaxed.failure``); the others go on.

    done: called with the number of systems that have finished since the last call. Raises ``InputError`` for fields
    and for elements that training never showed.
    """
    positive("fmax", fmax)
    positive("steps", steps)
    results: list[Relaxed | None] = [None] * len(graphs)
    with evaluating(net):
        for pack in packs(net, graphs, max_edges):
            _relax_pack(net, [graphs[k] for k in pack], pack, fmax, steps, results, done)
    return [r for r in results if r is not None]


def packs(net: AtomFieldNet, graphs: Sequence[Graph], max_edges: int) -> list[list[int]]:
    """Numbers of systems that go together, in order, each pack with at most about ``max_edges`` pairs."""
    out: list[list[int]] = []
    room = 0.0
    for number, graph in enumerate(graphs):
        if graph.world == "field":
            raise InputError("found a field, expected atoms", graph.provenance)
        level = with_level(net, graph, number).level
        refuse_unseen(net, graph.species, level, graph.provenance)
        refuse_silent(net, level, graph.provenance)
        n = graph.num_nodes
        pairs = (
            n * min(n - 1.0, 4 * net.config.average_neighbors)
            if not graph.pbc.any()
            else 4 * n * net.config.average_neighbors
        )
        if not out or room + pairs > max_edges:
            out.append([])
            room = 0.0
        out[-1].append(number)
        room += pairs
    return out


def _relax_pack(
    net: AtomFieldNet,
    graphs: Sequence[Graph],
    numbers: Sequence[int],
    fmax: float,
    steps: int,
    results: list[Relaxed | None],
    done: Callable[[int], None],
) -> None:
    run = _Descent.begin(net, graphs, numbers)

    def finish(k: int, step: int, failure: str = "") -> None:
        if results[run.numbers[k]] is None:
            results[run.numbers[k]] = run.result(k, step, fmax, failure)
            done(1)

    for step in range(steps + 1):
        while collided := run.evaluate():
            for k in collided:
                finish(k, max(step - 1, 0), f"atoms have come closer than {MIN_DISTANCE} angstrom")
            run = run.only([k for k in range(len(run.numbers)) if k not in collided])
            if not run.numbers:
                return
        sick, ended = run.sick(), run.largest() < fmax
        for k in torch.nonzero(sick).flatten().tolist():
            finish(k, step, "the energy or a force is no finite number")
        for k in torch.nonzero(ended | (step == steps)).flatten().tolist():
            finish(k, step)
        left = [k for k, number in enumerate(run.numbers) if results[number] is None]
        if not left:
            return
        if len(left) <= run.bunch.num // 2 or bool(sick.any()):  # go on with those that are left alone
            run = run.only(left)
        run.move(step)


@dataclass
class _Descent:
    """Systems on their way down by FIRE: positions and velocities ``[N, 3]``, time step, mixing and steps downhill ``[G]``; and
    positions, forces and energies of the last evaluation."""

    graphs: list[Graph]
    numbers: list[int]
    """Of the systems in the caller's list."""
    bunch: Bunch
    x: Tensor
    v: Tensor
    dt: Tensor
    mix: Tensor
    good: Tensor
    place: Tensor
    force: Tensor
    energy: Tensor

    @classmethod
    def begin(cls, net: AtomFieldNet, graphs: Sequence[Graph], numbers: Sequence[int]) -> _Descent:
        bunch = Bunch(net, graphs)
        x = bunch.positions
        tenth, unknown = x.new_full((bunch.num,), 0.1), float("nan")
        return cls(
            list(graphs), list(numbers), bunch, x, torch.zeros_like(x), tenth, tenth,
            torch.zeros(bunch.num, dtype=torch.int64, device=x.device),
            x, torch.full_like(x, unknown), torch.full_like(tenth, unknown),
        )  # fmt: skip

    def evaluate(self) -> list[int]:
        """Energies and forces here; or else the systems whose atoms have collided, and nothing is computed."""
        try:
            self.energy, self.force = self.bunch.energies_and_forces(self.x)
        except Collision as error:
            return error.systems
        self.place = self.x
        return []

    def largest(self) -> Tensor:
        """``[G]`` largest norm of a force."""
        return self.bunch.largest(self.force)

    def sick(self) -> Tensor:
        """``[G]`` bool: an energy or a force is no finite number."""
        return ~(torch.isfinite(self.energy) & torch.isfinite(self.bunch.total(self.force.abs().sum(1))))

    def result(self, k: int, step: int, fmax: float, failure: str) -> Relaxed:
        """Of system ``k``, as it was evaluated last."""
        largest = float(self.largest()[k])
        own = self.place[self.bunch.owner == k].cpu().numpy()
        return Relaxed(own, float(self.energy[k]), largest, step, largest < fmax and not failure, failure)

    def only(self, systems: list[int]) -> _Descent:
        """Those alone."""
        kept = torch.tensor(systems, dtype=torch.int64, device=self.x.device)
        atoms = torch.isin(self.bunch.owner, kept)
        graphs = [self.graphs[k] for k in systems]
        return _Descent(
            graphs, [self.numbers[k] for k in systems], Bunch(self.bunch.net, graphs) if graphs else self.bunch,
            self.x[atoms], self.v[atoms], self.dt[kept], self.mix[kept], self.good[kept],
            self.place[atoms], self.force[atoms], self.energy[kept],
        )  # fmt: skip

    def move(self, step: int) -> None:
        """One step of FIRE for all systems."""
        bunch, own, force = self.bunch, self.bunch.owner, self.force
        if step:
            power = bunch.total((force * self.v).sum(1))
            downhill = power > 0
            speed = bunch.total(self.v.square().sum(1)).sqrt()
            pull = bunch.total(force.square().sum(1)).sqrt().clamp_min(1e-300)
            turned = (1 - self.mix)[own, None] * self.v + (self.mix * speed / pull)[own, None] * force
            self.v = torch.where(downhill[own, None], turned, 0.0)
            faster = downhill & (self.good > 5)
            slower = torch.where(downhill, self.dt, self.dt * 0.5)
            self.dt = torch.where(faster, (self.dt * 1.1).clamp_max(1.0), slower)
            self.mix = torch.where(faster, self.mix * 0.99, torch.where(downhill, self.mix, 0.1))
            self.good = torch.where(downhill, self.good + 1, 0)
        self.v = self.v + self.dt[own, None] * force
        move = self.dt[own, None] * self.v
        length = bunch.total(move.square().sum(1)).sqrt()
        self.x = self.x + move * (0.2 / length.clamp_min(0.2))[own, None]


@dataclass(frozen=True)
class Moved:
    """Dynamics of many systems: positions and velocities of each at the end; potential and kinetic ``[S, G]`` eV per sample."""

    positions: list[np.ndarray]
    velocities: list[np.ndarray]
    potential: np.ndarray
    kinetic: np.ndarray


def nve_many(
    net: AtomFieldNet,
    graphs: Sequence[Graph],
    velocities: Sequence[np.ndarray],
    *,
    steps: int,
    timestep: float = 0.5,
    interval: int = 10,
    max_edges: int = 60_000,
) -> Moved:
    """Velocity Verlet of every graph from ``velocities`` (``[N, 3]`` each, in ASE's unit angstrom sqrt(amu/eV));
    timestep in fs."""
    from ase import units

    positive("steps", steps)
    positive("timestep", timestep)
    positive("interval", interval)
    shapes = [tuple(np.shape(v)) for v in velocities]
    if shapes != [(g.num_nodes, 3) for g in graphs]:
        raise InputError(
            f"velocities have shapes {shapes[:5]}, expected [N, 3] for each of {len(graphs)} systems"
            + (f", the first {(graphs[0].num_nodes, 3)}" if graphs else "")
        )
    positions: list[np.ndarray] = []
    speeds: list[np.ndarray] = []
    traces: list[tuple[Tensor, Tensor]] = []
    h = timestep * units.fs
    with evaluating(net):
        for pack in packs(net, graphs, max_edges):
            bunch = Bunch(net, [graphs[k] for k in pack])
            x = bunch.positions
            v = torch.from_numpy(np.concatenate([velocities[k] for k in pack])).to(x)
            mass = net.masses.to(x)[bunch.species]
            energy, force = bunch.energies_and_forces(x)
            potential, kinetic = [], []
            for step in range(steps + 1):
                if step % interval == 0 or step == steps:
                    potential.append(energy)
                    kinetic.append(bunch.total(0.5 * mass * v.square().sum(1)))
                if step == steps:
                    break
                v = v + 0.5 * h * force / mass[:, None]
                x = x + h * v
                try:
                    energy, force = bunch.energies_and_forces(x)
                except Collision as error:
                    raise Collision([pack[k] for k in error.systems]) from error
                v = v + 0.5 * h * force / mass[:, None]
            traces.append((torch.stack(potential), torch.stack(kinetic)))
            for k in range(bunch.num):
                positions.append(x[bunch.owner == k].cpu().numpy())
                speeds.append(v[bunch.owner == k].cpu().numpy())
    both = [torch.cat([t[k] for t in traces], dim=1).cpu().numpy() for k in (0, 1)]
    return Moved(positions, speeds, both[0], both[1])
