"""Laws that a forecast of a field obeys exactly: what the head says is moved by the least amount to where the law holds.

- ``divergence``: the next velocity has no divergence in the spectral operator of its grid. Needs a regular periodic grid.
- ``conserved_concentration``, ``conserved_momentum``: the step leaves the mean (by volume) of the concentration or of the
  velocity as it is. Asked only of domains without boundary; elsewhere something may leave, and nothing is changed.

Each is linear, turns with the field, reflections included, and has a gradient, so networks are trained through it. Several are
applied in the order given; these commute.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.field_laws import field_law
from atomfield.physics_priors.periodic_cell import PeriodicCell

from .field_operators import as_fields, parts_of, without_boundary

Constraint = Literal["divergence", "conserved_concentration", "conserved_momentum"]
_QUANTITY = {
    "divergence": "velocity",
    "conserved_concentration": "concentration",
    "conserved_momentum": "velocity",
}


def constrained(
    names: tuple[Constraint, ...], batch: GraphBatch, out: dict[str, Tensor]
) -> dict[str, Tensor]:
    """``out``, the next state ``[N, ...]`` of each quantity, after each of the constraints ``names``.

    Raises ``InputError`` where ``divergence`` is asked of points that are no regular periodic grid.
    """
    wanted = [n for n in names if _QUANTITY[n] in out]
    if not wanted:
        return out
    out = dict(out)
    for quantity in {_QUANTITY[n] for n in wanted}:
        out[quantity] = out[quantity].clone()
    for part in parts_of(batch):
        for name in wanted:
            quantity = _QUANTITY[name]
            law, now = field_law(name), batch.quantities[quantity][part.rows].double()
            forecast = out[quantity][part.rows]
            assert law.impose is not None
            match name:
                case "divergence":
                    if not isinstance(part.operators, PeriodicCell):
                        where = batch.provenance[part.number] if batch.provenance else None
                        raise InputError(
                            "the constraint 'divergence' needs a regular grid that repeats in all of its directions; "
                            "leave it out of network.constraints and use loss.physics instead",
                            where,
                        )
                    changed = law.impose(part.operators, {quantity: as_fields(forecast)})[quantity].movedim(
                        -1, 0
                    )
                case _:
                    if not without_boundary(batch, part.number, part.rows):
                        continue
                    change = law.impose(part.operators, {quantity: as_fields(forecast - now)})[quantity]
                    changed = now + change.movedim(-1, 0)
            out[quantity][part.rows] = changed
    return out
