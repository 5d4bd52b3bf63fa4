"""Incompressible flow around solid obstacles in a periodic square, by volume penalisation.

    du/dt + u . grad u + grad p - nu laplacian(u) = -(chi / eta) u,   div u = 0

chi is 1 in the solid and 0 in the fluid, smoothed over about one grid width; eta -> 0 makes the solid impermeable and the
flow stick to it, with an error of order sqrt(nu eta) (Angot, Bruneau and Fabrie, Numer. Math. 81, 497 (1999)). Advection by
classical Runge-Kutta with viscosity exact (``integrating_factor``), then the penalty exactly, then the projection onto
divergence-free fields, in every step: first order in time at the wall. Kinematic pressure of zero mean from the divergence of
the momentum equation, the force of the solid included. Units: any consistent set.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .integrating_factor import runge_kutta_step
from .navier_stokes import Flow
from .spectral import PeriodicGrid


def solid_fraction(signed_distance: Tensor, spacing: float, width: float = 1.0) -> Tensor:
    """chi from the distance to the wall (positive in the fluid): 1/2 on the wall, over ``width`` grid widths."""
    return 0.5 * (1 - torch.tanh(2 * signed_distance / (width * spacing)))


class PenalizedFlow2D:
    """Solver on ``n``^2 points of a square of side ``length``; ``solid [n, n]`` is chi, ``permeability`` is eta (a time)."""

    def __init__(self, solid: Tensor, length: float, viscosity: float, permeability: float):
        n = solid.shape[0]
        if solid.shape != (n, n):
            raise ValueError(f"solid has shape {list(solid.shape)}, expected [n, n]")
        if not permeability > 0:
            raise ValueError(f"permeability is {permeability}, expected a positive time")
        self.grid = PeriodicGrid((n, n), (length, length))
        self.solid, self.viscosity, self.permeability = solid.double(), viscosity, permeability
        self.mask = self.grid.dealias_mask()

    def advection(self, modes: Tensor) -> Tensor:
        """Modes ``[2, n, n/2+1]`` of the projected ``-div(u u)``, dealiased by the 2/3 rule."""
        u, v = self.grid.inverse(modes)
        uu, uv, vv = (self.mask * self.grid.forward(x) for x in (u * u, u * v, v * v))
        kx, ky = self.grid.k
        return self._project(torch.stack([-1j * (kx * uu + ky * uv), -1j * (kx * uv + ky * vv)]))

    def _project(self, modes: Tensor) -> Tensor:
        kx, ky = self.grid.k
        square = kx * kx + ky * ky
        along = (kx * modes[0] + ky * modes[1]) / torch.where(square == 0, 1.0, square)
        return modes - torch.stack([kx * along, ky * along])

    def step(self, modes: Tensor, dt: float) -> Tensor:
        """One step of the modes of the velocity."""
        modes = runge_kutta_step(modes, dt, self.viscosity * self.grid.k_squared, self.advection)
        drag = torch.exp(-self.solid * (dt / self.permeability))
        return self._project(self.mask * self.grid.forward(drag * self.grid.inverse(modes)))

    def pressure(self, velocity: Tensor) -> Tensor:
        """Kinematic pressure ``[n, n]`` of zero mean; its source is the divergence of advection and of the drag."""
        u, v = velocity
        force = -self.solid / self.permeability * velocity
        ux, uy = self.grid.gradient(u)
        vx, vy = self.grid.gradient(v)
        return self.grid.inverse_laplacian(self.grid.divergence(force) - (ux * ux + 2 * uy * vx + vy * vy))

    def solve(
        self, velocity: Tensor, times: Tensor, courant: float = 0.3, largest_step: float | None = None
    ) -> Flow:
        """From ``velocity [2, n, n]``, projected first, to every time; steps are limited by the Courant number."""
        modes = self._project(self.mask * self.grid.forward(velocity.double()))
        spacing = self.grid.lengths[0] / self.grid.shape[0]
        velocities = []
        for number, now in enumerate(times.tolist()):
            if number:
                span = now - float(times[number - 1])
                speed = float(self.grid.inverse(modes).norm(dim=0).max())
                limit = min(courant * spacing / max(speed, 1e-12), largest_step or span)
                count = max(1, int(-(-span // limit)))
                for _ in range(count):
                    modes = self.step(modes, span / count)
            velocities.append(self.grid.inverse(modes))
        stacked = torch.stack(velocities)
        curls = torch.stack([self.grid.curl_2d(u) for u in velocities])
        return Flow(times, stacked, curls, torch.stack([self.pressure(u) for u in velocities]))
