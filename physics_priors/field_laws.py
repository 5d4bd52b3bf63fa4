"""Laws of fields on any discretisation, by name: what a state or a step of a simulation should satisfy.

Vectors have one component per dimension of the domain (three on graphs: a plane lies in z = 0). Units: any consistent set.
Where the law is an equation of motion its residual is that of its own file (``navier_stokes.py``, ...), and its size is the rate
of change that it explains; conditions are measured against the gradients or values that cancel in them.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from . import advection_diffusion, burgers, divergence_free, heat, navier_stokes
from .law import Law, Values, rms
from .operators import Operators, curl
from .periodic_cell import PeriodicCell
from .spectral import PeriodicGrid

FieldLawName = Literal[
    "divergence",
    "curl",
    "navier_stokes",
    "burgers",
    "advection_diffusion",
    "heat",
    "conserved_concentration",
    "conserved_momentum",
]


def field_law(name: FieldLawName) -> Law[Operators]:
    """The law of that name."""
    match name:
        case "divergence":  # div u = 0: incompressible flow
            return Law(
                "divergence",
                lambda ops, v, _, c: ops.divergence(v["velocity"]),
                lambda ops, v, _: (
                    ops.gradient(v["velocity"]).square().sum((0, 1)).mean().sqrt().clamp_min(1e-30)
                ),
                reads=("velocity",),
                impose=lambda ops, v: {"velocity": without_divergence(ops, v["velocity"])},
            )
        case "curl":  # omega = curl u
            return Law(
                "curl",
                lambda ops, v, _, c: v["vorticity"] - curl(ops, v["velocity"]),
                lambda ops, v, _: rms(v["vorticity"]),
                reads=("velocity", "vorticity"),
            )
        case "navier_stokes":
            return Law(
                "navier_stokes",
                lambda ops, v, r, c: navier_stokes.residual(
                    ops, v["velocity"], v["pressure"], r["velocity"], c["viscosity"]
                )[0],
                lambda ops, v, r: rms(r["velocity"]),
                reads=("velocity", "pressure"),
                explains=("velocity",),
                constants=("viscosity",),
                order=2,
            )
        case "burgers":  # no pressure: of velocity fields that are not incompressible
            return Law(
                "burgers",
                lambda ops, v, r, c: burgers.residual_vector(
                    ops, v["velocity"], r["velocity"], c["viscosity"]
                ),
                lambda ops, v, r: rms(r["velocity"]),
                reads=("velocity",),
                explains=("velocity",),
                constants=("viscosity",),
                order=2,
            )
        case "advection_diffusion":
            return Law(
                "advection_diffusion",
                lambda ops, v, r, c: advection_diffusion.residual(
                    ops, v["concentration"], r["concentration"], v["velocity"], c["diffusivity"]
                ),
                lambda ops, v, r: rms(r["concentration"]),
                reads=("concentration", "velocity"),
                explains=("concentration",),
                constants=("diffusivity",),
                order=2,
            )
        case "heat":
            return Law(
                "heat",
                lambda ops, v, r, c: heat.residual(ops, v["temperature"], r["temperature"], c["diffusivity"]),
                lambda ops, v, r: rms(r["temperature"]),
                reads=("temperature",),
                explains=("temperature",),
                constants=("diffusivity",),
                order=2,
            )
        case "conserved_concentration":
            return _conserved("conserved_concentration", "concentration")
        case "conserved_momentum":
            return _conserved("conserved_momentum", "velocity")


def _conserved(name: str, quantity: str) -> Law[Operators]:
    """The integral over a domain without boundary does not change. Its size is the change at single points."""

    def impose(ops: Operators, change: Values) -> dict[str, Tensor]:
        """A change over a step without its mean."""
        own = change[quantity]
        return {quantity: own - spread(ops.mean(own), own)}

    return Law(
        name,
        lambda ops, v, r, c: ops.mean(r[quantity]),
        lambda ops, v, r: rms(r[quantity]),
        reads=(quantity,),
        explains=(quantity,),
        impose=impose,
        order=0,
    )


def spread(mean: Tensor, field: Tensor) -> Tensor:
    """A mean ``[...]`` as a field ``[..., *points]``."""
    return mean.reshape(*mean.shape, *[1] * (field.dim() - mean.dim()))


def without_divergence(ops: Operators, velocity: Tensor) -> Tensor:
    """The nearest ``velocity [d, *points]`` without divergence: by modes where there are any, else by conjugate gradients."""
    if isinstance(ops, (PeriodicCell, PeriodicGrid)):
        return ops.project(velocity)
    return divergence_free.project(ops.divergence, velocity)
