"""The processes of a run: which device each has, how they meet and part."""

from __future__ import annotations

import os
from datetime import timedelta

import torch

from atomfield.data.errors import InputError, RunError


def start_processes(device: str, timeout: float = 1800.0) -> None:
    """The process group, through DeepSpeed. Its shared-memory extension for CPUs would be compiled at the first start: left out,
    gloo serves and no compiler is needed. ``timeout``: seconds that a rank waits for the others."""
    import warnings

    # DeepSpeed still calls names that torch has renamed; its users can do nothing about it
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    patience = timedelta(seconds=timeout)
    try:
        deepspeed.init_distributed(
            "nccl" if device.startswith("cuda") else "gloo", verbose=False, timeout=patience
        )
    except RuntimeError as error:
        raise RunError(no_meeting(timeout, error)) from error
    # the groups that DeepSpeed builds itself would wait torch's own 30 minutes for a rank that died meanwhile
    deepspeed.comm.comm.cdb.new_group = lambda ranks: torch.distributed.new_group(ranks, timeout=patience)


def end_processes() -> None:
    """The end of the process group. DeepSpeed keeps it in two places, on which another run in this program would fail."""
    import deepspeed
    from deepspeed.utils import groups

    torch.distributed.destroy_process_group()
    if not torch.distributed.is_initialized():
        deepspeed.comm.comm.cdb = None
        groups._WORLD_GROUP = None


def no_meeting(timeout: float, error: Exception) -> str:
    """Why the processes of a run did not find each other."""
    host, port = os.environ.get("MASTER_ADDR", "?"), os.environ.get("MASTER_PORT", "?")
    text = str(error).strip()
    if "eaddrinuse" in text.lower() or "address already in use" in text.lower():
        return (
            f"port {port} of {host} is taken by another program: give another one (MASTER_PORT; torchrun: --master-port, or "
            "--standalone on one machine)"
        )
    return (
        f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} did not find the others at {host}:{port} within "
        f"{timeout:.0f} s ({text.splitlines()[0][:200]}): MASTER_ADDR must be the first machine, reachable from all, and every "
        "process must have started"
    )


def pick_device(wanted: str) -> str:
    """``cpu`` or ``cuda:LOCAL_RANK``, which becomes this process's current device."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but torch finds no GPU; use --device cpu")
    rank, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= found:
        raise InputError(
            f"process {rank} of this node has no GPU of its own, torch finds {found}; start at most {found} processes per node"
        )
    torch.cuda.set_device(rank)  # messages and kernels go to the current one
    return f"cuda:{rank}"
