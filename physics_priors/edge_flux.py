"""Conservation by antisymmetric fluxes: what leaves one point enters its neighbour.

    V_i du_i/dt = sum_j F_ij,    F_ij = -F_ji

Each pair of opposite edges carries one flux, added to one end and subtracted from the other, so that sum_i V_i u_i
(mass, and each
component of momentum) is kept to rounding whatever computes the flux (LeVeque, *Finite Volume Methods*, Cambridge 2002, ch. 4).
Units: u per volume, V in volume, F in u * volume / time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EdgePairs:
    """Edges in pairs of opposites: edge ``forward[p]`` is (j -> i), edge ``backward[p]`` is (i -> j) over the same image.

    senders, receivers ``[E]``; shifts ``[E, d]``: integer images of periodic cells, if any. An edge without its opposite and
    a repeated edge raise ``ValueError``.
    """

    def __init__(self, senders: Tensor, receivers: Tensor, num_points: int, shifts: Tensor | None = None):
        shift = torch.zeros(len(senders), 1, dtype=torch.int64) if shifts is None else shifts.long()
        ahead = torch.stack([receivers, senders, *shift.T], dim=1)
        back = torch.stack([senders, receivers, *(-shift).T], dim=1)
        unique, number = torch.unique(torch.cat([ahead, back]), dim=0, return_inverse=True)
        mine, opposite = number[: len(ahead)], number[len(ahead) :]
        if len(unique) > len(ahead) or len(torch.unique(mine)) < len(ahead):
            lonely = ~torch.isin(opposite, mine)
            edge = int(lonely.nonzero()[0]) if bool(lonely.any()) else -1
            raise ValueError(
                "an edge stands twice"
                if edge < 0
                else f"edge {edge} ({int(senders[edge])} -> {int(receivers[edge])}) has no opposite: a flux needs both directions"
            )
        place = torch.empty(len(unique), dtype=torch.int64)
        place[mine] = torch.arange(len(ahead))
        partner = place[opposite]
        edges = torch.arange(len(ahead))
        self.forward = edges[edges < partner]
        self.backward = partner[self.forward]
        self.senders, self.receivers = senders[self.forward], receivers[self.forward]
        self.num_points = num_points

    def antisymmetric(self, values: Tensor) -> Tensor:
        """Fluxes ``[P, ...]`` into the receivers from ``values [E, ...]`` that know nothing of symmetry: half the
        difference of both ways."""
        return (values[self.forward] - values[self.backward]) / 2

    def accumulate(self, fluxes: Tensor) -> Tensor:
        """``[N, ...]``: what each point gains, from ``fluxes [P, ...]`` into the receivers. Its sum over points is
        zero to rounding."""
        gain = fluxes.new_zeros(self.num_points, *fluxes.shape[1:])
        return gain.index_add(0, self.receivers, fluxes).index_add(0, self.senders, -fluxes)

    def limit_outflow(self, fluxes: Tensor, amount: Tensor, dt: float) -> Tensor:
        """Fluxes ``[P, ...]`` scaled down where a point would give more than its ``amount [N, ...]`` (V u >= 0)
        within ``dt``: an explicit
        Euler step stays non-negative and conservation is untouched (the limiter of Zalesak, J. Comput. Phys. 31, 335 (1979), with
        a lower bound of zero)."""
        leaves = amount.new_zeros(amount.shape)
        leaves = leaves.index_add(0, self.senders, fluxes.clamp(min=0))
        leaves = leaves.index_add(0, self.receivers, (-fluxes).clamp(min=0))
        asked = leaves * dt
        share = torch.where(asked > amount, amount / torch.where(asked > 0, asked, 1.0), 1.0)
        return fluxes * torch.where(fluxes > 0, share[self.senders], share[self.receivers])


class FluxHead(nn.Module):
    """A conservative tendency from any network on edges.

    ``message(own, other, vectors) -> [E, C]`` sees the features of receiver and sender ``[E, K]`` and the vectors ``[E, d]``.
    """

    def __init__(self, message: nn.Module):
        super().__init__()
        self.message = message

    def forward(
        self,
        features: Tensor,
        vectors: Tensor,
        pairs: EdgePairs,
        edges: tuple[Tensor, Tensor],
        volumes: Tensor,
    ) -> Tensor:
        """du/dt ``[N, C]`` from ``features [N, K]``, ``vectors [E, d]``, ``edges`` = (senders, receivers) and ``volumes [N]``."""
        senders, receivers = edges
        raw = self.message(features[receivers], features[senders], vectors)
        return pairs.accumulate(pairs.antisymmetric(raw)) / volumes[:, None]
