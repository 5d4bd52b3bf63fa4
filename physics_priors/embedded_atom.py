"""Embedded atoms: each atom in the electron density of its neighbours, and a pair repulsion; for metals and their alloys.

    E = sum_i F_i(rho_i) + 1/2 sum_{i != j} phi_ij(r_ij),        rho_i = sum_{j != i} f_j(r_ij)

(Daw and Baskes, Phys. Rev. B 29, 6443 (1984)) with the functions of Zhou, Johnson and Wadley, Phys. Rev. B 69, 144113
(2004), x = r / r_e:

    f(r)    = f_e exp(-beta_1 (x - 1)) / (1 + (x - lambda_1)^20)
    phi(r)  = A exp(-alpha (x - 1)) / (1 + (x - kappa)^20)  -  B exp(-beta (x - 1)) / (1 + (x - lambda)^20)
    phi_ab  = (f_b / f_a phi_a + f_a / f_b phi_b) / 2
    F(rho)  = sum_k Fi_k (rho / rho_n - 1)^k                    rho < rho_n = h_n rho_e
              sum_k Fm_k (rho / rho_e - 1)^k                    rho_n <= rho < rho_o = h_o rho_e, Fm_3 below and Fm_4 above rho_e
              Fn [1 - eta log(rho / rho_s)] (rho / rho_s)^eta   rho_o <= rho

The pieces of F meet to the digits of the published constants. The common quintic switch ends f and phi smoothly; the paper cuts
them off. Units: eV, angstrom; densities are in units of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .pairs import PairEdges, switch

NAMES = (
    *("r_e", "f_e", "rho_e", "rho_s", "alpha", "beta", "A", "B", "kappa", "lambda"),
    *("Fi0", "Fi1", "Fi2", "Fi3", "Fm0", "Fm1", "Fm2", "Fm3", "eta", "Fn"),
    *("Fm4", "beta_1", "lambda_1", "h_n", "h_o"),
)
"""The constants of an element in order; Fm4 is the cubic coefficient above rho_e."""


def table(constants: Mapping[int, tuple[float, ...]]) -> Tensor:
    """``[119, 25]`` float64 of atomic number -> constants in the order of ``NAMES``; NaN where an element has none."""
    found = torch.full((119, len(NAMES)), float("nan"), dtype=torch.float64)
    for number, values in constants.items():
        found[number] = torch.tensor(values, dtype=torch.float64)
    return found


def embedded_atom(pairs: PairEdges, constants: Tensor, cutoff: float) -> Tensor:
    """``[G]`` eV. ``constants``: of :func:`table`; switched off over the last eighth of ``cutoff``. Raises ``ValueError`` for an
    element without constants."""
    unknown = torch.isnan(constants[pairs.species, 0])
    if bool(unknown.any()):
        raise ValueError(f"no constants for atomic number {int(pairs.species[unknown][0])}")
    distance = pairs.distances()
    off = switch(distance, 0.875 * cutoff, cutoff)
    of = lambda atoms: dict(zip(NAMES, constants[pairs.species[atoms]].unbind(1), strict=True))  # noqa: E731
    here, there = of(pairs.receiver), of(pairs.sender)
    f_here, f_there = _density(distance, here), _density(distance, there)
    ratio = f_there / f_here
    pair = (ratio * _pair(distance, here) + _pair(distance, there) / ratio) / 2
    same = pairs.species[pairs.receiver] == pairs.species[pairs.sender]
    pair = torch.where(same, _pair(distance, here), pair)
    density = distance.new_zeros(len(pairs.species)).index_add(0, pairs.receiver, f_there * off)
    atom = dict(zip(NAMES, constants[pairs.species].unbind(1), strict=True))
    return pairs.sum_pairs(pair * off) + pairs.sum_atoms(_embedding(density, atom))


def _screened(distance: Tensor, r_e: Tensor, decay: Tensor, shift: Tensor) -> Tensor:
    x = distance / r_e
    return torch.exp(-decay * (x - 1)) / (1 + (x - shift) ** 20)


def _density(distance: Tensor, c: dict[str, Tensor]) -> Tensor:
    return c["f_e"] * _screened(distance, c["r_e"], c["beta_1"], c["lambda_1"])


def _pair(distance: Tensor, c: dict[str, Tensor]) -> Tensor:
    repulsion = c["A"] * _screened(distance, c["r_e"], c["alpha"], c["kappa"])
    return repulsion - c["B"] * _screened(distance, c["r_e"], c["beta"], c["lambda"])


def _embedding(density: Tensor, c: dict[str, Tensor]) -> Tensor:
    inner, outer = c["h_n"] * c["rho_e"], c["h_o"] * c["rho_e"]
    x = density / inner - 1
    low = c["Fi0"] + x * (c["Fi1"] + x * (c["Fi2"] + x * c["Fi3"]))
    x = density / c["rho_e"] - 1
    cubic = torch.where(density < c["rho_e"], c["Fm3"], c["Fm4"])
    middle = c["Fm0"] + x * (c["Fm1"] + x * (c["Fm2"] + x * cubic))
    # the power is not differentiable at zero: an atom without neighbours reads the first piece
    safe = torch.where(density < outer, outer, density) / c["rho_s"]
    power = safe ** c["eta"]
    high = c["Fn"] * (1 - c["eta"] * torch.log(safe)) * power
    return torch.where(density < inner, low, torch.where(density < outer, middle, high))
