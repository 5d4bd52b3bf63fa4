"""The shape that every law shares, and what it is used for.

A law says which residual vanishes. From that one function follow its uses:

- metric: the residual of states or predictions relative to what it is made of (:meth:`Law.relative`);
- loss: the mean square of the same ratio (:meth:`Law.penalty`);
- analytic term: what the law alone predicts, which a network corrects (:meth:`Law.term`);
- identification: constants are tensors, so the gradient of the residual with respect to them exists;
- hard constraint: ``impose``, the smallest change after which the residual is zero to rounding, where there is one.

The domain is what derivatives, sums or distances need: ``operators.Operators`` of a field, ``balances.Bodies`` or
``pairs.PairEdges`` of atoms. ``field_laws.py``, ``balances.py``, ``energy_laws.py`` and ``line_laws.py`` have the laws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

Domain = TypeVar("Domain")
Values = Mapping[str, Tensor]
"""Name -> values: fields ``[*points]``, vectors ``[d, *points]``; of atoms ``[N]``, ``[N, 3]``, ``[G]``."""


@dataclass(frozen=True)
class Law(Generic[Domain]):
    """``residual(domain, values, explained, constants)``.

    reads: values that enter. explains: what the law gives, a rate of change of a field or a label of atoms; empty for a
    condition on the values themselves. constants: their names. size(domain, values, explained): the positive number that the
    residual is measured against; made of the same data, so that no unit enters. order: highest derivative in space.
    time_order: derivative in time that is explained; 0 for a steady law.
    """

    name: str
    residual: Callable[[Domain, Values, Values, Values], Tensor]
    size: Callable[[Domain, Values, Values], Tensor]
    reads: tuple[str, ...]
    explains: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    impose: Callable[[Domain, Values], dict[str, Tensor]] | None = None
    order: int = 1
    time_order: int = 1

    def relative(self, domain: Domain, values: Values, explained: Values, constants: Values) -> Tensor:
        """``[]`` RMS of the residual over ``size``: 0 for a solution, 1 where nothing cancels."""
        rest = self.residual(domain, values, explained, constants)
        return rest.square().mean().sqrt() / self.size(domain, values, explained)

    def penalty(
        self, domain: Domain, values: Values, explained: Values, constants: Values, size: Tensor
    ) -> Tensor:
        """``[]`` mean square of the residual over ``size``, a number from the labels that carries no gradient."""
        rest = self.residual(domain, values, explained, constants)
        return (rest / size.detach()).square().mean()

    def term(self, domain: Domain, values: Values, constants: Values, zero: Values) -> Tensor:
        """What the law alone says is explained: minus its residual where that is ``zero``. ``ValueError`` for a law that explains
        nothing."""
        if not self.explains:
            raise ValueError(f"{self.name} is a condition on {', '.join(self.reads)}; it predicts nothing")
        return -self.residual(domain, values, zero, constants)


def rms(values: Tensor) -> Tensor:
    """``[]`` root mean square, at least 1e-30 so that it may divide."""
    return values.square().mean().sqrt().clamp_min(1e-30)
