"""What ends a run before its time, in a sentence each: what happened, what is left, what to do."""

from __future__ import annotations

import errno

from . import checkpoint
from .config import PretrainConfig


def left(config: PretrainConfig) -> str:
    found = checkpoint.complete(config.out / "checkpoints")
    return f"The last good checkpoint is {found[-1]}" if found else "There is no checkpoint yet"


def contact_lost(config: PretrainConfig, rank: int) -> str:
    return (
        f"rank {rank} lost contact with another one: it ended, or gave no answer for {config.timeout:.0f} s; its own output "
        f"says why. {left(config)}; the same command goes on from there"
    )


def memory_full(config: PretrainConfig, device: str, error: Exception) -> str:
    most = max(s.max_edges for s in config.streams)
    saving = "" if config.recompute else ", or set recompute: true (more time, less memory)"
    if config.cuda_graphs and device.startswith("cuda"):
        saving += ", or cuda_graphs: false (recorded passes keep memory of their own)"
    return (
        f"the memory of {device} is full ({str(error).splitlines()[0]}): lower streams[].max_edges (the largest is {most})"
        f"{saving}. {left(config)}; the same command goes on from there"
    )


def file_trouble(config: PretrainConfig, error: Exception) -> str:
    full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
    what = "the disk is full" if full else "a file could not be read or written"
    return f"{config.out}: {what} ({error}). {left(config)}; once that is mended the same command goes on from there"
