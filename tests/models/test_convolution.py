"""The SO(2) convolution has every parity-allowed path, and its messages vanish smoothly at the cutoff."""

import pytest
import torch
from e3nn import o3

from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeConvolution
from atomfield.models.radial import bessel_basis, polynomial_envelope


@pytest.mark.parametrize("lmax", [0, 1, 2, 3])
def test_number_of_weights_is_that_of_the_full_tensor_product(lmax):
    layer = EdgeConvolution(NetworkConfig(lmax=lmax, channels=8, channels_unnatural=8))
    both = [(l, p) for l in range(lmax + 1) for p in (1, -1)]
    harmonics = o3.Irreps.spherical_harmonics(2 * lmax)
    paths = sum(
        1
        for l1, p1 in both
        for _, sh in harmonics
        for l3, p3 in both
        if abs(l1 - sh.l) <= l3 <= l1 + sh.l and p1 * sh.p == p3
    )
    # same-class weights serve both classes, cross weights come in two directions
    assert 2 * layer.num_same + 2 * layer.num_cross == paths


def test_envelope_and_its_derivatives_vanish_at_the_cutoff():
    d = torch.tensor([5.0 - 1e-6, 5.0, 6.0], dtype=torch.float64, requires_grad=True)
    value = polynomial_envelope(d, 5.0)
    (slope,) = torch.autograd.grad(value.sum(), d, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), d)
    assert value[1] == 0 and value[2] == 0
    assert value.abs().max() < 1e-14 and slope.abs().max() < 1e-10 and curvature.abs().max() < 1e-4


def test_bessel_basis_is_orthonormal_on_the_sphere():
    # int_0^c b_n b_m r^2 dr is proportional to the identity
    r = torch.linspace(1e-6, 5.0, 20001, dtype=torch.float64)
    basis = bessel_basis(r, 5.0, 4)
    gram = torch.trapezoid(basis[:, :, None] * basis[:, None, :] * r[:, None, None] ** 2, r, dim=0)
    assert torch.allclose(gram / gram[0, 0], torch.eye(4, dtype=torch.float64), atol=1e-6)
