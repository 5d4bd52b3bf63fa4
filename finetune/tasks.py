"""What is being learned: the kind of each target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_STATES
from atomfield.data.steady import is_steady
from atomfield.pretrain.losses import ATOM_TERMS, Targets
from atomfield.pretrain.property_fits import NOT_LEARNT


@dataclass(frozen=True)
class Task:
    """The targets of a run, sorted."""

    names: tuple[str, ...]
    world: Literal["atoms", "field"]
    properties: tuple[str, ...]
    steady: bool = False
    """Fields that follow from other fields at once, without time."""

    @property
    def targets(self) -> Targets:
        step = self.world == "field" and not self.steady
        return Targets("next_step" if step else "supervised", self.names)


def task_of(target: tuple[str, ...], graphs: Sequence[Graph]) -> Task:
    """Check that the records can train ``target``; raises InputError naming what they have instead."""
    is_field = graphs[0].world == "field"
    available = sorted({name for g in graphs for name in g.quantities})
    for name in target:
        if name not in available:
            raise InputError(
                f"target {name!r} is in none of the {len(graphs)} records, found {', '.join(available) or 'no quantity'}; "
                "name the file's own key with --map",
                graphs[0].provenance.file,
            )
        if is_field and name not in FIELD_STATES:
            raise InputError(
                f"target {name!r} is not a field state, expected one of {', '.join(FIELD_STATES)}"
            )
        if not is_field and name in NOT_LEARNT:
            raise InputError(
                f"target {name!r} is nothing that atoms are trained on, expected one of {', '.join(ATOM_TERMS)}, another "
                "quantity of atoms or a property under a name of its own"
            )
    if moving := next((g for g in graphs if is_field and g.next_quantities), None):
        raise InputError(
            "the points of this record move (particles, or a mesh that does), and a step of such points is not learnt yet; give "
            "fields at points that stand still, or resample them onto a grid",
            moving.provenance,
        )
    steady = is_field and is_steady(target, graphs)
    if is_field and not steady and all(g.num_times < 2 for g in graphs):
        raise InputError(
            "field records have one time each, expected trajectories of at least two, or another field that the target "
            "follows from",
            graphs[0].provenance.file,
        )
    properties = tuple(n for n in target if not is_field and n not in ATOM_TERMS)
    return Task(tuple(target), "field" if is_field else "atoms", properties, steady)
