"""Laws that a forecast of a field obeys exactly: what the head says is moved by the least amount to where the law holds.

- ``divergence``: the next velocity has no divergence in the spectral operator of its grid. Needs a regular periodic grid.
- ``conserved_concentration``, ``conserved_momentum``: the step leaves the mean (by volume) of the concentration or of the
  velocity as it is. Asked only of domains without boundary; elsewhere something may leave, and nothing is changed.
- ``nonnegative``: amounts (concentrations, density, depth) are zero or more at every point; where ``conserved_concentration`` is
  asked for too, with the mean kept.

Each turns with the field, reflections included, and has a gradient, so networks are trained through it. Those of means and of the
divergence are linear and commute; ``nonnegative`` comes last.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.field_laws import FieldLawName, field_law
from atomfield.physics_priors.periodic_cell import PeriodicCell
from atomfield.physics_priors.positivity import nearest_nonnegative

from .field_operators import Part, as_fields, parts_of, without_boundary

Constraint = Literal["divergence", "conserved_concentration", "conserved_momentum", "nonnegative"]
AMOUNTS = ("concentration", "second_concentration", "density", "depth")
"""States that ``nonnegative`` is about."""
_QUANTITIES: dict[Constraint, tuple[str, ...]] = {
    "divergence": ("velocity",),
    "conserved_concentration": ("concentration",),
    "conserved_momentum": ("velocity",),
    "nonnegative": AMOUNTS,
}


def constrained(
    names: tuple[Constraint, ...], batch: GraphBatch, out: dict[str, Tensor]
) -> dict[str, Tensor]:
    """``out``, the next state ``[N, ...]`` of each quantity, after each of the constraints ``names``.

    Raises ``InputError`` where ``divergence`` is asked of points that are no regular periodic grid, and ``nonnegative`` of states
    whose labels have negative values.
    """
    ordered = sorted(names, key=lambda n: n == "nonnegative")
    wanted = [(n, q) for n in ordered for q in _QUANTITIES[n] if q in out]
    if not wanted:
        return out
    out = dict(out)
    for quantity in {q for _, q in wanted}:
        out[quantity] = out[quantity].clone()
    for part in parts_of(batch):
        for name, quantity in wanted:
            now = batch.quantities.get(quantity)  # none in a steady problem
            now = None if now is None else now[part.rows].double()
            forecast, closed = out[quantity][part.rows], without_boundary(batch, part.number, part.rows)
            match name:
                case "divergence":
                    _check_grid(batch, part)
                    changed = _imposed(name, part, quantity, forecast)
                case "nonnegative":
                    _check_amounts(batch, part, quantity)
                    kept = "conserved_concentration" in names and quantity == "concentration" and closed
                    volume = batch.volume[part.rows]
                    mean = (volume * now).sum() / volume.sum() if kept and now is not None else None
                    changed = nearest_nonnegative(forecast, volume, mean)
                case _:
                    if not closed or now is None:
                        continue
                    changed = now + _imposed(name, part, quantity, forecast - now)
            out[quantity][part.rows] = changed
    return out


def _imposed(name: FieldLawName, part: Part, quantity: str, values: Tensor) -> Tensor:
    """``values [N, ...]`` of one graph, moved to where the law holds."""
    law = field_law(name)
    assert law.impose is not None
    return law.impose(part.operators, {quantity: as_fields(values)})[quantity].movedim(-1, 0)


def _check_grid(batch: GraphBatch, part: Part) -> None:
    if not isinstance(part.operators, PeriodicCell):
        raise InputError(
            "the constraint 'divergence' needs a regular grid that repeats in all of its directions; "
            "leave it out of network.constraints and use loss.physics instead",
            batch.provenance[part.number] if batch.provenance else None,
        )


def _check_amounts(batch: GraphBatch, part: Part, quantity: str) -> None:
    """Of the labels: noise in training may take a state below zero."""
    if quantity in batch.next_quantities:
        least = float(batch.next_quantities[quantity][part.rows].min())
        if least < 0:
            raise InputError(
                f"{quantity} is {least:.3g} at a point, expected 0 or more, as network.constraints nonnegative says; leave that "
                "out if it is no amount",
                batch.provenance[part.number] if batch.provenance else None,
            )
