"""Dipole of a molecule and its response to a uniform field.

    mu = sum_i [q_i (r_i - r_0) + mu_i],    E(F) = E(0) - mu . F - 1/2 F . alpha . F,    mu = -dE/dF,    alpha = -d2E/dF2

The dipole of a charged molecule depends on the origin r_0: the centre of mass here, as for the network's. In a crystal the
dipole of a cell is not defined (King-Smith and Vanderbilt, Phys. Rev. B 47, 1651 (1993)), and :func:`field_energy` refuses
one. Units: e angstrom; field V/angstrom (so that e V = eV); polarisability e^2 angstrom^2 / eV, times 14.3996 for angstrom^3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .pairs import PairEdges


def dipole(pairs: PairEdges, charges: Tensor, masses: Tensor, atomic_dipoles: Tensor | None = None) -> Tensor:
    """``[G, 3]`` e angstrom about the centre of mass; charges and masses ``[N]``, atomic_dipoles ``[N, 3]``."""
    weighted = pairs.sum_atoms(masses[:, None] * pairs.positions)
    centre = weighted / pairs.sum_atoms(masses)[:, None]
    local = charges[:, None] * (pairs.positions - centre[pairs.graph_index])
    return pairs.sum_atoms(local if atomic_dipoles is None else local + atomic_dipoles)


def field_energy(
    pairs: PairEdges, charges: Tensor, field: Tensor, atomic_dipoles: Tensor | None = None
) -> Tensor:
    """``[G]`` eV of charges in the potential -F . r of a uniform ``field [G, 3]``, zero at the origin of the coordinates.

    Its forces are q F; a neutral molecule feels none in total. ``ValueError`` where a graph has a cell.
    """
    if bool((torch.linalg.det(pairs.cell.detach()) != 0).any()):
        raise ValueError("a uniform field was put on a graph with a cell, expected molecules only")
    local = charges[:, None] * pairs.positions
    if atomic_dipoles is not None:
        local = local + atomic_dipoles
    return -(pairs.sum_atoms(local) * field).sum(1)


def field_response(energy: Callable[[Tensor], Tensor], field: Tensor) -> tuple[Tensor, Tensor]:
    """Dipole ``[G, 3]`` and polarisability ``[G, 3, 3]`` at ``field [G, 3]`` from ``energy(field) -> [G]``, by differentiation.

    Both can be differentiated again wherever gradients are enabled.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = field if field.requires_grad else field.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(leaf).sum(), leaf, create_graph=True)
        rows = [
            torch.autograd.grad(gradient[:, k].sum(), leaf, create_graph=create_graph, retain_graph=True)[0]
            if gradient.requires_grad
            else torch.zeros_like(gradient)
            for k in range(3)
        ]
        moment, polarisability = -gradient, -torch.stack(rows, dim=1)
    if not create_graph:
        return moment.detach(), polarisability.detach()
    return moment, polarisability
