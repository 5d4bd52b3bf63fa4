"""Laws of fields on any discretisation, by name: what a state or a step of a simulation should satisfy.

Vectors have one component per dimension of the domain (three on graphs: a plane lies in z = 0). Units: any consistent set.
Where the law is an equation of motion its residual is that of its own file (``navier_stokes.py``, ...), and its size is the rate
of change that it explains; conditions are measured against the gradients or values that cancel in them.
``direction``: a unit vector at every point, along which a law knows left from right.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from . import (
    advection_diffusion,
    allen_cahn,
    burgers,
    divergence_free,
    heat,
    kdv,
    kuramoto_sivashinsky,
    navier_stokes,
    poisson,
    reaction_diffusion,
    shallow_water,
    wave,
)
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
    "acoustics",
    "shallow_water",
    "gray_scott",
    "allen_cahn",
    "kdv",
    "kuramoto_sivashinsky",
    "wave",
    "darcy",
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
        case "acoustics":  # linear sound; both equations in units of the rate of the velocity
            return Law(
                "acoustics",
                _acoustics,
                lambda ops, v, r: rms(r["velocity"]),
                reads=("pressure", "velocity"),
                explains=("pressure", "velocity"),
                constants=("wave_speed",),
            )
        case "shallow_water":  # over a flat bottom; the gravity is wave_speed^2 / mean depth
            return Law(
                "shallow_water",
                _shallow_water,
                lambda ops, v, r: rms(r["velocity"]),
                reads=("depth", "velocity"),
                explains=("depth", "velocity"),
                constants=("wave_speed", "viscosity"),
                order=2,
            )
        case "gray_scott":  # of the substrate: records do not hold the diffusivity of the catalyst
            return Law(
                "gray_scott",
                _gray_scott,
                lambda ops, v, r: rms(r["concentration"]),
                reads=("concentration", "second_concentration"),
                explains=("concentration",),
                constants=("diffusivity", "reaction_rate", "feed"),
                order=2,
            )
        case "allen_cahn":  # of an order parameter whose phases are at 1 and -1
            return Law(
                "allen_cahn",
                lambda ops, v, r, c: allen_cahn.residual(
                    ops, v["solution"], r["solution"], c["diffusivity"], c["double_well_rate"]
                ),
                lambda ops, v, r: rms(r["solution"]),
                reads=("solution",),
                explains=("solution",),
                constants=("diffusivity", "double_well_rate"),
                order=2,
            )
        case "kdv":  # along a direction
            return Law(
                "kdv",
                lambda ops, v, r, c: kdv.residual_along(
                    ops, v["solution"], r["solution"], v["direction"], c["advection"], c["dispersion"]
                ),
                lambda ops, v, r: rms(r["solution"]),
                reads=("solution", "direction"),
                explains=("solution",),
                constants=("advection", "dispersion"),
                order=3,
            )
        case "kuramoto_sivashinsky":  # of the slope of a front, which is carried by itself
            return Law(
                "kuramoto_sivashinsky",
                lambda ops, v, r, c: kuramoto_sivashinsky.residual_vector(
                    ops, v["velocity"], r["velocity"], c["antidiffusivity"], c["hyperdiffusivity"]
                ),
                lambda ops, v, r: rms(r["velocity"]),
                reads=("velocity",),
                explains=("velocity",),
                constants=("antidiffusivity", "hyperdiffusivity"),
                order=4,
            )
        case "wave":  # of one field, of second order in time
            return Law(
                "wave",
                lambda ops, v, r, c: wave.residual(ops, v["solution"], r["solution"], c["wave_speed"]),
                lambda ops, v, r: rms(r["solution"]),
                reads=("solution",),
                explains=("solution",),
                constants=("wave_speed",),
                order=2,
                time_order=2,
            )
        case "darcy":  # a steady flux with a uniform source
            return Law(
                "darcy",
                lambda ops, v, _, c: poisson.residual(ops, v["solution"], c["source"], v["permeability"]),
                lambda ops, v, _: rms(ops.divergence(v["permeability"] * ops.gradient(v["solution"]))),
                reads=("solution", "permeability"),
                constants=("source",),
                order=2,
                time_order=0,
            )
        case "conserved_concentration":
            return _conserved("conserved_concentration", "concentration")
        case "conserved_momentum":
            return _conserved("conserved_momentum", "velocity")


def _acoustics(ops: Operators, v: Values, r: Values, c: Values) -> Tensor:
    """``[1 + d, *points]``: mass over the wave speed, then momentum."""
    mass, momentum = wave.acoustic_residual(
        ops, v["pressure"], v["velocity"], r["pressure"], r["velocity"], c["wave_speed"]
    )
    return torch.cat([(mass / c["wave_speed"].detach())[None], momentum])


def _shallow_water(ops: Operators, v: Values, r: Values, c: Values) -> Tensor:
    """``[1 + d, *points]``: mass over depth times the wave speed, then momentum."""
    still = spread(ops.mean(v["depth"]), v["depth"])
    mass, momentum = shallow_water.residual(
        ops, v["depth"], v["velocity"], r["depth"], r["velocity"], c["wave_speed"] ** 2 / still
    )
    momentum = momentum - c["viscosity"] * ops.laplacian(v["velocity"])
    return torch.cat([(mass * c["wave_speed"].detach() / still)[None], momentum])


def _gray_scott(ops: Operators, v: Values, r: Values, c: Values) -> Tensor:
    """``[*points]`` of the first species."""
    own, other = v["concentration"], v["second_concentration"]
    reaction = reaction_diffusion.gray_scott(c["feed"], 0.0)
    return reaction_diffusion.residual(
        ops, (own, other), (r["concentration"], torch.zeros_like(other)), (c["diffusivity"], 0.0), c["reaction_rate"], reaction
    )[0]  # fmt: skip


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
