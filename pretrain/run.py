"""Pretraining: read the sources, build the network, train with DeepSpeed, publish the averaged weights.

One process, ``torchrun`` and the ``deepspeed`` launcher all end here; they differ in the environment variables that they set.
"""

from __future__ import annotations

import copy
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError

from atomfield.data.errors import InputError, Interrupted, RunError
from atomfield.data.subset import Subset, forget_columns
from atomfield.models import checkpoint as public
from atomfield.models.denormals import flushed_denormals
from atomfield.models.network import AtomFieldNet
from atomfield.models.priors import explain

from .alone import alone_in
from .balance import balance_lines
from .clock import Clock
from .config import JUDGED, LossWeights, PretrainConfig
from .dealing import check_micro_batches
from .ema import Ema
from .engine import DeepSpeedEngine, prepare_environment
from .failures import contact_lost, file_trouble, memory_full
from .loop import Ending, Run, loader_of, train
from .losses import loss_sums
from .normalize import centred_line, reference_table
from .numerics import Guard
from .penalties import check_penalties
from .plan import show
from .processes import end_processes, pick_device, start_processes
from .ranks import barrier, distributed, first_on_node, lost_contact
from .record import Record
from .resume import refuse_another_folder, resume, roll_back
from .sources import (
    fitted_on_samples,
    nameless_levels,
    no_validation,
    opened,
    split,
    stream_of,
    without_labels,
)
from .start import build, check_pieces
from .state import whole_weights
from .stopping import StopRequest
from .streams import NoItems, Stream
from .trials import tried, why_none
from .work import machine_of


def pretrain(config: PretrainConfig, *, plan: bool = False) -> dict[str, Any]:
    """Run ``config``; with ``plan`` only print what would be done. Returns the last validation metrics."""
    console = Console(stderr=True)
    device = pick_device(config.device)
    prepare_environment(device)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    check_micro_batches(
        [(s.sources[0], s.micro_batches) for s in config.streams], world_size, config.zero_stage
    )
    sources = {name: opened(name) for s in config.streams for name in s.sources}
    parts = {name: split(graphs) for name, graphs in sources.items()}
    train_sets = {name: train for name, (train, _) in parts.items()}
    valid_sets = {name: valid for name, (_, valid) in parts.items()}
    taught = {name for s in config.streams if s.objective in JUDGED for name in s.sources}
    labelled = [number for number, name in enumerate(train_sets) if name in taught]
    for name, graphs in train_sets.items():
        if not len(graphs):
            raise InputError(f"all {len(sources[name])} records are held out, none is left to train on", name)
    built = build(config, list(train_sets.values()), labelled)
    net, factors = built.net, built.factors
    check_pieces(net, config, world_size)
    net.backbone.recompute = config.recompute
    net.compile_passes(config.compile)
    streams = [
        stream_of(config, number, train_sets, net.config.cutoff, factors)
        for number in range(len(config.streams))
    ]
    notes = [
        *without_labels(train_sets, built.unlabelled), nameless_levels(train_sets), compile_note(net, streams, device),
        *fitted_on_samples(train_sets, config.fit_records), *built.dominated, none_is_best(config),
    ]  # fmt: skip
    check_penalties(net, streams, config.loss, "cpu")
    if rank == 0:
        held = [sum(len(valid_sets[name]) for name in s.sources) for s in config.streams]
        console.print(_plan_table(config, net, streams, held, world_size))
        said = (
            "valid: validation records; epoch, step: micro-batches of each; edges: of a micro-batch at most"
        )
        for line in filter(None, (said, *notes, *balance_lines(config, factors))):
            console.print(line, highlight=False)
        if built.references:
            console.print("Reference energies\n" + reference_table(built.references), highlight=False)
        for level, name, mean in built.offsets:
            console.print(centred_line(name, mean, level), highlight=False)
        for found in built.properties:
            console.print(f"property {found.config.name}: {found.reason}", highlight=False)
        atoms = [fit.level for fit in built.references]
        for line in explain(net.config, atoms):
            console.print(line, highlight=False)
    if plan:
        if rank == 0:
            show(config, net, streams, device, console)
        return {}
    config.out.mkdir(parents=True, exist_ok=True)
    with StopRequest(aloud=rank == 0) as request, alone_in(config.out, main=rank == 0):
        if rank == 0:
            refuse_another_folder(config.out)
        try:
            run = _start(config, net, streams, valid_sets, device, request)
            for graphs in train_sets.values():
                forget_columns(graphs)  # streams hold what they need of them
            if rank == 0:
                for line in (no_validation(streams, run.validation), why_none(config, run.validation)):
                    if line:
                        console.print(line, highlight=False)
            resume(run, console)
            if rank == 0:  # now that nothing refuses it
                write_settings(run)
            ending = _train(run, console)
            if rank == 0 and ending == "done":
                bare: AtomFieldNet = run.ema.module  # type: ignore[assignment]
                with run.ema.applied():
                    public.save(bare, config.out / "model", card(config, bare, run.here.step))
                console.print(f"Saved {config.out / 'model'} after {run.here.step} steps")
            barrier()
        except torch.OutOfMemoryError as error:
            raise RunError(memory_full(config, device, error)) from error
        except RuntimeError as error:
            if isinstance(error, RunError) or not lost_contact(error):
                raise
            raise RunError(contact_lost(config, rank)) from error
        except (OSError, SafetensorError) as error:
            raise RunError(file_trouble(config, error)) from error
        end_processes()
    if ending == "stopped":
        asked = request.wanted or "a signal to another rank"
        said = f"{asked}: saved step {run.here.step} in {run.checkpoints}; the same command goes on"
        raise Interrupted(said if rank == 0 else "")
    return last_metrics(config.out)


def _start(
    config: PretrainConfig,
    net: AtomFieldNet,
    streams: list[Stream],
    valid_sets: dict[str, Subset],
    device: str,
    request: StopRequest,
) -> Run:
    """The process group, the engine around the network, and what else the loop works on."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    start_processes(device, config.timeout)
    net.to(device)
    first_on_node(lambda: compiled(net, streams, config.loss, device))  # the others find the kernels compiled
    clock = Clock(device)
    bare = copy.deepcopy(net) if config.zero_stage == 3 else net  # ZeRO 3 takes the network apart
    net.backbone.in_step = config.zero_stage == 3
    engine = DeepSpeedEngine(
        net,
        config.optimizer,
        zero_stage=config.zero_stage,
        accumulation=sum(s.micro_batches for s in config.streams) // world_size,
        clock=clock,
    )
    net.replay_passes(
        config.cuda_graphs and device.startswith("cuda")
    )  # weights stay where the engine has put them
    validation = []
    for number, s in enumerate(config.streams):
        if s.objective in JUDGED:
            with suppress(NoItems):
                validation.append(
                    stream_of(config, number, valid_sets, net.config.cutoff, (), validation=True)
                )
    ema = Ema(
        bare, config.optimizer.ema_decay, (lambda: whole_weights(engine)) if config.zero_stage == 3 else None
    )
    guard = Guard(config.numerics)
    machine = machine_of(device, net.dtype, world_size)
    return Run(
        config,
        net,
        engine,
        ema,
        streams,
        validation,
        rank,
        world_size,
        device,
        clock,
        guard,
        request,
        machine,
    )


def write_settings(run: Run) -> None:
    """What the run is made of: its configuration, DeepSpeed's, and the machine."""
    settings = yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False)
    (run.config.out / "config.yaml").write_text(settings)
    for name, content in (("deepspeed.json", run.engine.settings), ("machine.json", run.machine)):
        (run.config.out / name).write_text(json.dumps(content, indent=2) + "\n")


def compiled(net: AtomFieldNet, streams: list[Stream], weights: LossWeights, device: str) -> None:
    """Fill the caches of this node with the kernels of ``net``. Those for GPUs are compiled by their first call; a single process
    leaves that to its first step."""
    net.backbone.prepare()
    if device.startswith("cuda") and distributed():
        first_passes(net, streams, weights, device)


def first_passes(net: AtomFieldNet, streams: list[Stream], weights: LossWeights, device: str) -> None:
    """One pass there and back over a micro-batch of each stream, which changes nothing."""
    parameters = list(net.parameters())
    with torch.random.fork_rng([device] if device.startswith("cuda") else []):  # torch warns of all GPUs
        for stream in streams:
            batch = stream.batch(0).to(device)
            terms = loss_sums(net, net, batch, stream.targets, weights)
            if terms:
                loss = sum(terms.values(), torch.zeros((), dtype=torch.float64, device=device))
                torch.autograd.grad(loss.to(net.dtype), parameters, allow_unused=True)


@flushed_denormals()
def _train(run: Run, console: Console) -> Ending:
    """The loop, again and again while it asks to go back to the last checkpoint."""
    config = run.config
    with Record(
        config.out,
        config.steps,
        main=run.rank == 0,
        title="pretrain",
        wandb=config.wandb,
        config=config.model_dump(mode="json"),
        start=run.here.step,
    ) as record:
        while True:
            with loader_of(run) as batches:
                ending = train(run, record, batches)
            match ending:
                case "back":
                    roll_back(run, record, console)
                case "trial":
                    if tried(run, record):
                        return "stopped"
                case _:
                    return ending


def none_is_best(config: PretrainConfig) -> str:
    """A sentence where ``keep_best`` finds nothing to compare."""
    if not config.keep_best or math.lcm(config.save_every, config.validate_every) == config.save_every:
        return ""
    return (
        f"keep_best: a checkpoint has a score where there is a validation at its step: save_every {config.save_every} is no "
        f"multiple of validate_every {config.validate_every}, so others are kept by their age alone"
    )


def compile_note(net: AtomFieldNet, streams: list[Stream], device: str) -> str:
    """A sentence where ``compile: true`` changes nothing."""
    if net.compiled is None:
        return ""
    served = ("supervised", "denoise")
    if device == "cpu":
        why = "processors have kernels of their own"
    elif not any(s.targets.objective in served and s.graphs[0].world != "field" for s in streams):
        why = f"it serves the objectives {' and '.join(served)} on atoms, and no stream is of these"
    elif hindrance := net.compiled.hindrance():
        why = f"it does not serve a network with {hindrance}"
    else:
        return ""
    return f"compile: true changes nothing: {why}"


def last_metrics(out: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return next((row for row in reversed(rows) if any(k.startswith("valid/") for k in row)), {})


def _plan_table(
    config: PretrainConfig, net: AtomFieldNet, streams: list[Stream], held: list[int], world_size: int
) -> Table:
    parameters = sum(p.numel() for p in net.parameters())
    table = Table(
        title=f"{parameters:,} parameters, {world_size} process(es), ZeRO {config.zero_stage}, {config.steps} steps"
        + (f" or {config.max_time:.0f} s" if config.max_time else ""),
        box=SIMPLE_HEAD,
        padding=0,
    )
    for column in ("stream", "objective", "items", "valid", "epoch", "step", "edges"):
        table.add_column(column, overflow="fold")
    for s, stream, records in zip(config.streams, streams, held, strict=True):
        table.add_row(
            stream.name,
            s.objective,
            str(len(stream.items)),
            str(records) if s.objective in JUDGED else "-",
            str(stream.micro_batches_per_epoch),
            str(s.micro_batches),
            str(s.max_edges),
        )
    return table


def card(config: PretrainConfig, net: AtomFieldNet, steps: int) -> str:
    """The README of the public checkpoint."""
    sources = "\n".join(f"- `{'`, `'.join(s.sources)}`: {s.objective}" for s in config.streams)
    return f"""---
library_name: atomfield
license: apache-2.0
---
# AtomField checkpoint

An E(3)-equivariant network for atoms and fields, {sum(p.numel() for p in net.parameters()):,}
parameters, pretrained for {steps} steps on

{sources}

Levels (one row of every head each): {", ".join(net.config.levels)}.

```python
import atomfield
model = atomfield.load("path/to/this/folder")
```

Units: eV, angstrom, e for atoms (stress in eV/angstrom^3, positive in tension); fields in the units of their records.
"""
