"""The laws that a finished network obeys, each with its number, measured on test records in the precision it was trained in.

- symmetry: what it says of a rotated and of a reflected record, against its own answer rotated and reflected;
- atoms: how well the energy is kept along a short run at constant energy (what forces and charges add up to is measured with the
  errors, ``conservation.py``);
- fields: the residual of every law that the record has the quantities and constants for, of one predicted step or of the answer
  to a steady problem, with the figure of the data beside it. A law that the data do not obey is none for this data; the floor of
  true data is the error of the differences.

Figures of fields are relative (``physics_priors/law.py``): 0 for a solution, 1 where nothing cancels.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch, collate
from atomfield.data.neighbors import with_edges
from atomfield.data.quantities import CONDITIONS, DIRECTIONS, VOCABULARY
from atomfield.data.steady import unsolved
from atomfield.models.field_operators import parts_of
from atomfield.physics_priors.law import Law
from atomfield.pretrain.config import FIELD_LAWS, LawName
from atomfield.pretrain.equivariance import turned, turned_batch
from atomfield.pretrain.physics_loss import DIRECTION, Step, law_of, laws_of

from .assess import step_starts
from .report import Section, Table, number

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

NUM_RECORDS, MAX_NODES = 4, 20_000
"""Records that the symmetry is tried on, and that the laws of fields are measured on; larger ones are left out."""
NVE_STEPS, NVE_STEP_FS, NVE_TEMPERATURE, NVE_ATOMS = 200, 0.5, 300.0, 60


@dataclass(frozen=True)
class Obeyed:
    """One law: its key in metrics.json, what it says, the number of the network and, for laws of fields, of the data."""

    key: str
    label: str
    unit: str
    value: float
    data: float | None = None


@dataclass
class LawReport:
    """All laws of one network, and remarks; ``missed``: why laws whose constants the records have were not measured."""

    rows: list[Obeyed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def flat(self) -> dict[str, float]:
        """For metrics.json; figures of the data end in ``_of_data``."""
        out = {r.key: r.value for r in self.rows}
        return out | {f"{r.key}_of_data": r.data for r in self.rows if r.data is not None}

    def table(self) -> Table:
        with_data = any(r.data is not None for r in self.rows)
        rows = []
        for r in self.rows:
            middle = ["–" if r.data is None else number(r.data)] if with_data else []
            rows.append([r.label, number(r.value), *middle, r.unit or "–"])
        columns = ["law", "network", *(["data"] if with_data else []), "unit"]
        return Table(columns, rows, text_columns=frozenset({0, len(columns) - 1}))

    def section(self) -> Section:
        notes = (f"{note}." for note in (*self.missed, *self.notes))
        return Section("Laws", (self.table(), *notes) if self.rows else ())


def laws_obeyed(net: AtomFieldNet, test: Sequence[Graph], targets: Sequence[str]) -> LawReport:
    """Measure ``net`` on the first records of ``test`` that are small enough. Nothing is trained."""
    graphs = [g for g in test if g.num_nodes <= MAX_NODES][:NUM_RECORDS]
    report = LawReport()
    if not graphs:
        report.notes.append(f"Every test record has more than {MAX_NODES} nodes: laws were not measured")
        return report
    was_training = net.training
    net.eval()
    try:
        report.rows += symmetry(net, graphs, targets)
        if graphs[0].world == "field":
            rows, report.missed = laws_of_fields(net, graphs, targets)
            report.rows += rows
            if rows:
                what = "one step" if graphs[0].num_times > 1 else "the answer"
                report.notes.append(
                    f"Figures of fields are relative residuals of {what}: 0 for a solution, 1 where nothing cancels; those of "
                    "the data hold what time step and grid leave"
                )
        elif "forces" in targets:
            kept = energy_kept(net, test)
            report.rows += [kept] if isinstance(kept, Obeyed) else []
            report.notes += [kept] if isinstance(kept, str) else []
    finally:
        net.train(was_training)
    precision = {torch.float32: "single", torch.float64: "double"}.get(net.dtype, str(net.dtype))
    report.notes.append(f"Measured in {precision} precision on {len(graphs)} of these records")
    return report


# ---------------------------------------------------------------- symmetry
def symmetry(net: AtomFieldNet, graphs: Sequence[Graph], targets: Sequence[str]) -> list[Obeyed]:
    """Largest difference of f(Qx) and Q f(x) relative to the largest entry of f(x), both over all records; the worst target.
    A record on its own may be a perfect crystal, whose forces are rounding."""
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))[0]
    rotation = q * torch.linalg.det(q)
    scales = {p.name: float(net.property_head.scale[k]) for k, p in enumerate(net.config.properties)}
    irreps = {p.name: p.irreps for p in net.config.properties}
    out = []
    for key, label, turn in (("rotation", "rotated", rotation), ("reflection", "reflected", -rotation)):
        off, size = dict.fromkeys(targets, 0.0), {name: max(scales.get(name, 0.0), 1e-30) for name in targets}
        for graph in graphs:
            batch = _first(net, graph)
            here, there = answer(net, batch), answer(net, turned_batch(batch, turn))
            for name in targets:
                if name in here:
                    expected = turned(here[name], irreps.get(name) or VOCABULARY[name].irreps, turn)
                    size[name] = max(size[name], float(here[name].abs().max()))
                    off[name] = max(off[name], float((there[name] - expected).abs().max()))
        worst = max((off[name] / size[name] for name in targets), default=0.0)
        out.append(
            Obeyed(f"equivariance_error_{key}", f"answer to a {label} record, relative error", "", worst)
        )
    return out


def _first(net: AtomFieldNet, graph: Graph) -> GraphBatch:
    """The structure, or the first step of a trajectory, with its edges."""
    start = with_edges(graph, net.config.cutoff)
    return collate([start.pair(0) if start.times is not None else start]).to(net.device)


@torch.no_grad()
def answer(net: AtomFieldNet, batch: GraphBatch) -> dict[str, Tensor]:
    """What the network says; forces and stress where they exist."""
    stress = batch.world != "field" and bool(batch.pbc.all())
    return {name: value.double().cpu() for name, value in net(batch, stress=stress).items()}


# ---------------------------------------------------------------- fields
@torch.no_grad()
def laws_of_fields(
    net: AtomFieldNet, graphs: Sequence[Graph], targets: Sequence[str]
) -> tuple[list[Obeyed], list[str]]:
    """Median over a few steps of each record, or over the answers of a steady problem, of the network and of the data; and
    remarks on laws whose constants the records have, but not the rest."""
    network: dict[LawName, list[float]] = {}
    data: dict[LawName, list[float]] = {}
    notes: dict[str, None] = {}
    for graph in graphs:
        ready = with_edges(graph, net.config.cutoff)
        problems = [unsolved(ready, targets)]
        if graph.num_times > 1:
            problems = [ready.pair(t) for t in step_starts(graph.num_times, 3).tolist()]
        for problem in problems:
            batch = collate([problem]).to(net.device)
            out = {k: v.double() for k, v in net(batch).items() if k in batch.next_quantities}
            try:
                for name, own, true in _steps(batch, out):
                    network.setdefault(name, []).append(own)
                    data.setdefault(name, []).append(true)
            except InputError as error:
                notes[str(error)] = None
        notes |= dict.fromkeys(_told_but_not_asked(graph, network))
    rows = [
        Obeyed(f"law_{name}", LABELS[name], "", float(np.median(values)), float(np.median(data[name])))
        for name, values in network.items()
    ]
    return rows, list(notes)


def _steps(batch: GraphBatch, out: dict[str, Tensor]) -> Iterator[tuple[LawName, float, float]]:
    """(law, figure of the answer ``out``, figure of the labels) of a batch of one graph."""
    other = {"pressure", "depth"} & batch.quantities.keys()  # a velocity with either obeys another law
    names = [n for n in laws_of(batch) if not (n == "burgers" and other)]
    for part in parts_of(batch) if names else ():
        own, true = Step.of(part, batch, out), Step.of(part, batch, batch.next_quantities)
        for name in names:
            law = law_of(name)
            if set(law.reads) & out.keys():
                yield name, own.relative(law), true.relative(law)


def _told_but_not_asked(graph: Graph, measured: Collection[str]) -> Iterator[str]:
    """A sentence for each law of which the record has the constants, one of them its own, and not what it reads."""
    for name in FIELD_LAWS:
        law: Law = law_of(name)
        own = any(CONDITIONS[c].special for c in law.constants)
        if not own or name in measured or not {*law.constants} <= graph.conditions.keys():
            continue
        lacking = [q for q in (*law.reads, *law.explains) if q != DIRECTION and q not in graph.quantities]
        if DIRECTION in law.reads and not any(q in graph.quantities for q in DIRECTIONS):
            lacking.append("a direction (--map gravity=1 on a line, gravity=1+0 in a plane)")
        if lacking:
            said = ", ".join(law.constants)
            yield f"The records have {said}, but law_{name} also needs {', '.join(dict.fromkeys(lacking))}"


LABELS = {
    "divergence": "incompressible: divergence of the velocity over its gradient",
    "curl": "vorticity is the curl of the velocity",
    "navier_stokes": "Navier-Stokes: residual of momentum over its rate",
    "burgers": "Burgers: residual of momentum over its rate",
    "advection_diffusion": "advection-diffusion: residual over the rate",
    "heat": "heat equation: residual over the rate",
    "acoustics": "linear sound: residual over the rate of the velocity",
    "shallow_water": "shallow water: residual over the rate of the velocity",
    "gray_scott": "Gray-Scott: residual of the first species over its rate",
    "allen_cahn": "Allen-Cahn: residual over the rate",
    "kdv": "Korteweg-de Vries: residual over the rate",
    "kuramoto_sivashinsky": "Kuramoto-Sivashinsky: residual over the rate",
    "wave": "wave equation: residual over the second derivative in time",
    "darcy": "Darcy: source less divergence of the flux, over that divergence",
    "conserved_concentration": "total amount: its rate over the rate at points",
    "conserved_momentum": "total momentum: its rate over the rate at points",
}


# ---------------------------------------------------------------- atoms
def energy_kept(net: AtomFieldNet, test: Sequence[Graph]) -> Obeyed | str:
    """Drift of the total energy of the first small test structure over a short run at constant energy, or why there is none."""
    from rich.console import Console

    from atomfield.inference.calculator import AtomFieldCalculator
    from atomfield.inference.simulate import Output, nve
    from atomfield.inference.write import to_atoms

    small = next((g for g in test if 1 < g.num_nodes <= NVE_ATOMS), None)
    if small is None:
        return f"No test structure of 2 to {NVE_ATOMS} atoms: the drift of the energy was not measured"
    atoms = to_atoms(replace(small, quantities={}), {})
    atoms.calc = AtomFieldCalculator(net, level=small.level)
    quiet = Output(console=Console(file=io.StringIO()))
    try:
        run = nve(atoms, steps=NVE_STEPS, timestep=NVE_STEP_FS, temperature=NVE_TEMPERATURE, output=quiet)
    except InputError as error:
        return f"A run at constant energy ended early: {error}"
    what = f"energy drift, {NVE_STEPS * NVE_STEP_FS:.0f} fs at constant energy"
    return Obeyed("nve_drift_meV_per_atom_per_ps", what, "meV/atom/ps", float(run.drift or 0.0))
