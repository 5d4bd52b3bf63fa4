"""Shared by all tests: few threads (small graphs gain nothing from more), no telemetry, quick compilation of our kernels and none
of DeepSpeed's extensions."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("DS_BUILD_OPS", "0")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault(
    "ATOMFIELD_KERNEL_FLAGS", "-O0"
)  # a shape compiles in a second instead of half a minute
