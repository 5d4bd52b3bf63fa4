"""Charges of atoms that add up to the total charge Q which a structure states.

    q_i' = q_i + (Q - sum_j q_j) / N

A charge is read off the neighbourhood of its atom, so nothing ties the network's own to a total. What is missing is divided among
the atoms in equal shares, the correction of PhysNet (Unke and Meuwly, J. Chem. Theory Comput. 15, 3678 (2019)). It is made when
a question is answered and not within the network: a share depends on whatever else is in the structure, and what the network
learns stays local. Where atoms carry the charge of their own fragment (``fragment_charge``), those of neutral fragments add up to
zero and the others to Q, so an ion does not feel its neutral neighbours. No energy rests on these charges; a network with
``electrostatics`` has charges that add up by themselves (``models/electrostatics.py``), in the energy too: nothing is missing.

The dipole is the network's own, about the centre of mass, also of ions: it was trained as a quantity of its own, and moving it
along with the charges makes it worse for anions (``benchmarks/total_charge.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.balances import Bodies


def with_stated_total(out: dict[str, Tensor], batch: GraphBatch) -> dict[str, Tensor]:
    """``out`` of a network with ``charges [N]`` (e, float64) that add up in each graph of ``batch`` whose total charge is known;
    others keep theirs. Differentiable."""
    total = batch.conditions.get("charge")
    if total is None or "charges" not in out:
        return out
    charges, part = out["charges"].double(), batch.graph_index
    own = batch.quantities.get("fragment_charge")
    if own is None and len(total) == 1:  # a step of dynamics, where microseconds count
        return out | {"charges": charges + torch.nan_to_num((total - charges.sum()) / len(charges))}
    if own is not None:
        charged = torch.zeros_like(total).index_add(0, part, (own != 0).to(total)) > 0
        part = 2 * part + (own == 0)
        total = torch.stack([total, torch.where(charged, 0.0, total)], dim=1).flatten()
    bodies = Bodies(batch.positions, part, len(total), total.isfinite())
    return out | {"charges": charges + bodies.per_atom(torch.nan_to_num(total - bodies.sum(charges)))}
