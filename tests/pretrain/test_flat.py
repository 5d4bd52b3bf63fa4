"""The network's weights and gradients as a few long vectors."""

import math

import pytest
import torch
from torch import nn

from atomfield.pretrain.flat import FlatWeights


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.nothing = nn.Parameter(torch.zeros(0, 5))

    def forward(self, x):
        return self.second(torch.tanh(self.first(x))).square().sum()


def flat_of(net):
    named = list(net.parameters())
    groups = [
        {"params": [p for p in named if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in named if p.ndim < 2], "weight_decay": 0.0},
        {"params": [net.nothing], "weight_decay": 0.5},
    ]
    flat = FlatWeights(net, groups)
    flat.bind()
    return flat


def test_gradients_of_all_micro_batches_are_handed_on_to_the_bit():
    plain, net = Small(), Small()
    flat = flat_of(net)
    for seed in range(3):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        plain(x).backward()
        net(x).backward()
    (2.0 * flat()).backward()
    assert [g["weight_decay"] for g in flat.groups] == [0.1, 0.0]
    vectors = {f"{name}.grad": part.grad / 2 for name, part in flat.named_parameters()}
    for name, gradient in flat.apart(vectors).items():
        assert torch.equal(gradient, plain.get_parameter(name.removesuffix(".grad")).grad), name
    flat.forget()
    assert all(not p.grad.any() for p in net.parameters() if p.numel())


def test_the_network_computes_with_what_is_updated():
    net = Small()
    flat = flat_of(net)
    before = net.first.weight.detach().clone()
    with torch.no_grad():
        flat.parts[0].add_(1.0)
    assert torch.equal(net.first.weight, before + 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_arrives_where_it_was(value):
    flat = flat_of(Small())
    flat.gradients[0][3] = value
    flat().backward()
    assert flat.parts[0].grad.isfinite().logical_not().nonzero().tolist() == [[3]]
    assert flat.parts[1].grad.isfinite().all()


def test_names_and_vectors_are_the_same_thing():
    net = Small()
    flat = flat_of(net)
    vectors = {f"{name}.weight": part.detach() for name, part in flat.named_parameters()}
    named = flat.apart(vectors)
    assert {n.removesuffix(".weight") for n in named} == {n for n, p in net.named_parameters() if p.numel()}
    again = flat.together(named, ["weight"])
    assert again.keys() == vectors.keys() and all(torch.equal(again[k], vectors[k]) for k in vectors)
