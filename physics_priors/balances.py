"""What the parts of a closed system add up to: charges to the total charge, forces and torques to nothing.

    sum_i q_i = Q,      sum_i F_i = 0,      sum_i (x_i - X) x F_i = 0        (Noether: translations and rotations of space)

X is the centre of the positions; the torque does not depend on it where the forces add up to zero. Units: e, eV/angstrom, eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .law import Law, Values

BalanceName = Literal["net_charge", "net_force", "net_torque"]


@dataclass(frozen=True)
class Bodies:
    """``positions [N, 3]`` of the atoms of ``num_graphs`` systems, ``graph_index [N]``. free ``[G]``: not periodic, so that
    torques balance."""

    positions: Tensor
    graph_index: Tensor
    num_graphs: int
    free: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """``[G, ...]`` of ``[N, ...]``."""
        zeros = values.new_zeros(self.num_graphs, *values.shape[1:])
        return zeros.index_add(0, self.graph_index, values)

    def counts(self) -> Tensor:
        """``[G]`` atoms."""
        return self.sum(torch.ones_like(self.positions[:, 0]))

    def per_atom(self, values: Tensor) -> Tensor:
        """Values of systems ``[G, ...]`` divided among their atoms, ``[N, ...]``."""
        counts = self.counts().to(values)
        return (values / counts.reshape(-1, *[1] * (values.dim() - 1)))[self.graph_index]

    def arms(self) -> Tensor:
        """``[N, 3]`` positions from the centre of each system."""
        return self.positions - self.per_atom(self.sum(self.positions))


def balance(name: BalanceName) -> Law[Bodies]:
    """The law of that name; residuals are per system, ``[G]`` or ``[G, 3]``."""
    match name:
        case "net_charge":  # a total that is not known (NaN) asks for nothing
            return Law(
                name,
                lambda b, v, _, c: torch.nan_to_num(b.sum(v["charges"]) - c["charge"].to(v["charges"])),
                lambda b, v, _: _size(v["charges"]),
                reads=("charges",),
                constants=("charge",),
            )
        case "net_force":
            return Law(
                name,
                lambda b, v, _, c: b.sum(v["forces"]),
                lambda b, v, _: _size(v["forces"]),
                reads=("forces",),
                impose=lambda b, v: {"forces": v["forces"] - b.per_atom(b.sum(v["forces"]))},
                order=0,
            )
        case "net_torque":
            return Law(
                name,
                lambda b, v, _, c: _torque(b, v),
                lambda b, v, _: _size(v["forces"]) * _size(b.arms()),
                reads=("forces",),
                order=0,
            )


def with_total(bodies: Bodies, charges: Tensor, total: Tensor) -> Tensor:
    """``charges [N]`` moved by one amount per system so that they add up to ``total [G]``: the hard form of ``net_charge``."""
    return charges - bodies.per_atom(bodies.sum(charges) - total)


def _torque(bodies: Bodies, values: Values) -> Tensor:
    """``[G, 3]``, zero where something repeats."""
    torque = bodies.sum(torch.linalg.cross(bodies.arms().to(values["forces"]), values["forces"]))
    return torque * bodies.free[:, None]


def _size(values: Tensor) -> Tensor:
    """``[]`` root mean square length, at least 1e-30."""
    return values.square().reshape(len(values), -1).sum(1).mean().sqrt().clamp_min(1e-30)
