"""How a law is judged: what the network says, and what counts as equal.

Tolerances, relative to the largest entry of what is compared:

* ``exact(net)`` 1e-10 for a network in float64: the law holds in exact arithmetic, and what remains is rounding (1e-16) amplified
  through the layers, products of order three and one derivative. A term that breaks the law shows at 1e-3 and above, and
  tables rounded to float32 at 5e-9. 1e-5 for a network in float32, whose rounding is 6e-8.
* ``NUMERICAL`` 1e-6: comparison with a fourth-order finite difference, whose own error is h^4 / 30 of the fifth derivative
  (measured: 1.5e-11 for forces and stress, 4e-9 for the gradient of a force loss). Only in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY
from atomfield.models.network import AtomFieldNet, graphs_to_batch

NUMERICAL = 1e-6


def exact(net: AtomFieldNet) -> float:
    """What a law that holds in exact arithmetic may miss by."""
    return 1e-10 if net.dtype == torch.float64 else 1e-5


def outputs(net: AtomFieldNet, *graphs: Graph) -> dict[str, Tensor]:
    """Everything that the heads say, the noise head included; the stress where all graphs are periodic."""
    stress = all(bool(g.pbc.all()) for g in graphs)
    with torch.no_grad():
        found = net(graphs_to_batch(net.config, list(graphs)), stress=stress, denoise=True)
    return {name: value.double() for name, value in found.items()}


def irreps_of(net: AtomFieldNet, name: str) -> str:
    own = {p.name: "0e" if p.kind == "multiclass" else p.irreps for p in net.config.properties}
    return own[name] if name in own else VOCABULARY[name].irreps


def unit_of(net: AtomFieldNet, name: str) -> float:
    """The scale of a property's training labels, in which its error counts: one value may be small by cancellation."""
    names = [p.name for p in net.config.properties]
    return float(net.property_head.scale[names.index(name)]) if name in names else 0.0


def agree(found: Tensor, expected: Tensor, what: str, tolerance: float, unit: float = 0.0) -> None:
    """Largest difference below ``tolerance`` times the largest entry (or ``unit``, if that is more); the reference must be finite
    and not all zero."""
    assert torch.isfinite(found).all(), f"{what}: not finite"
    assert torch.isfinite(expected).all(), f"{what}: the reference is not finite"
    size = float(expected.abs().max())
    assert size > 1e-6, f"{what}: the reference is zero, so nothing is tested"
    error = float((found - expected).abs().max()) / max(size, unit)
    assert error < tolerance, f"{what}: relative error {error:.2e}, expected < {tolerance:.0e}"
