"""What a run will take: memory per rank by ZeRO stage, the time of a step from a short measurement here, and days on many GPUs.

Model of a step on ``n`` GPUs, each with ``k`` micro-batches of every stream (what :func:`share` gives it):

    compute   sum over its micro-batches of the time measured here / device_speedup
    waiting   compute * (u + e * sqrt(2 ln n)): u by how much the largest of the n shares is above the mean as dealt, by estimated
              costs; e the relative error of the estimate of a share, which has the expected maximum of n normal variables
    messages  V / bandwidth + calls * 2 ceil(log2 n) * latency, V the bytes that a rank sends in ring or tree collectives
    update    measured here / device_speedup, divided by n from stage 1 on
    saving    4 float32 numbers per parameter to one disk, every ``save_every`` steps

Messages are not hidden behind the backward pass (ours run at its end), loading is (``time/loader`` of a run says whether).
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from atomfield.models.network import AtomFieldNet

from .clock import Clock
from .config import PlanConfig, PretrainConfig
from .dealing import alike, costs_of, deal
from .ema import Ema
from .engine import TorchEngine, parameter_groups
from .step import MicroBatch, guarded_step
from .streams import Stream

STEPS = 3
"""Measured after one that is not."""
DEALT = 4
"""Steps whose shares are compared."""
ESTIMATE = 0.15
"""Relative error of the estimated cost of a micro-batch (``benchmarks/dealing.py``)."""
DISK = 1e9
"""Bytes per second that rank 0 writes a checkpoint with."""


@dataclass(frozen=True)
class Measured:
    """One step on this machine: every stream's micro-batches on one device."""

    per_stream: tuple[float, ...]
    """Seconds for forward and backward of one micro-batch of each stream."""
    update: float
    """Seconds for clipping, the optimiser and the moving average."""
    loading: float
    """Seconds to make the micro-batches of a step, one after another."""
    activations: float
    """Bytes by which a micro-batch raises the memory in use: on a CPU that of the whole process, so roughly."""


@dataclass(frozen=True)
class Prediction:
    """Seconds of one step on ``gpus``, what it sees, and the days for all records."""

    gpus: int
    compute: float
    waiting: float
    messages: float
    update: float
    saving: float
    records: float
    days: float

    @property
    def step(self) -> float:
        return self.compute + self.waiting + self.messages + self.update + self.saving

    @property
    def efficiency(self) -> float:
        """The share of a step in which a GPU computes."""
        return self.compute / self.step


def memory(parameters: int, stage: int, ranks: int) -> dict[str, float]:
    """Bytes per rank that do not depend on the batch, float32 throughout: ``weights``, ``gradients`` (at stages 0 and 1 as
    collected and as DeepSpeed sends them), ``optimizer`` (Adam's two averages and, from stage 1 on, the partition it works on),
    ``average`` (the moving average, whole on every rank)."""
    one = 4.0 * parameters
    return {
        "weights": one / ranks if stage == 3 else one,
        "gradients": one / ranks if stage >= 2 else 2 * one,
        "optimizer": 2 * one if stage == 0 else 3 * one / ranks,
        "average": one,
    }


def message_bytes(parameters: int, stage: int, ranks: int, micro_batches: int) -> tuple[float, int]:
    """Bytes that a rank sends in one step, and how many collectives.

    Reducing to all, or scattering and gathering, sends 2 (n - 1) / n of the gradient once a step (stages 0, 1). Stage 2 scatters
    after every micro-batch. Stage 3 gathers the weights twice for every micro-batch besides.
    """
    if ranks == 1:
        return 0.0, 0
    once = 4.0 * parameters * (ranks - 1) / ranks
    match stage:
        case 0 | 1:
            return 2 * once, 2
        case 2:
            return (micro_batches + 1) * once, micro_batches + 1
        case _:
            return 3 * micro_batches * once, 3 * micro_batches


def share(micro_batches: int, ranks: int) -> int:
    """Micro-batches of a stream that one rank computes; the step grows where there are more ranks than micro-batches."""
    return max(1, micro_batches // ranks)


def predict(
    config: PretrainConfig, measured: Measured, streams: list[Stream], parameters: int, gpus: int
) -> Prediction:
    """The model above."""
    plan = config.plan
    shares = [share(s.micro_batches, gpus) for s in streams]
    compute = math.fsum(k * t for k, t in zip(shares, measured.per_stream, strict=True)) / plan.device_speedup
    error = ESTIMATE / math.sqrt(sum(shares))
    unequal = _unequal(streams, shares, gpus, alike(config.zero_stage))
    waiting = compute * (unequal + error * math.sqrt(2 * math.log(gpus))) if gpus > 1 else 0.0
    sent, calls = message_bytes(parameters, config.zero_stage, gpus, sum(shares))
    calls += 2 if gpus > 1 else 0  # counts and verdict
    messages = sent / plan.bandwidth + calls * 2 * math.ceil(math.log2(gpus)) * plan.latency
    update = measured.update / plan.device_speedup / (gpus if config.zero_stage else 1)
    saving = 16.0 * parameters / DISK / config.save_every
    records = sum(k * gpus * _records(s) for k, s in zip(shares, streams, strict=True))
    wanted = plan.structures if plan.structures is not None else sum(len(s.items) for s in streams)
    step = compute + waiting + messages + update + saving
    return Prediction(
        gpus,
        compute,
        waiting,
        messages,
        update,
        saving,
        records,
        plan.epochs * wanted / records * step / 86400,
    )


def _records(stream: Stream) -> float:
    return len(stream.items) / stream.micro_batches_per_epoch


def _unequal(streams: list[Stream], shares: list[int], gpus: int, alike: bool) -> float:
    """By how much of the mean the costliest share of a step is above it, the mean of a few steps."""
    above = []
    for step in range(DEALT):
        costs = costs_of(streams, [range(step * k * gpus, (step + 1) * k * gpus) for k in shares])
        known = {key: cost for own in costs for key, cost in own.items()}
        loads = [sum(known[key] for key in hand) for hand in deal(costs, gpus, alike=alike)]
        above.append(max(loads) / statistics.fmean(loads) - 1)
    return statistics.fmean(above)


def measure(config: PretrainConfig, net: AtomFieldNet, streams: list[Stream], device: str) -> Measured:
    """Time a few steps of a copy of ``net``, one stream after another, with plain torch."""
    net = copy.deepcopy(net).to(device)
    net.backbone.prepare()
    engine = TorchEngine(net, parameter_groups(net, config.optimizer.weight_decay), config.optimizer)
    ema = Ema(net, config.optimizer.ema_decay)
    per_stream, update, loading, grown = [], [], 0.0, 0.0
    for stream in streams:
        passes = []
        for number in range(1 + STEPS):
            began = time.perf_counter()
            batch = stream.batch(number).to(device)
            made, clock, before = time.perf_counter() - began, Clock(device), _reset_peak(device)
            clock.exact = True
            micro = [MicroBatch(batch, stream.targets, stream.weight, stream.name)]
            guarded_step(engine, net, micro, config.loss, judge=lambda *numbers: "", clock=clock)
            with clock.phase("optimizer"):
                ema.update()
            spent = clock.read()
            grown = max(grown, _peak(device) - before)
            if number:
                passes.append(spent["forward"] + spent["backward"])
                update.append(spent["optimizer"])
                loading += made * stream.micro_batches / STEPS
        per_stream.append(statistics.median(passes))
    return Measured(tuple(per_stream), statistics.median(update), loading, grown)


def _reset_peak(device: str) -> float:
    """The memory in use now, bytes; peaks count from here."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    with suppress(OSError):  # Linux: 5 resets VmHWM
        Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _peak(device: str) -> float:
    return float(torch.cuda.max_memory_allocated()) if device.startswith("cuda") else _resident("VmHWM")


def _resident(name: str) -> float:
    """Bytes from /proc; NaN where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return 1024.0 * next((float(x.split()[1]) for x in lines if x.startswith(name)), math.nan)


def show(
    config: PretrainConfig, net: AtomFieldNet, streams: list[Stream], device: str, console: Console
) -> list[Prediction]:
    """Measure, print the tables and return what they say."""
    parameters = sum(p.numel() for p in net.parameters())
    console.print(_memory_table(parameters, config.plan.gpus))
    measured = measure(config, net, streams, device)
    step = math.fsum(t * s.micro_batches for t, s in zip(measured.per_stream, streams, strict=True))
    parts = ", ".join(f"{s.name} {1e3 * t:.0f} ms" for s, t in zip(streams, measured.per_stream, strict=True))
    console.print(
        f"Measured here ({device}): one step {step + measured.update:.2f} s on one device; a micro-batch of {parts}; update "
        f"{1e3 * measured.update:.0f} ms; batches of a step made in {1e3 * measured.loading:.0f} ms; activations "
        f"about {measured.activations / 1e6:.0f} MB",
        highlight=False,
    )
    whole = config.steps * (step + measured.update)
    console.print(
        f"The {config.steps:,} steps of this configuration: about {_span(whole)} on one device like this one"
        + ("" if config.max_time is None else f", and max_time ends it after {_span(config.max_time)}"),
        highlight=False,
    )
    found = [predict(config, measured, streams, parameters, n) for n in config.plan.gpus]
    console.print(_time_table(config.plan, found))
    console.print(
        "Records are what a stream counts: structures, or pairs of times of a flow. The model and its limits: docs/scaling.md",
        highlight=False,
    )
    return found


def _span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 h``, ``2.1 days``."""
    for unit, length in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _memory_table(parameters: int, gpus: Iterable[int]) -> Table:
    table = Table(
        title=f"{parameters:,} parameters: MB per rank beside activations (weights, gradients, optimizer, average)"
    )
    table.add_column("ranks")
    for stage in range(4):
        table.add_column(f"ZeRO {stage}", justify="right")
    for n in gpus:
        table.add_row(
            str(n), *(f"{sum(memory(parameters, stage, n).values()) / 1e6:,.1f}" for stage in range(4))
        )
    return table


def _time_table(plan: PlanConfig, found: list[Prediction]) -> Table:
    of = "the records here" if plan.structures is None else f"{plan.structures:,.0f} records"
    table = Table(
        title=f"{plan.epochs:g} epoch(s) of {of}; devices {plan.device_speedup:g} times as fast as this one, "
        f"{plan.bandwidth / 1e9:g} GB/s and {1e6 * plan.latency:g} us between them; times of a step in ms",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for column in (
        "GPUs", "compute", "waiting", "messages", "update", "step", "computing", "records/step", "days",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for p in found:
        times = (p.compute, p.waiting, p.messages, p.update + p.saving, p.step)
        days = f"{p.days:,.2f}" if p.days >= 0.01 else f"{86400 * p.days:.0f} s"
        table.add_row(
            str(p.gpus), *(f"{1e3 * t:.1f}" for t in times), f"{p.efficiency:.0%}", f"{p.records:,.0f}", days
        )
    return table
