"""The mesh beside the exact sums: error at the default mesh, its order in the spacing, derivatives, the missing extra."""

from __future__ import annotations

import builtins
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.models import mesh
from atomfield.models.long_range import MESH_PER_WIDTH, REACH, GaussianMixture
from atomfield.physics_priors.lattice_sums import Box, Sources, complete_box, sum_over_waves

SMALLEST = 1.5
KERNEL = GaussianMixture(
    torch.tensor([SMALLEST, 4.0]).double(), torch.tensor([[1.0, 0.4], [1.0, -0.4]]).double()
)
BOX = Box(torch.tensor([[12.0, 0.2, -0.1], [1.5, 12.0, 0.3], [-0.4, 2.6, 12.0]]).double(), (False,) * 3)


@pytest.fixture(autouse=True)
def _needs_the_extra():
    pytest.importorskip("torchpme")


def _sources(num: int = 40) -> Sources:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x = torch.rand(num, 3, generator=generator, dtype=torch.float64) @ BOX.cell
    return Sources(x, draw(num, 2), draw(num, 3, 2))


def _errors(sources: Sources, box: Box, spacing: float) -> list[float]:
    """Relative RMS error of potential and field."""
    exact = sum_over_waves(sources, box, KERNEL, REACH / SMALLEST, fields=True)
    found = mesh.sum_over_mesh(sources, box, KERNEL, spacing, fields=True)
    rms = lambda x: float(x.square().mean().sqrt())  # noqa: E731
    return [rms(a - b) / rms(b) for a, b in zip(found, exact, strict=True)]


def test_error_at_the_default_mesh():
    """The worst case, a kernel with a width at the lower bound: published in docs/long_range.md."""
    potential, field = _errors(_sources(), BOX, MESH_PER_WIDTH * SMALLEST)
    print(f"relative RMS error at the default mesh: potential {potential:.1e}, field {field:.1e}")
    assert 4e-5 < potential < 1.2e-4
    assert 2e-4 < field < 6e-4


def test_error_falls_at_the_order_of_the_spline():
    """Fifth order over a factor of two (48 against 24 points): 2^5 = 32."""
    coarse, fine = (_errors(_sources(), BOX, 12.3 / n) for n in (24, 48))
    assert mesh.mesh_shape(BOX, 12.3 / 48) == (48, 48, 48)
    for a, b in zip(coarse, fine, strict=True):
        assert 4.6 < math.log2(a / b) < 6.5


def test_a_plane_and_open_space():
    sources = _sources(10)
    flat = replace(sources, positions=sources.positions * torch.tensor([1.0, 1.0, 0.0]), dipoles=None)
    cell = torch.diag(torch.tensor([12.0, 14.0, 1.0])).double()
    plane = complete_box(flat.positions, cell, torch.tensor([True, True, False]), REACH * 4, flat=True)
    assert mesh.mesh_shape(plane, 0.5) == (24, 30, 1)
    assert max(_errors(flat, plane, 0.5)) < 1e-4
    nothing = torch.zeros(3, dtype=torch.bool)
    vacuum = complete_box(sources.positions, torch.zeros(3, 3).double(), nothing, REACH * 4, flat=False)
    assert max(_errors(sources, vacuum, 0.75)) < 1e-3


def test_derivatives():
    """First and second, with respect to positions, sources and the cell: training through forces and stress."""
    sources = _sources(3)

    def value(x: Tensor, q: Tensor, p: Tensor, cell: Tensor) -> Tensor:
        potential, field = mesh.sum_over_mesh(
            Sources(x, q, p), Box(cell, (False,) * 3), KERNEL, 1.2, fields=True
        )
        assert field is not None
        return potential.square().sum() + field.square().sum()

    inputs = [sources.positions, sources.charges, sources.dipoles, BOX.cell]
    inputs = [x.clone().requires_grad_() for x in inputs if x is not None]
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(value, inputs, fast_mode=True)


def test_a_missing_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("torchpme"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'atomfield\[longrange\]'"):
        mesh.sum_over_mesh(_sources(), BOX, KERNEL, 1.0, fields=False)


def test_why_the_filter_is_ours():
    """torch-pme's own filter holds for orthogonal cells; on a skewed one its error falls with the square of the spacing only."""
    from torchpme.lib import MeshInterpolator, P3MKSpaceFilter
    from torchpme.lib.kspace_filter import KSpaceKernel

    one = GaussianMixture(torch.tensor([SMALLEST]).double(), torch.ones(1, 1).double())

    class Gaussian(KSpaceKernel):
        def kernel_from_k_sq(self, k_sq: Tensor) -> Tensor:
            return one.spectrum(k_sq.flatten(), 3).reshape(k_sq.shape)

    points = replace(_sources(), charges=_sources().charges[:, :1], dipoles=None)
    exact = sum_over_waves(points, BOX, one, REACH / SMALLEST, fields=False)[0] + points.charges
    errors = []
    for num in (24, 48):
        spread = MeshInterpolator(BOX.cell, torch.tensor([num] * 3), mesh.ORDER, "P3M")
        spread.compute_weights(points.positions)
        filtered = P3MKSpaceFilter(
            BOX.cell, torch.tensor([num] * 3), mesh.ORDER, Gaussian(), "backward", "forward"
        )
        found = spread.mesh_to_points(filtered(spread.points_to_mesh(points.charges))) / BOX.measure
        errors.append(float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt()))
    print(f"relative RMS error of P3MKSpaceFilter in the skewed cell, 24 and 48 points: {errors}")
    assert errors[0] > 1e-3
    assert math.log2(errors[0] / errors[1]) < 2.5
