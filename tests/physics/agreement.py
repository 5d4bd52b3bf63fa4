"""How a law is judged: what the network says, and what counts as equal.

Everything is float64. Two tolerances, both relative to the largest entry of what is compared:

* ``EXACT`` 1e-10: the law holds in exact arithmetic, and what remains is rounding (1e-16) amplified
  through two layers, products of order three and one derivative. Measured errors are at most 1.4e-14; a term that breaks the
  law shows at 1e-3 and above, and tables rounded to float32 at 5e-9.
* ``NUMERICAL`` 1e-6: comparison with a fourth-order finite difference, whose own error is h^4 / 30 of the fifth derivative
  (measured: 1.5e-11 for forces and stress, 4e-9 for the gradient of a force loss).
"""

from __future__ import annotations

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY
from atomfield.models.network import AtomFieldNet, graphs_to_batch

EXACT = 1e-10
NUMERICAL = 1e-6


def outputs(net: AtomFieldNet, *graphs: Graph) -> dict[str, Tensor]:
    stress = all(bool(g.pbc.all()) for g in graphs)
    with torch.no_grad():
        return net(graphs_to_batch(net.config, list(graphs)), stress=stress)


def irreps_of(name: str) -> str:
    return VOCABULARY[name].irreps if name in VOCABULARY else "0e"


def agree(found: Tensor, expected: Tensor, what: str, tolerance: float = EXACT) -> None:
    """Largest difference below ``tolerance`` times the largest entry; the reference must be finite and not all zero."""
    assert torch.isfinite(found).all(), f"{what}: not finite"
    assert torch.isfinite(expected).all(), f"{what}: the reference is not finite"
    size = float(expected.abs().max())
    assert size > 1e-6, f"{what}: the reference is zero, so nothing is tested"
    error = float((found - expected).abs().max()) / size
    assert error < tolerance, f"{what}: relative error {error:.2e}, expected < {tolerance:.0e}"
