"""Coulomb's law for crystals: the Ewald sum, exact to a stated accuracy, and for molecules beside them in one batch.

For charges of standard deviation s_i (0 for points) in a cell of volume V,

    E = 1/(2V) sum_{k != 0} 4 pi / k^2 |rho(k)|^2  -  self-energy of each charge,

conditionally convergent for points, is split (Ewald, Ann. Phys. 369, 253 (1921); here as in Essmann et al., J. Chem. Phys. 103,
8577 (1995), with erfc(a r) - erfc(g_ij r) in real space for Gaussians, g_ij^-2 = 2 (s_i^2 + s_j^2)):

    A_ij = sum_images [erfc(a r) - erfc(g_ij r)] / r  +  4 pi / V sum_{k != 0} exp(-k^2 / 4 a^2) / k^2 cos(k . r_ij)
           - pi / V (1 / a^2 - 1 / g_ij^2)  -  delta_ij 2 a / sqrt(pi),          E = k/2 sum_ij q_i q_j A_ij.

Dropping k = 0 means tin-foil boundary conditions and, where the total charge is not zero, a uniform neutralising background:
energies of charged cells of different volume are not comparable without a finite-size correction (Makov and Payne, Phys. Rev. B
51, 4014 (1995)), which is not applied. Self-interaction of Gaussians is left out, see ``coulomb.py``.

A graph without a cell is the limit a = 0: its pairs interact by the plain law, so molecules and crystals may share a batch. Slabs
and wires (periodic in fewer than three directions) are not covered.

Differentiable twice with respect to positions, cell, charges and widths. Terms dropped in both spaces are below ``accuracy``
relative to the largest, and so are the steps when a pair or a wave vector enters.

Legend: ``P`` periodic graphs of the batch, ``K`` wave vectors, ``n`` atoms of the largest of them. Units: e, angstrom, eV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .coulomb import COULOMB
from .lattice_sums import Box, half_lattice
from .pairs import PairEdges


def ewald_energy(
    pairs: PairEdges,
    charges: Tensor,
    cutoff: float,
    width: Tensor | None = None,
    *,
    accuracy: float = 1e-10,
) -> Tensor:
    """``[G]`` eV of point charges ``[N]``, or of Gaussians of standard deviations ``width [N]``.

    pairs: of each crystal all pairs closer than ``cutoff``, of each molecule all pairs (``find_pairs``). Time grows with the
    number of atoms times that of wave vectors, V (log(1/accuracy) / cutoff)^3: a larger cutoff is cheaper in k space.
    """
    split, waves = _waves(pairs, cutoff, accuracy)
    kernel, diagonal, background = _real_space(pairs, split, width)
    energy = pairs.sum_pairs(charges[pairs.sender] * charges[pairs.receiver] * kernel)
    energy = energy + pairs.sum_atoms(charges**2 * diagonal) / 2
    total, second = pairs.sum_atoms(charges), pairs.sum_atoms(charges * background.second)
    energy = energy + total**2 * background.first / 2 + total * second
    if waves is None:
        return energy
    amplitude = _padded(charges, waves)
    cosine, sine = (torch.einsum("pkn,pn->pk", x, amplitude) for x in waves.phases())
    power = (waves.weight * (cosine**2 + sine**2)).sum(1) / 2
    return energy.index_add(0, waves.graphs, power)


def ewald_matrix(
    pairs: PairEdges,
    cutoff: float,
    width: Tensor | None = None,
    *,
    accuracy: float = 1e-10,
) -> Tensor:
    """``A [G, m, m]`` in eV/e^2 with energy = q.A.q / 2, padded with zeros to the ``m`` atoms of the largest graph."""
    split, waves = _waves(pairs, cutoff, accuracy)
    kernel, diagonal, background = _real_space(pairs, split, width)
    place, size = places(pairs.graph_index, pairs.num_graphs)
    graph = pairs.graph_index
    matrix = kernel.new_zeros(pairs.num_graphs, size, size)
    at = (pairs.edge_graph, place[pairs.receiver], place[pairs.sender])
    matrix = matrix.index_put(at, kernel, accumulate=True)
    matrix = matrix.index_put((graph, place, place), diagonal, accumulate=True)
    second = kernel.new_zeros(pairs.num_graphs, size).index_put((graph, place), background.second)
    inside = torch.zeros_like(second).index_put((graph, place), torch.ones_like(background.second))
    constant = background.first[:, None, None] + second[:, :, None] + second[:, None, :]
    matrix = matrix + constant * inside[:, :, None] * inside[:, None, :]
    if waves is None:
        return matrix
    cosine, sine = (torch.einsum("pk,pkn,pkm->pnm", waves.weight, x, x) for x in waves.phases())
    smooth = cosine + sine
    n = smooth.shape[1]
    smooth = torch.nn.functional.pad(smooth, (0, size - n, 0, size - n))
    mask = inside[waves.graphs]
    return matrix.index_add(0, waves.graphs, smooth * mask[:, :, None] * mask[:, None, :])


def places(graph_index: Tensor, num_graphs: int) -> tuple[Tensor, int]:
    """``[N]`` the number of each atom within its graph, and the size of the largest graph."""
    counts = torch.bincount(graph_index, minlength=num_graphs)
    first = torch.cumsum(counts, 0) - counts
    place = torch.arange(len(graph_index), device=graph_index.device) - first[graph_index]
    return place, int(counts.max())


@dataclass(frozen=True)
class _Background:
    """What the missing k = 0 term takes: ``first [G] + second [N]_i + second_j`` for each i, j."""

    first: Tensor
    second: Tensor


def _real_space(
    pairs: PairEdges, split_G: Tensor, width: Tensor | None
) -> tuple[Tensor, Tensor, _Background]:
    """Kernel of pairs ``[E]``, diagonal ``[N]`` and background, all in eV/e^2."""
    distance = pairs.distances()
    kernel = torch.erfc(split_G[pairs.edge_graph] * distance)
    volume = torch.linalg.det(pairs.cell).abs()
    periodic = volume > 0
    safe = torch.where(periodic, volume, 1.0)
    first = torch.where(periodic, -COULOMB * math.pi / (safe * torch.where(periodic, split_G, 1.0) ** 2), 0.0)
    second = distance.new_zeros(len(pairs.graph_index))
    if width is not None:
        _check_widths(width, split_G)
        spread = (2 * (width[pairs.sender] ** 2 + width[pairs.receiver] ** 2)).sqrt()
        kernel = kernel - torch.erfc(distance / spread)
        over_volume = torch.where(periodic, 2 * COULOMB * math.pi / safe, 0.0)
        second = over_volume[pairs.graph_index] * width**2
    diagonal = -2 * COULOMB / math.sqrt(math.pi) * split_G[pairs.graph_index]
    return COULOMB * kernel / distance, diagonal, _Background(first, second)


def _check_widths(width: Tensor, split_G: Tensor) -> None:
    """Real space ends at the cutoff: two Gaussians must not overlap there."""
    narrowest = 1 / (2 * float(split_G.detach().max().clamp_min(1e-30)))
    if float(width.detach().max()) > narrowest * (1 + 1e-9):
        raise ValueError(
            f"a Gaussian charge is {float(width.detach().max()):.3g} angstrom wide, expected at most {narrowest:.3g} "
            "for this cutoff and accuracy; raise the cutoff in proportion"
        )


@dataclass(frozen=True)
class _Waves:
    """Wave vectors ``[P, K, 3]`` of the periodic graphs, their weights ``[P, K]`` (0 where padded) in eV/e^2, and their atoms."""

    graphs: Tensor
    vectors: Tensor
    weight: Tensor
    positions: Tensor
    member: Tensor
    row: Tensor
    place: Tensor

    def phases(self) -> tuple[Tensor, Tensor]:
        """cos and sin of k.r, ``[P, K, n]``."""
        angle = self.vectors @ self.positions.transpose(1, 2)
        return torch.cos(angle), torch.sin(angle)


def _padded(values: Tensor, waves: _Waves) -> Tensor:
    """Values of atoms ``[N]`` as ``[P, n]``, zero where padded."""
    empty = values.new_zeros(waves.positions.shape[:2])
    return empty.index_put((waves.row, waves.place), values[waves.member])


def _waves(pairs: PairEdges, cutoff: float, accuracy: float) -> tuple[Tensor, _Waves | None]:
    """The splitting parameter of each graph ``[G]`` (1/angstrom, 0 for molecules) and half of the wave vectors, +k for -k."""
    cell = pairs.cell
    periodic = torch.linalg.det(cell.detach()).abs() > 0
    digits = -math.log(accuracy)
    split = torch.where(periodic, math.sqrt(digits) / cutoff, 0.0).to(cell)
    graphs = torch.nonzero(periodic)[:, 0]
    if not len(graphs):
        return split, None
    integers = _half_lattice(cell.detach()[graphs], 2 * digits / cutoff)
    vectors = 2 * math.pi * integers @ torch.linalg.inv(cell[graphs]).transpose(1, 2)
    square = (vectors**2).sum(2)
    real = square > 0
    safe = torch.where(real, square, 1.0)
    volume = torch.linalg.det(cell[graphs]).abs()[:, None]
    gauss = torch.exp(-safe / (4 * split[graphs, None] ** 2))
    weight = torch.where(real, 2 * COULOMB * 4 * math.pi / volume * gauss / safe, 0.0)
    row_of = torch.full((pairs.num_graphs,), -1, device=cell.device, dtype=torch.int64)
    row_of[graphs] = torch.arange(len(graphs), device=cell.device)
    member = torch.nonzero(periodic[pairs.graph_index])[:, 0]
    row, place = row_of[pairs.graph_index[member]], places(pairs.graph_index, pairs.num_graphs)[0][member]
    empty = pairs.positions.new_zeros(len(graphs), int(place.max()) + 1, 3)
    positions = empty.index_put((row, place), pairs.positions[member])
    return split, _Waves(graphs, vectors, weight, positions, member, row, place)


def _half_lattice(cell: Tensor, longest: float) -> Tensor:
    """``[P, K, 3]`` integers n with |2 pi inv(cell) n| <= ``longest``, one of each pair n and -n, padded with zero rows."""
    found = [half_lattice(Box(lattice, (False, False, False)), longest)[1:] for lattice in cell]
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
