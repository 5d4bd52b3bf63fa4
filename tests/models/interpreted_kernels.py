"""The kernels for GPUs, run on the CPU by Triton's interpreter, against torch's own operations.

Triton decides on its interpreter when it is imported, so ``test_gpu_kernels.py`` runs this file in a process of its own, with
TRITON_INTERPRET=1.
"""

import threading

import pytest
import torch

from atomfield.models.convolution import EdgeConvolution, EdgeGeometry
from atomfield.models.fused.edges import EdgeList
from atomfield.models.fused.mode import fixed_weights
from atomfield.models.fused.powers import PowerShape
from atomfield.models.gpu import convolution as kernels
from atomfield.models.gpu import convolved_on_gpu, powers_on_gpu, products_available, rows_of
from atomfield.models.product import NodeProduct
from atomfield.models.rotation import FrameRotation

from .gpu_cases import a_batch, a_network, assert_alike, config_of, plain, trained

NODES, EDGES = 5, 23


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def edges() -> EdgeList:
    return EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES - 1, (EDGES,)), NODES)


def derivatives(function, inputs, weight=None):
    """The value, the gradient of a random projection, and the gradient of a random projection of that."""
    out = function(*inputs)
    torch.manual_seed(1)
    g = torch.randn(out.shape, dtype=out.dtype, requires_grad=True)
    first = torch.autograd.grad((out * g).sum(), inputs, create_graph=True)
    turned = sum((a * torch.randn(a.shape, dtype=a.dtype)).sum() for a in first)
    wanted = [*inputs, g] if weight is None else [*inputs, g, weight]
    second = torch.autograd.grad(turned, wanted, allow_unused=True)
    return [out, *first, *[torch.zeros(()) if s is None else s for s in second]]


@pytest.mark.parametrize("scalars_only", [False, True])
@pytest.mark.parametrize(("lmax", "channels", "unnatural"), [(2, 4, 1), (1, 5, 0), (1, 4, 4)])
def test_convolution_and_two_derivatives(lmax, channels, unnatural, scalars_only):
    convolution = EdgeConvolution(
        config_of(lmax=lmax, channels=channels, channels_unnatural=unnatural)
    ).double()
    listed, rotation = edges(), FrameRotation(lmax)
    x = torch.randn(NODES, (lmax + 1) ** 2, convolution.width, dtype=torch.float64)
    x = (x[:, 0, :channels].clone() if scalars_only else x).requires_grad_()
    hidden = torch.randn(EDGES, convolution.basis.out_features, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(EDGES, 3, dtype=torch.float64, requires_grad=True)

    def reference(x, hidden, direction):
        unit = torch.nn.functional.normalize(direction, dim=1)
        geometry = EdgeGeometry(listed, hidden, hidden[:, 0], unit, rotation)
        found = (
            convolution._from_scalars(x, hidden, geometry)[..., :channels]
            if scalars_only
            else convolution._full(x, hidden, geometry)
        )
        return found.new_zeros(NODES, *found.shape[1:]).index_add(0, listed.receiver_E, found)

    def ours(x, hidden, direction):
        unit = torch.nn.functional.normalize(direction, dim=1)
        weights = hidden @ convolution._second_weights(scalars_only)
        return convolved_on_gpu(x, weights, unit, listed, convolution.shape(scalars_only))

    inputs = [x, hidden, direction]
    assert_alike(
        derivatives(ours, inputs, convolution.same), derivatives(reference, inputs, convolution.same)
    )


def test_products_and_two_derivatives():
    config = config_of(lmax=1, channels=5, channels_unnatural=0)
    products = [NodeProduct(config).double() for _ in range(2)]
    shape = PowerShape(1, 5, 0, 3)
    a = torch.randn(9, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.cat([w for p in products for w in p.flat_weights()]).detach().requires_grad_()
    assert products_available(a, shape)

    def reference(a, weights):
        first, second = weights.chunk(2)
        maps = [
            {"natural.weight": w.view_as(p.natural.weight)}
            for w, p in zip((first, second), products, strict=True)
        ]
        square = torch.func.functional_call(products[0], maps[0], (a, a))
        return torch.stack([square, torch.func.functional_call(products[1], maps[1], (square, a))])

    def turned(function):
        """As in training: the derivative with respect to weights is only of the second pass."""
        torch.manual_seed(1)
        with fixed_weights():
            out = function(a, weights)
            g = torch.randn(out.shape, dtype=out.dtype, requires_grad=True)
            (first,) = torch.autograd.grad((out * g).sum(), a, create_graph=True)
        second = torch.autograd.grad(
            (first * torch.randn(first.shape, dtype=a.dtype)).sum(), [a, weights, g], retain_graph=True
        )
        return [out, first, *second, *torch.autograd.grad((out * g).sum(), [a, weights])]

    ours = turned(lambda a, weights: powers_on_gpu(a, weights, shape))
    assert_alike(ours, turned(reference))


@pytest.mark.parametrize("columns", [1, 3, 70])
def test_rows_and_two_derivatives(columns):
    """The derivative is the sum of edges over nodes."""
    listed = edges()
    x = torch.randn(NODES, columns, dtype=torch.float64, requires_grad=True)
    rows = derivatives(lambda x: rows_of(x, listed.sender_E, listed, senders=True) ** 2, [x])
    assert_alike(rows, derivatives(lambda x: x[listed.sender_E] ** 2, [x]))


def in_a_thread(function):
    """As on a GPU, where the way back runs in a thread of its own."""

    def run(*args, **kwargs):
        found, grad = [], torch.is_grad_enabled()

        def work():
            with torch.set_grad_enabled(grad):
                found.append(function(*args, **kwargs))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found[0]

    return run


def test_a_training_step_of_the_network(monkeypatch):
    net = a_network()
    batch = a_batch(net.config, (2, 1))
    expected = trained(net, lambda b: plain(net)(b, stress=True), batch)
    for part in net.modules():
        if hasattr(part, "fused"):
            part.fused = True
    nothing = lambda *_: False  # noqa: E731
    monkeypatch.setattr("atomfield.models.convolution.available", nothing)
    monkeypatch.setattr("atomfield.models.backbone.powers_available", nothing)
    monkeypatch.setattr("atomfield.models.network.serves", nothing)
    monkeypatch.setattr(torch.autograd, "grad", in_a_thread(torch.autograd.grad))
    calls = []
    real = kernels._run
    monkeypatch.setattr(
        kernels, "_run", lambda shape, name, *a, **k: (calls.append(name), real(shape, name, *a, **k))
    )
    batch.derived.clear()
    found = trained(net, lambda b: net(b, stress=True), batch)
    assert {"forward", "first_by_receiver", "second_by_receiver"} <= set(calls)
    assert_alike(found, expected)
