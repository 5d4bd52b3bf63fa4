"""Pretraining runs small enough to be started hundreds of times, as forks of one process that has the libraries loaded."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a fork of a process with OpenMP threads may hang
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("ATOMFIELD_KERNEL_FLAGS", "-O1")
import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401  # what a run would import late, so that forks share it
import e3nn.o3  # noqa: F401

from atomfield.data.errors import InputError, Provenance, RunError
from atomfield.data.source import open_source
from atomfield.data.store import write_store
from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain.run import pretrain

NETWORK = {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}


def write_sources(folder: Path) -> dict[str, Any]:
    """Forty molecules and four short flows of the starter corpus as stores; returns the options of a run on both worlds."""
    molecules, flows = open_source("starter/molecules"), open_source("starter/fields")
    clean = [
        replace(molecules[n], provenance=Provenance("molecules", n))
        for n in range(0, len(molecules), len(molecules) // 40)
    ]
    write_store(clean, folder / "molecules")
    write_store([flows[n].window(0, 4) for n in range(4)], folder / "flows")
    return {
        "streams": [
            {"source": str(folder / "molecules"), "micro_batches": 2, "max_edges": 400},
            {"source": str(folder / "flows"), "objective": "next_step", "micro_batches": 2, "max_edges": 500},
        ],
        "network": NETWORK,
        "zero_stage": 1,
        "log_every": 1,
        "keep_last": 2,
        "wandb": "disabled",
        "device": "cpu",
    }


@dataclass
class Child:
    """The ranks of one run, forked."""

    pids: list[int]
    log: Path
    codes: dict[int, int] = field(default_factory=dict)
    """pid -> exit code, negative for a signal."""

    def poll(self) -> bool:
        """Whether all ranks have ended."""
        for pid in self.pids:
            if pid not in self.codes:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return len(self.codes) == len(self.pids)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of all ranks, at most so long."""
        end = time.monotonic() + seconds
        while not self.poll():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def signal(self, pid: int, number: signal.Signals) -> None:
        if pid not in self.codes:
            os.kill(pid, number)

    def end(self) -> None:
        for pid in self.pids:
            self.signal(pid, signal.SIGKILL)
        self.wait(10)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]


def start(options: dict[str, Any], log: Path, ranks: int = 1, prepare: Any = None) -> Child:
    """Fork the ranks of a run; ``prepare()`` is called in each of them first."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    pids = []
    log.write_text("")
    for rank in range(ranks):
        pid = os.fork()
        if pid == 0:
            _be_rank(options, log, rank, ranks, port, prepare)
        pids.append(pid)
    return Child(pids, log)


def _be_rank(options: dict[str, Any], log: Path, rank: int, ranks: int, port: int, prepare: Any) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = 1
    try:
        if prepare is not None:
            prepare()
        pretrain(PretrainConfig(**options))
        code = 0
    except RunError as error:
        code = error.code
        os.write(2, f"\n{type(error).__name__}: {error}\n".encode())
    except InputError as error:
        code = 2
        os.write(2, f"\nInputError: {error}\n".encode())
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def outcome(out: Path) -> tuple[list[tuple[int, str]], bytes]:
    """(step, loss to the bit) of every logged step, and the bytes of the published weights."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [(r["step"], r["train_loss"].hex()) for r in rows if "train_loss" in r]
    return losses, (out / "model" / "model.safetensors").read_bytes()


def undisturbed(
    options: dict[str, Any], out: Path, ranks: int = 1, patience: float = 600.0
) -> tuple[Any, float]:
    """The outcome of a run that nothing disturbs, and its seconds. ``patience``: seconds after which it counts as failed."""
    began = time.monotonic()
    child = start({**options, "out": str(out)}, out.with_suffix(".log"), ranks)
    if not child.wait(patience) or any(child.codes.values()):
        raise SystemExit(f"the undisturbed run failed: {child.codes}\n{child.said()}")
    return outcome(out), time.monotonic() - began
