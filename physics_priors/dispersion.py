"""D3(BJ): London dispersion between atoms in their environment.

    E = - sum_{i<j} sum_{n=6,8} s_n C_n / (r^n + f^n) s(r),      f = a1 sqrt(C_8 / C_6) + a2,     C_8 = 3 C_6 R_i R_j
    C_6 = sum_ab W_ia W_jb C_6^ref_ab,     W_ia ~ exp(-4 (CN_i - CN_a^ref)^2),
    CN_i = sum_j 1 / (1 + exp(-16 (R_ij^cov / r - 1)))

(Grimme et al., J. Chem. Phys. 132, 154104 (2010); damping of Becke and Johnson: Grimme, Ehrlich and Goerigk, J. Comput. Chem. 32,
1456 (2011).) The tables of reference systems and the parameters of functionals are those of tad-dftd3 (Apache-2.0), which is
for molecules; the sum here is over pairs, hence for crystals as well, and differentiable twice.

Departures: the three-body term (ATM) is left out, which D3(BJ) in its common form has not; ``s`` is the quintic switch of
``pairs.py``, over pairs and coordination numbers, where the reference cuts sharply at 32 and 21 angstrom. The tail beyond a
cutoff R is about -2 pi rho^2 C_6 / 3 R^3 per volume: let R be 12 angstrom or more.

D4 is in ``dispersion_d4.py`` by its reference implementation: tad-dftd4 (0.8), which is for tensors, asks for numpy < 2 and for
another tad-mctc than tad-dftd3 does.

Needs the extra ``atomfield[dispersion]``. Units: angstrom and eV outside, bohr and hartree in the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .pairs import PairEdges, switch
from .zbl import BOHR

HARTREE = 27.211386245988
"""eV (CODATA 2018)."""
_STEEPNESS_CN, _STEEPNESS_WEIGHT = 16.0, 4.0


@dataclass(frozen=True)
class RationalDamping:
    """s6, s8 and a1 are pure numbers, a2 is in bohr. Tensors may stand in for them, to be identified from data."""

    s8: Tensor | float
    a1: Tensor | float
    a2: Tensor | float
    s6: Tensor | float = 1.0


@dataclass(frozen=True)
class D3Tables:
    """By atomic number, atomic units: covalent radius ``[Z]``, r4r2 ``[Z]``, CN of the reference systems ``[Z, 7]`` (-1 where
    there is none) and C6 between them ``[Z, Z, 7, 7]``; Z = 104 (hydrogen to lawrencium)."""

    covalent: Tensor
    r4r2: Tensor
    reference_cn: Tensor
    reference_c6: Tensor


@cache
def d3_tables() -> D3Tables:
    """The tables of tad-dftd3, float64 on the CPU. ``ImportError`` without the extra."""
    try:
        from tad_dftd3 import data, reference
        from tad_mctc.data import radii
    except ImportError as error:
        raise ImportError(_MISSING) from error
    known = reference.Reference(dtype=torch.float64)
    size = known.cn.shape[0]
    covalent = radii.COV_D3(dtype=torch.float64)[:size]
    return D3Tables(covalent, data.R4R2(dtype=torch.float64)[:size], known.cn, known.c6)


_MISSING = "D3 dispersion needs tad-dftd3: pip install 'atomfield[dispersion]'"


def damping_of(functional: str) -> RationalDamping:
    """Parameters of a density functional ("pbe", "b3lyp", "r2scan"), from the data base of s-dftd3.

    ``ValueError`` for a functional without Becke-Johnson parameters.
    """
    try:
        from tad_dftd3.param import get_functional_params
    except ImportError as error:
        raise ImportError(_MISSING) from error
    try:
        found = get_functional_params(functional, damping="bj", dtype=torch.float64)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"no D3(BJ) parameters are known for the functional {functional!r}, expected e.g. 'pbe' or 'b3lyp'"
        ) from error
    return RationalDamping(*(float(found[name]) for name in ("s8", "a1", "a2", "s6")))


def coordination_numbers(
    pairs: PairEdges, tables: D3Tables, cutoff: float | None = None, onset: float | None = None
) -> Tensor:
    """``[N]`` fractional number of bonds of each atom."""
    distance = pairs.distances()
    radius = tables.covalent.to(distance)[pairs.species] * BOHR
    bond = (radius[pairs.sender] + radius[pairs.receiver]) / distance
    count = torch.sigmoid(_STEEPNESS_CN * (bond - 1))
    if cutoff is not None:
        count = count * switch(distance, 0.8 * cutoff if onset is None else onset, cutoff)
    return count.new_zeros(len(pairs.species)).index_add(0, pairs.receiver, count)


def c6_coefficients(pairs: PairEdges, tables: D3Tables, coordination: Tensor) -> Tensor:
    """``[E]`` C6 of each pair in hartree bohr^6, interpolated between reference systems by coordination number ``[N]``."""
    reference = tables.reference_cn.to(coordination)[pairs.species]
    exponent = -_STEEPNESS_WEIGHT * (reference - coordination[:, None]) ** 2
    weight = torch.softmax(exponent.masked_fill(reference < 0, -torch.inf), dim=1)
    present, index = torch.unique(pairs.species, return_inverse=True)
    table = tables.reference_c6[present.cpu()][:, present.cpu()].to(coordination)
    # first over the systems of the sender, for each species that the receiver may be: 7 and not 49 numbers per pair
    toward = torch.einsum("nsab,na->nsb", table[index], weight)
    return (toward[pairs.sender, index[pairs.receiver]] * weight[pairs.receiver]).sum(1)


def dispersion(
    pairs: PairEdges,
    damping: RationalDamping,
    cutoff: float | None = None,
    *,
    onset: float | None = None,
    tables: D3Tables | None = None,
) -> Tensor:
    """``[G]`` eV. Pairs of crystals reach to ``cutoff``; all of it is switched off from ``onset`` (0.8 cutoff) to ``cutoff``.

    ``ValueError`` for elements without parameters (Z = 0 or beyond 103).
    """
    tables = d3_tables() if tables is None else tables
    low, high = int(pairs.species.min()), int(pairs.species.max())
    if low < 1 or high >= len(tables.covalent):
        wrong = high if low >= 1 else low
        raise ValueError(
            f"D3 has no parameters for atomic number {wrong}, expected 1 to {len(tables.covalent) - 1}"
        )
    c6 = c6_coefficients(pairs, tables, coordination_numbers(pairs, tables, cutoff, onset))
    distance = pairs.distances()
    r = distance / BOHR
    r4r2 = tables.r4r2.to(r)[pairs.species]
    ratio = 3 * r4r2[pairs.sender] * r4r2[pairs.receiver]
    contact = damping.a1 * ratio.sqrt() + damping.a2
    r2, f2 = r * r, contact * contact
    r6, f6 = r2 * r2 * r2, f2 * f2 * f2
    energy = -c6 * (damping.s6 / (r6 + f6) + damping.s8 * ratio / (r6 * r2 + f6 * f2))
    if cutoff is not None:
        energy = energy * switch(distance, 0.8 * cutoff if onset is None else onset, cutoff)
    return HARTREE * pairs.sum_pairs(energy)
