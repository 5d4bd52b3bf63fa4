"""Sums over pairs, over wave vectors and over images are one sum; fields are gradients; dipoles are limits of charges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from atomfield.models.long_range import REACH, GaussianMixture
from atomfield.physics_priors.lattice_sums import (
    Box,
    Sources,
    all_pairs,
    complete_box,
    sum_over_pairs,
    sum_over_waves,
)

KERNEL = GaussianMixture(
    torch.tensor([1.5, 2.5, 4.0]).double(), torch.tensor([[1.0, 0.5, 0.2], [-0.3, 0.4, 0.1]]).double()
)
CELL = torch.tensor([[7.7, 0.2, -0.1], [0.5, 8.9, 0.3], [-0.4, 2.6, 9.3]]).double()
LONGEST = REACH / 1.5


def _sources(flat: bool = False) -> Sources:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x, q, p = 2 * draw(7, 3), draw(7, 2), draw(7, 3, 2)
    if flat:
        x = x * torch.tensor([1.0, 1.0, 0.0])
    return Sources(x, q, p)


def _by_pairs(sources: Sources) -> tuple[Tensor, Tensor]:
    num = len(sources.positions)
    receiver, sender = all_pairs(
        torch.zeros(num, dtype=torch.int64), torch.tensor([num]), torch.tensor([True])
    )
    potential, field = sum_over_pairs(sources, receiver, sender, KERNEL, fields=True)
    assert field is not None
    return potential, field


def _by_images(sources: Sources, cell: Tensor, pbc: list[bool], many: int = 7) -> tuple[Tensor, Tensor]:
    """Plain sums over the periodic images of all points, one receiver after another."""
    axes = [torch.arange(-many, many + 1) if p else torch.zeros(1, dtype=torch.int64) for p in pbc]
    shifts = torch.cartesian_prod(*axes).double() @ cell
    potentials, fields = [], []
    assert sources.dipoles is not None
    for i, x in enumerate(sources.positions):
        away = (x - sources.positions[None] - shifts[:, None]).reshape(-1, 3)
        keep = away.norm(dim=1) > 1e-9
        q = sources.charges.repeat(len(shifts), 1)[keep]
        p = sources.dipoles.repeat(len(shifts), 1, 1)[keep]
        r = away[keep]
        k0, k1, k2 = KERNEL.radial(r.square().sum(1))
        along = (r[:, :, None] * p).sum(1)
        potentials.append((k0 * q + k1 * along).sum(0))
        fields.append((r[:, :, None] * (k1 * q + k2 * along)[:, None] - k1[:, None] * p).sum(0))
        assert i < 7
    return torch.stack(potentials), torch.stack(fields)


def _agree(found: tuple[Tensor, Tensor | None], expected: tuple[Tensor, Tensor | None]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a is not None and b is not None
        assert float((a - b).abs().max()) < 1e-10 * float(b.abs().max())


def test_pairs_equal_wave_vectors_in_a_box_beyond_reach():
    sources = _sources()
    box = complete_box(
        sources.positions, torch.zeros(3, 3).double(), torch.zeros(3, dtype=torch.bool), REACH * 4, flat=False
    )
    _agree(sum_over_waves(sources, box, KERNEL, LONGEST, fields=True), _by_pairs(sources))


@pytest.mark.parametrize("pbc", [[True, True, True], [True, False, True], [False, False, True]])
def test_wave_vectors_equal_images(pbc):
    """Crystal, slab and wire, the cell skewed."""
    sources, mask = _sources(), torch.tensor(pbc)
    box = complete_box(sources.positions, CELL * mask[:, None], mask, REACH * 4, flat=False)
    _agree(sum_over_waves(sources, box, KERNEL, LONGEST, fields=True), _by_images(sources, CELL, pbc))


def test_points_of_a_plane_need_only_the_wave_vectors_of_the_plane():
    sources, mask = _sources(flat=True), torch.tensor([True, True, False])
    assert sources.dipoles is not None
    in_plane = Sources(
        sources.positions, sources.charges, sources.dipoles * torch.tensor([1.0, 1.0, 0.0])[:, None]
    )
    cell = CELL * torch.tensor([1.0, 1.0, 0.0])
    cell[2, 2] = 1.0
    box = complete_box(in_plane.positions, cell, mask, REACH * 4, flat=True)
    assert box.dims == 2 and box.flat == (False, False, True)
    found = sum_over_waves(in_plane, box, KERNEL, LONGEST, fields=True)
    _agree(found, _by_images(in_plane, cell, [True, True, False]))


@pytest.mark.parametrize("periodic", [False, True])
def test_the_field_is_minus_the_gradient_and_a_dipole_a_pair_of_charges(periodic):
    sources = _sources()
    probe = torch.tensor([[0.3, -0.4, 0.9]]).double()
    total = lambda p: (  # noqa: E731
        sum_over_waves(p, Box(CELL, (False,) * 3), KERNEL, LONGEST, fields=True) if periodic else _by_pairs(p)
    )

    def at(x: Tensor) -> tuple[Tensor, Tensor | None]:
        with_probe = Sources(
            torch.cat([sources.positions, x]),
            torch.cat([sources.charges, torch.zeros(1, 2).double()]),
            torch.cat([sources.dipoles, torch.zeros(1, 3, 2).double()]),
        )
        potential, field = total(with_probe)
        return potential[-1], None if field is None else field[-1]

    x = probe.clone().requires_grad_()
    potential, field = at(x)
    for channel in range(2):
        (gradient,) = torch.autograd.grad(potential[channel], x, retain_graph=True)
        torch.testing.assert_close(field[:, channel], -gradient[0], rtol=1e-10, atol=1e-12)
    h, direction = 1e-4, torch.tensor([0.2, 0.5, -0.7]).double()
    charge = torch.tensor([[1.0, -2.0], [-1.0, 2.0]]).double() / (2 * h)
    pair = Sources(
        torch.cat([probe, sources.positions[:1] + h * direction, sources.positions[:1] - h * direction]),
        torch.cat([torch.zeros(1, 2).double(), charge]),
    )
    point = Sources(
        torch.cat([probe, sources.positions[:1]]), torch.zeros(2, 2).double(),
        torch.cat([torch.zeros(1, 3, 2).double(), (direction[:, None] * torch.tensor([1.0, -2.0]))[None]]),
    )  # fmt: skip
    for found, expected in zip(total(pair), total(point), strict=True):
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-8)


def test_a_box_of_any_basis_has_the_same_waves():
    sources = _sources()
    basis = torch.tensor([[1.0, 0, 0], [1, 1, 0], [-1, 0, 1]]).double()
    _agree(
        sum_over_waves(sources, Box(basis @ CELL, (False,) * 3), KERNEL, LONGEST, fields=True),
        sum_over_waves(sources, Box(CELL, (False,) * 3), KERNEL, LONGEST, fields=True),
    )


def test_derivatives_of_both_sums():
    sources = _sources()
    x = sources.positions[:3].clone().requires_grad_()
    q, p = sources.charges[:3].clone().requires_grad_(), sources.dipoles[:3].clone().requires_grad_()
    cell = CELL.clone().requires_grad_()

    def waves(x: Tensor, q: Tensor, p: Tensor, cell: Tensor) -> Tensor:
        potential, field = sum_over_waves(Sources(x, q, p), Box(cell, (False,) * 3), KERNEL, 1.5, fields=True)
        return potential.square().sum() + field.square().sum()

    def pairs(x: Tensor, q: Tensor, p: Tensor) -> Tensor:
        return sum(part.square().sum() for part in _by_pairs(Sources(x, q, p)))

    assert torch.autograd.gradcheck(waves, (x, q, p, cell), fast_mode=True)
    assert torch.autograd.gradgradcheck(waves, (x, q, p, cell), fast_mode=True)
    assert torch.autograd.gradgradcheck(pairs, (x, q, p), fast_mode=True)


def test_pairs_stay_in_the_chosen_graphs():
    graph_index = torch.tensor([0, 0, 1, 1, 1, 2])
    receiver, sender = all_pairs(graph_index, torch.tensor([2, 3, 1]), torch.tensor([True, False, True]))
    assert sorted(zip(receiver.tolist(), sender.tolist(), strict=True)) == [(0, 1), (1, 0)]
    receiver, sender = all_pairs(graph_index, torch.tensor([2, 3, 1]), torch.ones(3, dtype=torch.bool))
    assert len(receiver) == 2 + 6 and (graph_index[receiver] == graph_index[sender]).all()
    assert math.isclose(len(set(zip(receiver.tolist(), sender.tolist(), strict=True))), 8)
