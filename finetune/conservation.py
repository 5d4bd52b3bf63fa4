"""What predictions must balance to, whatever the labels say: laws as metrics, computed with every evaluation.

Atoms that nothing holds push each other only: their forces add up to zero, and around any point so do the torques of a molecule
(Noether's theorem for translations and rotations). Charges add up to the total charge. Forces that are the gradient of an
invariant energy obey this to rounding; directly predicted ones do not. How well energy is kept is measured where there is a
trajectory: ``atomfield simulate`` prints the drift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomfield.data.graph import Graph

from .bootstrap import Measure, measure


def balance_of_forces(
    graphs: Sequence[Graph], forces: Sequence[np.ndarray], units: np.ndarray
) -> list[Measure]:
    """Mean length of the sum of the forces (eV/angstrom) and, of molecules, of the torques about their centre (eV).

    forces: per graph ``[N, 3]``; units ``[R]`` as in ``bootstrap.py``. No torque where nothing but crystals is.
    """
    net = np.array([np.linalg.norm(f.sum(axis=0)) for f in forces])
    out = [measure("forces_net_eV_per_A", "net force", "eV/Å", lambda w: (w @ net) / w.sum(), units)]
    free = np.array([not bool(g.pbc.any()) for g in graphs])
    if free.any():
        torque = np.array(
            [
                _torque(np.asarray(g.positions), f) if is_free else 0.0
                for g, f, is_free in zip(graphs, forces, free, strict=True)
            ]
        )

        def mean(w: np.ndarray) -> float:
            return float((w @ torque) / (w @ free)) if w @ free > 0 else float("nan")

        out.append(measure("forces_net_torque_eV", "net torque", "eV", mean, units))
    return out


def balance_of_charges(
    graphs: Sequence[Graph], charges: Sequence[np.ndarray], units: np.ndarray
) -> list[Measure]:
    """Mean distance of the sum of the charges from the total charge (e), over records that say theirs; none where none does."""
    known = np.array(["charge" in g.conditions for g in graphs])
    if not known.any():
        return []
    gap = np.array(
        [
            abs(float(q.sum()) - float(g.conditions["charge"])) if said else 0.0
            for g, q, said in zip(graphs, charges, known, strict=True)
        ]
    )

    def mean(w: np.ndarray) -> float:
        return float((w @ gap) / (w @ known)) if w @ known > 0 else float("nan")

    return [measure("charges_total_error_e", "total charge", "e", mean, units)]


def _torque(positions: np.ndarray, forces: np.ndarray) -> float:
    return float(np.linalg.norm(np.cross(positions - positions.mean(axis=0), forces).sum(axis=0)))
