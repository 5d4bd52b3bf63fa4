"""D4: London dispersion whose coefficients follow the charges of the atoms, with the three-body term.

    E = - sum_{i<j} sum_{n=6,8} s_n C_n(q, CN) / (r^n + f^n)  +  E_ATM(C_9),      q by electronegativity equilibration

(Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019); periodic: Phys. Chem. Chem. Phys. 22, 8499 (2020).) Energies and their
first derivatives are those of the reference implementation, the package dftd4 (LGPL-3.0, optional), with its own cutoffs, 60
bohr for pairs, 40 for triples and 30 for coordination numbers, the first two switched off over the last ``WIDTH``. Second
derivatives are central differences of its first ones. There is no gradient with respect to the damping's parameters; D3(BJ) in
``dispersion.py`` has one, and ends smoothly at a cutoff of one's choice.

Needs the extra ``atomfield[d4]``. Units: angstrom and eV outside, bohr and hartree inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .pairs import PairEdges
from .zbl import BOHR

HARTREE = 27.211386245988
"""eV (CODATA 2018)."""
HEAVIEST = 103
WIDTH = 6.0
"""bohr."""
STEP = 5e-4
"""angstrom, the largest displacement of a second derivative."""


@cache
def damping_d4(functional: str) -> Any:
    """The reference implementation's own object for a density functional ("pbe", "b3lyp", "r2scan"). ``ImportError`` without the
    extra, ``ValueError`` for a functional without parameters."""
    try:
        from dftd4.interface import DampingParam
    except ImportError as error:
        raise ImportError("D4 dispersion needs dftd4: pip install 'atomfield[d4]'") from error
    try:
        return DampingParam(method=functional)
    except RuntimeError as error:
        raise ValueError(
            f"no D4 parameters are known for the functional {functional!r}, expected e.g. 'pbe' or 'b3lyp'"
        ) from error


def dispersion_d4(pairs: PairEdges, functional: str, charge: Tensor | None = None) -> Tensor:
    """``[G]`` eV, float64; the pairs themselves are not read. functional: as in "pbe"; charge: ``[G]`` of each graph, default 0.

    Differentiable twice with respect to positions and cell. ``ImportError`` without the extra; ``ValueError`` for an unknown
    functional, an element that D4 does not have, or a graph that repeats in one or two directions alone.
    """
    repeats = pairs.cell.abs().sum(2) > 0
    partial = (repeats.any(1) & ~repeats.all(1)).nonzero().flatten().tolist()
    if partial:
        raise ValueError(
            f"graph {partial[0]} repeats in {int(repeats[partial[0]].sum())} directions, D4 knows none or three"
        )
    low, high = int(pairs.species.min()), int(pairs.species.max())
    if low < 1 or high > HEAVIEST:
        raise ValueError(
            f"D4 has no parameters for atomic number {high if low >= 1 else low}, expected 1 to {HEAVIEST}"
        )
    totals = [0.0] * pairs.num_graphs if charge is None else charge.tolist()
    nodes = [(pairs.graph_index == g).nonzero().flatten().cpu() for g in range(pairs.num_graphs)]
    system = _System(functional, pairs.species.cpu().numpy(), nodes, totals)
    positions, cell = pairs.positions.double().cpu(), pairs.cell.double().cpu()
    return _Energy.apply(positions, cell, system).to(pairs.positions.device)


@dataclass(frozen=True)
class _System:
    """What does not move: ``species [N]``, ``nodes`` and ``charges`` of each graph."""

    functional: str
    species: np.ndarray
    nodes: list[Tensor]
    charges: list[float]

    def evaluate(self, positions: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(energy ``[G]``, its slopes with positions ``[N, 3]`` and cell ``[G, 3, 3]``), eV and angstrom."""
        damping = damping_d4(self.functional)
        from dftd4.interface import DispersionModel

        energy, slope, slope_cell = (
            torch.zeros(len(cell)),
            torch.zeros_like(positions),
            torch.zeros_like(cell),
        )
        energy = energy.double()
        for graph, nodes in enumerate(self.nodes):
            lattice = cell[graph].detach()
            periodic = bool(lattice.abs().sum() > 0)
            place = positions[nodes].detach()
            try:
                model = DispersionModel(
                    self.species[nodes.numpy()],
                    place.numpy() / BOHR,
                    self.charges[graph],
                    lattice.numpy() / BOHR if periodic else None,
                    np.ones(3, dtype=bool) if periodic else None,
                )
                model.set_realspace_cutoff(60.0, 40.0, 30.0, WIDTH, WIDTH)
                found = model.get_dispersion(damping, grad=True)
            except RuntimeError as error:
                raise ValueError(f"D4 of graph {graph} failed: {error}") from error
            energy[graph] = HARTREE * float(found["energy"])
            slope[nodes] = HARTREE / BOHR * torch.from_numpy(found["gradient"])
            if periodic:
                # dE/d(strain) = x^T dE/dx + h^T dE/dh
                strain = HARTREE * torch.from_numpy(found["virial"])
                slope_cell[graph] = torch.linalg.solve(lattice.T, strain - place.T @ slope[nodes])
        return energy, slope, slope_cell


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions, cell, system):
        energy, slope, slope_cell = system.evaluate(positions, cell)
        ctx.save_for_backward(positions, cell, slope, slope_cell)
        ctx.system = system
        return energy

    @staticmethod
    def backward(ctx, upstream):
        positions, cell, *known = ctx.saved_tensors
        slope, slope_cell = _Slopes.apply(positions, cell, ctx.system, *known)
        graph_index = torch.empty(len(positions), dtype=torch.long)
        for graph, nodes in enumerate(ctx.system.nodes):
            graph_index[nodes] = graph
        return upstream[graph_index, None] * slope, upstream[:, None, None] * slope_cell, None


class _Slopes(torch.autograd.Function):
    """The first derivatives as a function of positions and cell; ``known`` is their value here."""

    @staticmethod
    def forward(ctx, positions, cell, system, slope, slope_cell):
        ctx.save_for_backward(positions, cell)
        ctx.system = system
        return slope.clone(), slope_cell.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, along, along_cell):
        """The Hessian is symmetric, so its product with a direction is the change of the slopes in that direction."""
        positions, cell = ctx.saved_tensors
        largest = float(torch.cat([along.abs().flatten(), along_cell.abs().flatten()]).max())
        if largest == 0:
            return torch.zeros_like(positions), torch.zeros_like(cell), None, None, None
        step = STEP / largest
        up, down = (
            ctx.system.evaluate(positions + s * step * along, cell + s * step * along_cell)[1:]
            for s in (1, -1)
        )
        return (up[0] - down[0]) / (2 * step), (up[1] - down[1]) / (2 * step), None, None, None
