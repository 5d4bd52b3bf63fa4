"""Edge frames and Wigner matrices against their definitions."""

import torch

from atomfield.models.rotation import FrameRotation, edge_frames


def directions(count: int = 64) -> torch.Tensor:
    torch.manual_seed(0)
    d = torch.randn(count, 3, dtype=torch.float64)
    special = torch.tensor(
        [[0.0, 1, 0], [0, -1, 0], [1, 0, 0], [0, 0, -1], [1, 1e-9, 0], [1e-9, -1, 0]], dtype=torch.float64
    )
    d = torch.cat([d, special])
    return d / d.norm(dim=1, keepdim=True)


def test_frames_are_rotations_that_take_the_direction_to_the_pole():
    d = directions()
    r = edge_frames(d)
    pole = torch.tensor([0.0, 1, 0], dtype=torch.float64).expand_as(d)
    assert torch.allclose(torch.einsum("eij,ej->ei", r, d), pole, atol=1e-14)
    assert torch.allclose(r @ r.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand_as(r), atol=1e-14)
    assert torch.allclose(torch.linalg.det(r), torch.ones(len(r), dtype=torch.float64), atol=1e-14)


def test_wigner_matrices_are_a_representation():
    a, b = edge_frames(directions()), edge_frames(directions().flip(0))
    rotation = FrameRotation(4)
    for l, (da, db, dab) in enumerate(
        zip(rotation.wigner(a), rotation.wigner(b), rotation.wigner(a @ b), strict=True), start=1
    ):
        assert da.shape[1:] == (2 * l + 1, 2 * l + 1)
        assert torch.allclose(da @ db, dab, atol=1e-12)
        assert torch.allclose(
            da @ da.transpose(1, 2), torch.eye(2 * l + 1, dtype=torch.float64).expand_as(da), atol=1e-12
        )


def test_wigner_matrices_agree_with_e3nn():
    from e3nn import o3

    r = edge_frames(directions()[:8])  # away from the poles, where angles lose digits
    for l, mine in enumerate(FrameRotation(3).wigner(r), start=1):
        expected = o3.Irrep(l, (-1) ** l).D_from_matrix(r)
        assert torch.allclose(mine, expected.to(mine), atol=1e-6)


def test_gradients_stay_finite_at_the_poles():
    d = directions().requires_grad_(True)
    gradient = torch.autograd.grad(
        FrameRotation(2)(edge_frames(d)).square().sum() + edge_frames(d)[:, 0].sum(), d, create_graph=True
    )[0]
    second = torch.autograd.grad(gradient.square().sum(), d)[0]
    assert torch.isfinite(gradient).all() and torch.isfinite(second).all()
