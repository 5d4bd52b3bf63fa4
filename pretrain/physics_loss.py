"""Laws as loss terms: the square of the relative residual of what a network predicts, off by default.

A field is judged on the step that the network makes. With the state u0 and the forecast u1 a step dt later, the law is written
at the middle of the step, u = (u0 + u1)/2 and du/dt = (u1 - u0)/dt, which is of second order in dt. A law of second order in
time (``wave``) is written at u0, d2u/dt2 = (u1 - 2 u0 + u-1)/dt^2, with the state u-1 that the record has one step before.
Conditions on the state itself (``divergence``, ``curl``) and steady laws (``darcy``) are asked of u1, or of the answer to a
steady problem. Atoms are judged on what their forces and charges add up to. What a residual is measured against comes from the
labels, so that a penalty is 1 where nothing cancels and 0 for a solution; true data have a floor of their own, from dt and the
discretisation, which the evaluation reports beside the network's figure.

A graph that lacks what a law needs (a quantity, a constant, a direction, a domain without boundary) adds nothing and is not
counted. Each term is a sum over graphs, divided by the count of the step like every other loss term.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import EARLIER_STATES
from atomfield.models.field_operators import Part, as_fields, direction_of, parts_of, without_boundary
from atomfield.physics_priors.balances import Bodies, balance
from atomfield.physics_priors.field_laws import field_law
from atomfield.physics_priors.law import Law
from atomfield.physics_priors.operators import Operators

from .config import BALANCES, FIELD_LAWS, LawName

PREFIX = "physics/"
"""Of the names of these loss terms."""
DIRECTION = "direction"
"""What a law reads that :func:`direction_of` gives."""
SMALLEST = 1e-3
"""e and eV/angstrom: charges and forces that are smaller are measured against this."""


def applicable(name: LawName, batch: GraphBatch, names: tuple[str, ...]) -> Tensor:
    """``[G]`` bool: the graphs of ``batch`` on which law ``name`` can be asked of a network that predicts ``names``."""
    none = torch.zeros(batch.num_graphs, dtype=torch.bool)
    if (batch.world == "field") != (name in FIELD_LAWS):
        return none
    law: Law = law_of(name)
    found = ~none
    for constant in (*law.constants, *(("dt",) if batch.world == "field" and law.explains else ())):
        if constant not in batch.conditions:
            return none
        found &= torch.isfinite(batch.conditions[constant]).cpu()
    if batch.world != "field":
        return found if {*law.reads, *law.explains} <= {*names} else none
    wanted = quantities_of(law)
    held = batch.quantities.keys() | (set() if law.explains else {*names})
    if not wanted <= held or not wanted & {*names} or not {*law.explains} <= {*names}:
        return none
    for quantity in wanted:
        for values in (batch.quantities, batch.next_quantities):
            if quantity in values:
                found &= _whole(torch.isfinite(values[quantity]), batch)
    if DIRECTION in law.reads:
        direction = direction_of(batch)
        found &= torch.zeros_like(found) if direction is None else torch.isfinite(direction).all(1).cpu()
    if law.order == 0:
        found &= _closed(batch)
    return found


def quantities_of(law: Law) -> set[str]:
    """What a law of fields needs of a record: what it reads and explains and, of second order in time, the state before."""
    before = {EARLIER_STATES[q] for q in law.explains} if law.time_order == 2 else set()
    return ({*law.reads, *law.explains} | before) - {DIRECTION}


def law_of(name: LawName) -> Law:
    """The law of that name."""
    match name:
        case "net_charge" | "net_force" | "net_torque":
            return balance(name)
        case _:
            return field_law(name)


def _whole(finite: Tensor, batch: GraphBatch) -> Tensor:
    """``[G]``: whether all values ``[N, ...]`` or ``[G, ...]`` of a graph are finite."""
    missing = (~finite.reshape(len(finite), -1).all(1)).double().cpu()
    if len(missing) == batch.num_nodes:
        missing = torch.zeros(batch.num_graphs).double().index_add(0, batch.graph_index.cpu(), missing)
    return missing == 0


def _closed(batch: GraphBatch) -> Tensor:
    """``[G]``: whether a graph has no boundary through which anything could leave."""
    ends = batch.nodes_per_graph().cumsum(0).tolist()
    rows = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
    return torch.tensor([without_boundary(batch, k, r) for k, r in enumerate(rows)])


def counts(weights: Mapping[LawName, float], batch: GraphBatch, names: tuple[str, ...]) -> dict[str, float]:
    """Graphs that each law is asked of in this micro-batch."""
    found = {f"{PREFIX}{name}": float(applicable(name, batch, names).sum()) for name in weights}
    return {name: count for name, count in found.items() if count}


def physics_sums(
    weights: Mapping[LawName, float], batch: GraphBatch, out: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weighted sum over graphs of each law's penalty, for the prediction ``out`` of a network."""
    sums: dict[str, Tensor] = {}
    if batch.world != "field":
        bodies = bodies_of(batch)
        for name, weight in weights.items():
            asked_G = applicable(name, batch, tuple(out)).to(batch.positions.device)
            if name in BALANCES and bool(asked_G.any()):
                law = law_of(name)
                rest = law.residual(bodies, out, {}, batch.conditions).reshape(batch.num_graphs, -1)
                labels = batch.quantities if set(law.reads) <= batch.quantities.keys() else out
                size = law.size(bodies, {k: torch.nan_to_num(labels[k].detach()) for k in law.reads}, {})
                squares = (rest / size.clamp_min(SMALLEST)).square().sum(1)
                sums[f"{PREFIX}{name}"] = weight * torch.where(asked_G, squares, 0.0).sum()
        return sums
    asked = {name: applicable(name, batch, tuple(out)).tolist() for name in weights if name in FIELD_LAWS}
    if not any(any(flags) for flags in asked.values()):
        return sums
    for part in parts_of(batch):
        step = Step.of(part, batch, out)
        for name, flags in asked.items():
            if flags[part.number]:
                key = f"{PREFIX}{name}"
                sums[key] = sums.get(key, 0.0) + weights[name] * step.penalty(law_of(name))
    return sums


@dataclass(frozen=True)
class Step:
    """One graph's step: the state now, what the network says of the next one and the labels of it, fields with their points last.
    dt: None in a steady problem, whose answer is the next state. clean: the state now without the noise of training, which counts
    for laws of third order and more in space or second in time: divided by so many spacings or steps it would be all there is."""

    part: Part
    now: dict[str, Tensor]
    clean: dict[str, Tensor]
    later: dict[str, Tensor]
    labels: dict[str, Tensor]
    dt: Tensor | None
    constants: dict[str, Tensor]

    @staticmethod
    def of(part: Part, batch: GraphBatch, out: Mapping[str, Tensor]) -> Step:
        cut = lambda values: as_fields(values[part.rows].double())  # noqa: E731
        now = {k: cut(v) for k, v in batch.quantities.items() if len(v) == batch.num_nodes}
        direction = direction_of(batch)
        if direction is not None:
            now[DIRECTION] = direction[part.number, :, None].expand(3, part.rows.stop - part.rows.start)
        return Step(
            part,
            now,
            clean=now | {k: cut(v) for k, v in batch.clean.items()},
            later={k: cut(v) for k, v in out.items()},
            labels={k: cut(v) for k, v in batch.next_quantities.items()},
            dt=batch.conditions["dt"][part.number] if "dt" in batch.conditions else None,
            constants={k: v[part.number] for k, v in batch.conditions.items()},
        )

    def penalty(self, law: Law[Operators]) -> Tensor:
        """``[]`` the square of the residual of the network's step over the size of the label's."""
        now = self.clean if law.order > 2 or law.time_order == 2 else self.now
        operators, rates = self.part.for_order(law.order), self._rates(law, now, self.later)
        size = law.size(operators, now | self.labels, self._rates(law, now, self.labels))
        return law.penalty(operators, self._values(law, now), rates, self.constants, size)

    def relative(self, law: Law[Operators]) -> float:
        """The residual of the network's step over the size of the label's."""
        return float(self.penalty(law).sqrt())

    def _values(self, law: Law[Operators], now: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the law reads of the network's step."""
        if not law.explains:
            return {**now, **self.later}
        if law.time_order == 2:
            return {**now}
        return {**now, **{k: (now[k] + v) / 2 for k, v in self.later.items() if k in now}}

    def _rates(
        self, law: Law[Operators], now: Mapping[str, Tensor], later: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What the law explains, of a step from ``now`` to ``later``."""
        if not law.explains:
            return {}
        assert self.dt is not None
        if law.time_order == 2:
            twice = {k: later[k] - 2 * now[k] + now[EARLIER_STATES[k]] for k in law.explains}
            return {k: v / self.dt**2 for k, v in twice.items()}
        return {k: (later[k] - now[k]) / self.dt for k in law.explains}


def bodies_of(batch: GraphBatch) -> Bodies:
    return Bodies(batch.positions, batch.graph_index, batch.num_graphs, ~batch.pbc.any(1))


def laws_of(batch: GraphBatch) -> Iterator[LawName]:
    """The laws of fields that this batch has the quantities and constants for."""
    names = tuple(batch.next_quantities)
    for name in FIELD_LAWS:
        if bool(applicable(name, batch, names).any()):
            yield name
