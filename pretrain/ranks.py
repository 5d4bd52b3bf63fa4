"""What the ranks of a run say to each other beside gradients."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from atomfield.data.errors import RunError

Thing = TypeVar("Thing")


def distributed() -> bool:
    """Whether there is more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_main() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def own_rank() -> int:
    return dist.get_rank() if distributed() else 0


def device_of_messages() -> str:
    """Where tensors must be to be sent: NCCL knows those of a GPU only."""
    return f"cuda:{torch.cuda.current_device()}" if dist.get_backend() == "nccl" else "cpu"


def all_sum(values: Tensor) -> Tensor:
    """The sum over all ranks, bit for bit the same on each."""
    if distributed():
        sent = values.to(device_of_messages())
        dist.all_reduce(sent)
        return sent
    return values


def any_rank(flag: bool) -> bool:
    """Whether any rank says so, on every rank."""
    return bool(all_sum(torch.tensor([float(flag)]))[0]) if distributed() else flag


def from_main(thing: Thing) -> Thing:
    """What rank 0 has, on every rank."""
    if not distributed():
        return thing
    box = [thing]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(thing: Thing) -> list[Thing]:
    """What each rank has, on every rank."""
    if not distributed():
        return [thing]
    out: list[Thing | None] = [None] * dist.get_world_size()
    dist.all_gather_object(out, thing)
    return out  # type: ignore[return-value]


def barrier() -> None:
    if distributed():
        all_sum(torch.zeros(1))


def first_on_node(work: Callable[[], None]) -> None:
    """``work`` on the first rank of each node, while the others wait; collective. Where it fails, its error is raised there and
    ``RunError`` everywhere else, so that nobody waits for ever."""
    error: Exception | None = None
    if os.environ.get("LOCAL_RANK", "0") == "0":
        try:
            work()
        except Exception as found:  # of any kind: the others must be told
            error = found
    failed = any_rank(error is not None)
    if error is not None:
        raise error
    if failed:
        raise RunError("the first rank of a node could not make its first passes; its own output says why")


def lost_contact(error: RuntimeError) -> bool:
    """Whether ``error`` is that another rank is gone or does not answer. Gloo says so in plain ``RuntimeError``."""
    text = str(error).lower()
    signs = ("gloo", "connection closed by peer", "connection reset", "timed out", "nccl")
    return isinstance(error, dist.DistError) or any(sign in text for sign in signs)
