"""A network's weights as one long vector for each group of the optimiser, and its gradients alike.

Networks here have a hundred small tensors. DeepSpeed handles each of them by itself in every backward pass and every update, in
Python, which was most of what the engine cost beside a plain loop. Given one vector for each group it does the same work in two
pieces. The network computes with views of these vectors, and its backward passes add into views of the vectors of gradients; when
all micro-batches of a step are in, the gradients are handed to DeepSpeed in one backward pass. A parameter that no label needed
has the gradient zero there, so ranks with other labels agree on what they send.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class FlatWeights(nn.Module):
    """The module that DeepSpeed trains in the network's place; called, it gives a loss whose gradient is what was collected.

    groups: those of the optimiser, with parameters of the network; parameters without elements are left out, and a group
    without any.
    """

    def __init__(self, net: nn.Module, groups: list[dict[str, Any]]):
        super().__init__()
        names = {id(p): name for name, p in net.named_parameters()}
        kept = [group for group in groups if any(p.numel() for p in group["params"])]
        self.members = [{names[id(p)]: p for p in group["params"] if p.numel()} for group in kept]
        """Of each vector: the parameters that it consists of, by name, in their order."""
        self.parts = nn.ParameterList(nn.Parameter(_joined(m.values())) for m in self.members)
        """The vectors of weights, ``[numbers of the group]`` each."""
        self.gradients = [torch.zeros_like(part) for part in self.parts]
        """What backward passes have added so far, in the shapes of ``parts``."""
        self.groups = [{**group, "params": [part]} for group, part in zip(kept, self.parts, strict=True)]
        """The groups for the optimiser."""

    def bind(self) -> None:
        """Make the network's parameters and gradients views of the vectors; to be called once DeepSpeed has put them in place."""
        for part, gradient, members in zip(self.parts, self.gradients, self.members, strict=True):
            sizes = [p.numel() for p in members.values()]
            pieces = zip(members.values(), part.detach().split(sizes), gradient.split(sizes), strict=True)
            for parameter, weight, own in pieces:
                parameter.data = weight.view(parameter.shape)
                parameter.grad = own.view(parameter.shape)

    def forward(self) -> Tensor:
        """A zero ``[]`` whose gradient with respect to ``parts`` is ``gradients``."""
        return _Collected.apply(self.gradients, *self.parts)

    def forget(self) -> None:
        """Gradients are zero again."""
        torch._foreach_zero_(self.gradients)

    def apart(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        """``{name of a vector}.{key}`` -> by the names of the network's parameters, in their shapes; views."""
        out = {}
        for where, vector in vectors.items():
            part, key = where.rsplit(".", 1)
            members = self.members[int(part.removeprefix("parts."))]
            pieces = vector.split([p.numel() for p in members.values()])
            for (name, parameter), piece in zip(members.items(), pieces, strict=True):
                out[f"{name}.{key}"] = piece.view(parameter.shape)
        return out

    def together(self, tensors: dict[str, Tensor], keys: Iterable[str]) -> dict[str, Tensor]:
        """The reverse of :meth:`apart`."""
        return {
            f"parts.{number}.{key}": _joined(tensors[f"{name}.{key}"] for name in members)
            for key in keys
            for number, members in enumerate(self.members)
        }


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


class _Collected(torch.autograd.Function):
    """Zero; the gradient of ``parts`` is ``gradients``, bit for bit, NaN included."""

    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *parts: Tensor) -> Tensor:
        ctx.gradients = gradients
        return parts[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Any, ...]:
        return None, *(gradient * outer[0] for gradient in ctx.gradients)
