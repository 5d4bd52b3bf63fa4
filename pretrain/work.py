"""What a step asks of a machine, and what the machine can do: floating-point operations, and their measured peak.

A pass is counted by the formulas of ``models/operations.py`` (F), whatever way it is computed and whatever is computed again:

    3 F   a forward and a backward pass; the backward pass is two products for each one of the forward pass
    6 F   conservative forces: a forward pass, the gradient with respect to positions (F), and the backward pass through both
          (4 F); where both factors of a product follow from positions it takes up to nine, which is not counted
    F     a step of a rollout that is not learnt

The peak is that of a product of square matrices in the precision of the network, measured when a run starts; its fraction is
operations over time and peak, all ranks together.
"""

from __future__ import annotations

import platform
import time
from typing import Any

import torch

from atomfield.data.graph_batch import GraphBatch
from atomfield.models.operations import Operations

from .losses import Targets
from .ranks import all_sum

ORDERS = {"cpu": 1024, "cuda": 4096}
"""Of the matrices."""
PRODUCTS = 5
"""Timed ones, of which the fastest counts."""


def work_of(one: Operations, batch: GraphBatch, targets: Targets) -> float:
    """Floating-point operations of a training step's passes over ``batch``."""
    derived = targets.objective == "supervised" and batch.world != "field" and not targets.direct
    second = derived and any(n in batch.quantities and targets.wants(n) for n in ("forces", "stress"))
    return (6 if second else 3) * one.forward(batch) + sum(map(one.forward, batch.earlier))


@torch.no_grad()
def peak_of(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a matrix product on ``device``: milliseconds on a GPU, a tenth of a second on a
    core."""
    kind = torch.device(device).type
    order = ORDERS[kind]
    a, b = (torch.rand(order, order, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    wait = torch.cuda.synchronize if kind == "cuda" else lambda: None
    least = float("inf")
    for _ in range(1 + PRODUCTS):  # the first one wakes the library
        wait()
        began = time.perf_counter()
        torch.mm(a, b, out=out)
        wait()
        least = min(least, time.perf_counter() - began)
    return 2.0 * order**3 / least


def machine_of(device: str, dtype: torch.dtype, ranks: int) -> dict[str, Any]:
    """What ``machine.json`` of a run says; collective, ``peak_flops`` is that of all ranks."""
    own = torch.tensor([peak_of(device, dtype)], dtype=torch.float64)
    name = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else platform.processor() or platform.machine()
    )
    return {
        "device": name,
        "ranks": ranks,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "peak_flops": float(all_sum(own)),
    }
