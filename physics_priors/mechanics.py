"""Forces and stress as derivatives of one energy: conservative by construction.

F_i = -dE/dr_i and, with a symmetric strain e applied to positions and lattice alike, x -> x (1 + e),
stress = (1/V) dE/de (Knuth et al., Comput. Phys. Commun. 190, 33 (2015)): positive in tension, as in
ASE. Units follow the energy:
eV/angstrom and eV/angstrom^3. Lattice vectors are rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def per_volume(strain_slope: Tensor, cell: Tensor) -> Tensor:
    """Stress ``[G, 3, 3]`` (eV/angstrom^3) from dE/d(strain) (eV); zero where the cell has no volume."""
    a, b, c = cell.unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum(1).abs()
    periodic = volume > 0
    safe = torch.where(periodic, volume, 1.0)
    return torch.where(periodic[:, None, None], strain_slope / safe[:, None, None], 0.0)


def forces_and_stress(
    energies: Callable[[Tensor, Tensor], dict[str, Tensor]],
    positions: Tensor,
    cell: Tensor,
    graph_index: Tensor,
    *,
    stress: bool,
) -> dict[str, Tensor]:
    """Call ``energies(positions [N, 3], cell [G, 3, 3])`` once and differentiate its ``"energy" [G]``.

    Returns what it returned plus ``forces [N, 3]`` and, if asked, ``stress [G, 3, 3]`` (zero where the cell has no volume).
    The result can be differentiated again wherever gradients are enabled; under ``no_grad`` only first derivatives are built.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = positions.detach().requires_grad_(True) if not positions.requires_grad else positions
        moved, lattice, strain = leaf, cell, None
        if stress:
            strain = torch.zeros_like(cell).requires_grad_(True)
            symmetric = (strain + strain.transpose(1, 2)) / 2
            own = symmetric.expand(leaf.shape[0], 3, 3) if cell.shape[0] == 1 else symmetric[graph_index]
            moved = leaf + torch.einsum("nd,nde->ne", leaf, own)
            lattice = cell + cell @ symmetric
        out = energies(moved, lattice)
        inputs = [leaf] if strain is None else [leaf, strain]
        gradients = torch.autograd.grad(out["energy"].sum(), inputs, create_graph=create_graph)
    out["forces"] = -gradients[0]
    if stress:
        out["stress"] = per_volume(gradients[1], cell)
    if not create_graph:
        out = {name: value.detach() for name, value in out.items()}
    return out
