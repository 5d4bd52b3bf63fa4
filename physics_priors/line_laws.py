"""Laws on a line whose constants are to be found: each as its residual and as the terms of its weak form.

du/dt = sum over constants of  c * (sum of weights * terms)         linear in the constants c
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from . import allen_cahn, burgers, heat, kdv, kuramoto_sivashinsky
from .operators import Operators
from .weak_form import Term

LineLawName = Literal["burgers", "kdv", "kuramoto_sivashinsky", "allen_cahn", "heat"]
Residual = Callable[[Operators, Tensor, Tensor, Tensor], Tensor]
"""``(operators, u, du/dt, constants [K]) -> residual``."""


@dataclass(frozen=True)
class LineLaw:
    """``terms[k]``: pairs of a weight and a term that constant k multiplies; ``order``: of the highest derivative."""

    constants: tuple[str, ...]
    residual: Residual
    terms: tuple[tuple[tuple[float, Term], ...], ...]
    order: int


def line_law(name: LineLawName) -> LineLaw:
    """The law of that name."""
    advection, diffusion = ((-1.0, Term(2, 1)),), ((1.0, Term(1, 2)),)
    match name:
        case "burgers":
            return LineLaw(
                ("advection", "viscosity"),
                lambda ops, u, u_t, c: burgers.residual(ops, u, u_t, c[0], c[1]),
                (advection, diffusion),
                order=2,
            )
        case "kdv":
            return LineLaw(
                ("advection", "dispersion"),
                lambda ops, u, u_t, c: kdv.residual(ops, u, u_t, c[0], c[1]),
                (advection, ((-1.0, Term(1, 3)),)),
                order=3,
            )
        case "kuramoto_sivashinsky":
            return LineLaw(
                ("advection", "second", "fourth"),
                lambda ops, u, u_t, c: kuramoto_sivashinsky.residual(ops, u, u_t, c[0], c[1], c[2]),
                (advection, ((-1.0, Term(1, 2)),), ((-1.0, Term(1, 4)),)),
                order=4,
            )
        case "allen_cahn":
            return LineLaw(
                ("diffusivity", "rate"),
                lambda ops, u, u_t, c: allen_cahn.residual(ops, u, u_t, c[0], c[1]),
                (diffusion, ((1.0, Term(1, 0)), (-1.0, Term(3, 0)))),
                order=2,
            )
        case "heat":
            return LineLaw(
                ("diffusivity",),
                lambda ops, u, u_t, c: heat.residual(ops, u, u_t, c[0]),
                (diffusion,),
                order=2,
            )
