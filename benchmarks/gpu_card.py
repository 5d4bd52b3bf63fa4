"""What a GPU is and does: its name, driver and memory, the rate of a copy and of matrix products. Printed as JSON.

    python benchmarks/gpu_card.py [--device cuda|cpu]

Rates are medians of ten, on random numbers, after three calls that are not counted. A copy of 1 GiB counts what is read and
what is written; matrices are 8192 x 8192. Float32 products are without TF32 (PyTorch's default). On the CPU all is smaller.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

CALLS = 10


def card(device: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        "device": device,
        "name": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "driver": driver() if device == "cuda" else "",
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        out |= {
            "memory_gb": properties.total_memory / 2**30,
            "multiprocessors": properties.multi_processor_count,
        }
    return {**out, **rates(device)}


def rates(device: str) -> dict[str, float]:
    """GB/s and TFLOP/s, both of 10^9 and 10^12."""
    numbers, order = (2**28, 8192) if device == "cuda" else (2**22, 512)
    out = {"copy_gb_s": copy_rate(torch.randn(numbers, device=device))}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(order, order, device=device, dtype=dtype) for _ in range(2))
        result = torch.empty_like(a)
        took = seconds(lambda a=a, b=b, result=result: torch.mm(a, b, out=result), device)
        out[f"{name}_tflop_s"] = 2e-12 * order**3 / took
    return out


def copy_rate(source: torch.Tensor) -> float:
    target = torch.empty_like(source)
    return 2e-9 * source.nbytes / seconds(lambda: target.copy_(source), source.device.type)


def seconds(call: Callable[[], Any], device: str) -> float:
    """Median of :data:`CALLS`."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    took = []
    for number in range(3 + CALLS):
        wait()
        start = time.perf_counter()
        call()
        wait()
        if number >= 3:
            took.append(time.perf_counter() - start)
    return statistics.median(took)


def driver() -> str:
    """Its version; empty where ``nvidia-smi`` is not there."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    print(json.dumps(card(parser.parse_args().device)))
