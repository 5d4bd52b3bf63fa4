"""Laws on a line whose constants are to be found: each as its residual and as the terms of its weak form.

du/dt = sum over constants of  c * (sum of weights * terms)         linear in the constants c
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from . import advection_diffusion, allen_cahn, burgers, heat, kdv, kuramoto_sivashinsky
from .law import Law, rms
from .operators import Operators
from .weak_form import Term

LineLawName = Literal["burgers", "kdv", "kuramoto_sivashinsky", "allen_cahn", "heat", "advection_diffusion"]
Parts = tuple[tuple[float, Term], ...]
"""Pairs of a weight and a term."""


@dataclass(frozen=True)
class LineLaw:
    """``law`` of the field ``u``; ``terms[k]``: what constant k multiplies in the weak form."""

    law: Law[Operators]
    terms: tuple[Parts, ...]

    @property
    def constants(self) -> tuple[str, ...]:
        return self.law.constants

    def named(self, constants: Tensor) -> dict[str, Tensor]:
        """``constants [K]`` by name."""
        return dict(zip(self.constants, constants.unbind(), strict=True))


def line_law(name: LineLawName) -> LineLaw:
    """The law of that name."""
    advection: Parts = ((-1.0, Term(2, 1)),)
    diffusion: Parts = ((1.0, Term(1, 2)),)
    match name:
        case "burgers":
            return LineLaw(
                _of_u(name, burgers.residual, ("advection", "viscosity"), 2), (advection, diffusion)
            )
        case "kdv":
            law = _of_u(name, kdv.residual, ("advection", "dispersion"), 3)
            return LineLaw(law, (advection, ((-1.0, Term(1, 3)),)))
        case "kuramoto_sivashinsky":
            law = _of_u(name, kuramoto_sivashinsky.residual, ("advection", "second", "fourth"), 4)
            return LineLaw(law, (advection, ((-1.0, Term(1, 2)),), ((-1.0, Term(1, 4)),)))
        case "allen_cahn":
            law = _of_u(name, allen_cahn.residual, ("diffusivity", "rate"), 2)
            return LineLaw(law, (diffusion, ((1.0, Term(1, 0)), (-1.0, Term(3, 0)))))
        case "heat":
            return LineLaw(_of_u(name, heat.residual, ("diffusivity",), 2), (diffusion,))
        case "advection_diffusion":
            law = _of_u(name, advection_diffusion.residual_uniform, ("velocity", "diffusivity"), 2)
            return LineLaw(law, (((-1.0, Term(1, 1)),), diffusion))


def _of_u(
    name: str, residual: Callable[..., Tensor], constants: tuple[str, ...], order: int
) -> Law[Operators]:
    """The residual ``(operators, u, du/dt, *constants)`` of one field as a law."""
    return Law(
        name,
        lambda ops, v, r, c: residual(ops, v["u"], r["u"], *[c[k] for k in constants]),
        lambda ops, v, r: rms(r["u"]),
        reads=("u",),
        explains=("u",),
        constants=constants,
        order=order,
    )
