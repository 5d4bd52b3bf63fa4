"""Incompressible Navier-Stokes in a periodic square, by vorticity and stream function.

    d omega/dt + u . grad omega = nu laplacian(omega),   laplacian(psi) = -omega,   u = (d psi/dy, -d psi/dx)

omega is the z component of the vorticity, nu the kinematic viscosity. Viscosity is integrated exactly (integrating
factor), advection by classical fourth-order Runge-Kutta, dealiased by the 2/3 rule. Pressure (kinematic, zero mean) from
laplacian(p) = -d_i u_j d_j u_i. Reference: Canuto et al., *Spectral Methods*, Springer 2006. Units: any consistent set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .integrating_factor import runge_kutta_step
from .operators import Operators, advect
from .spectral import PeriodicGrid


@dataclass(frozen=True)
class Flow:
    """Snapshots: ``times [T]``, ``velocity [T, 2, n, n]``, ``vorticity [T, n, n]``, ``pressure [T, n, n]``."""

    times: Tensor
    velocity: Tensor
    vorticity: Tensor
    pressure: Tensor


def residual(
    operators: Operators,
    velocity: Tensor,
    pressure: Tensor,
    velocity_t: Tensor,
    viscosity: float | Tensor,
    force: float | Tensor = 0.0,
) -> tuple[Tensor, Tensor]:
    """Incompressible flow in two or three dimensions, with the kinematic ``pressure [*points]``:
    momentum ``du/dt + u . grad u + grad p - nu laplacian(u) - f  [d, *points]`` and continuity ``div u [*points]``."""
    momentum = velocity_t + advect(operators, velocity, velocity) + operators.gradient(pressure)
    return momentum - viscosity * operators.laplacian(velocity) - force, operators.divergence(velocity)


class NavierStokes2D:
    """Solver on ``num_points``^2 points of a square of side ``length``."""

    def __init__(self, num_points: int, length: float, viscosity: float):
        self.grid = PeriodicGrid((num_points, num_points), (length, length))
        self.viscosity = viscosity
        self.mask = self.grid.dealias_mask()

    def velocity(self, modes: Tensor) -> Tensor:
        """``[2, n, n]`` from the modes of the vorticity."""
        k_squared = self.grid.k_squared
        psi = torch.where(k_squared == 0, 0.0, modes / torch.where(k_squared == 0, 1.0, k_squared))
        kx, ky = self.grid.k
        return torch.stack([self.grid.inverse(1j * ky * psi), self.grid.inverse(-1j * kx * psi)])

    def pressure(self, velocity: Tensor) -> Tensor:
        """Kinematic pressure ``[n, n]`` of zero mean."""
        ux, uy = self.grid.gradient(velocity[0])
        vx, vy = self.grid.gradient(velocity[1])
        return self.grid.inverse_laplacian(-(ux * ux + 2 * uy * vx + vy * vy))

    def advection(self, modes: Tensor) -> Tensor:
        """Modes of ``-u . grad omega``, in conservation form -div(u omega)."""
        u, v = self.velocity(modes)
        omega = self.grid.inverse(modes)
        kx, ky = self.grid.k
        return -self.mask * (1j * kx * self.grid.forward(u * omega) + 1j * ky * self.grid.forward(v * omega))

    def step(self, modes: Tensor, dt: float) -> Tensor:
        """One Runge-Kutta step in the variable exp(nu k^2 t) omega_k."""
        return runge_kutta_step(modes, dt, self.viscosity * self.grid.k_squared, self.advection)

    def solve(self, vorticity: Tensor, times: Tensor, courant: float = 0.4) -> Flow:
        """From ``vorticity [n, n]`` at ``times[0]`` to every time, with steps limited by the Courant number."""
        modes = self.grid.forward(vorticity.double()) * self.mask
        spacing = self.grid.lengths[0] / self.grid.shape[0]
        velocities, vorticities, pressures = [], [], []
        for number, now in enumerate(times.tolist()):
            if number:
                span = now - float(times[number - 1])
                speed = float(self.velocity(modes).norm(dim=0).max())
                count = max(1, int(-(-span * speed // (courant * spacing))))
                for _ in range(count):
                    modes = self.step(modes, span / count)
            velocity = self.velocity(modes)
            velocities.append(velocity)
            vorticities.append(self.grid.inverse(modes))
            pressures.append(self.pressure(velocity))
        return Flow(times, torch.stack(velocities), torch.stack(vorticities), torch.stack(pressures))
