"""Short real pretrainings on one GPU, through the project's own engine: throughput, share of the peak, memory, bfloat16, resume.

    python benchmarks/gpu_pretrain.py data DIR                     stores to be carried along, 5 MB
    python benchmarks/gpu_pretrain.py run --data DIR [--limit 240] the cases, best first; results/gpu_pretrain.json grows by case
    python benchmarks/gpu_pretrain.py page                         results/gpu_pretrain.md

Every case is a process of its own. Cases come up side by side, since each compiles kernels in its first step; then they wait,
their memory given back, and are measured one after another. A case whose kernels another one compiles starts when that one is
there. What is not measured when the time is over says so. ``run --device cpu --tiny`` tries it all without a GPU.

bfloat16 is not offered by the package: here products with weights (channel mixing, radial networks, gates) are made in it, while
positions, directions, products of features and sums over neighbours stay float32 (``bf16.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import commit, description
from page_text import table, wrapped

if TYPE_CHECKING:
    from atomfield.data.graph import Graph

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TINY = {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}
WORLDS = {
    "atoms": ("supercells",),
    "molecules": ("molecules",),
    "fields": ("fields",),
    "all": ("molecules", "supercells", "fields"),
}
KEPT = {"molecules": 3, "crystals": 2, "fields": 2}
"""Every so many records of the starter corpus."""
SUPERCELLS, ATOMS = 96, 300
"""So many metals of about so many atoms: few large records, which batches are made of faster than a card computes them."""
STOP_AT = 10
"""The step in which the run that is stopped gets its signal."""


@dataclass(frozen=True)
class Case:
    """One pretraining. ``edges``: of a micro-batch at most. ``after``: a case that compiles the same kernels, or that must have
    ended (``resume``). ``seconds``: for the measured steps."""

    name: str
    network: str = "s"
    world: str = "atoms"
    forces: str = "conservative"
    compile: bool = False
    graphs: bool = True
    """Small batches as CUDA graphs."""
    bf16: bool = False
    edges: int = 400_000
    zero_stage: int = 1
    steps: int = 30
    workers: int = 0
    seconds: float = 20.0
    kind: str = "speed"
    """``speed``; ``stop``: two undisturbed runs and one that gets SIGTERM; ``resume``: what goes on from that; ``starter``: the
    shipped configuration."""
    after: str = ""


S, M = "conservative s", "conservative m"
CASES = (
    Case(S),
    Case(f"{S}, compiled", compile=True, seconds=30),
    Case("direct s", forces="direct", after=S),
    Case("direct s, bf16", forces="direct", bf16=True, after=S),
    Case("direct s, compiled", forces="direct", compile=True, after=S, seconds=30),
    Case("direct s, bf16, compiled", forces="direct", bf16=True, compile=True, after=S, seconds=30),
    Case("fields s", world="fields", after=S),
    Case("three worlds s, compiled", world="all", compile=True, after=f"{S}, compiled", seconds=30),
    Case(M, network="m", edges=150_000),
    Case("stopped by SIGTERM", world="all", edges=20_000, steps=20, kind="stop", after=S, seconds=40),
    Case("went on", world="all", edges=20_000, steps=20, kind="resume", after="stopped by SIGTERM"),
    Case(f"{M}, compiled", network="m", edges=150_000, compile=True, seconds=30),
    Case("direct m", network="m", forces="direct", edges=150_000, after=M),
    Case("direct m, bf16", network="m", forces="direct", bf16=True, edges=150_000, after=M),
    Case("pretrain_starter.yaml", kind="starter", steps=60, after=S, seconds=30),
    Case(f"{S}, a million edges", edges=1_000_000, steps=20, after=S),
    Case("three worlds s", world="all", after=S),
    Case(f"{S}, ZeRO 0", zero_stage=0, after=S),
    Case("molecules s, 20,000 edges", world="molecules", edges=20_000, steps=120, workers=4, after=S),
    Case(
        "molecules s, 20,000 edges, no graphs",
        world="molecules",
        edges=20_000,
        steps=120,
        workers=4,
        graphs=False,
        after=S,
    ),
    Case("molecules s", world="molecules", edges=100_000, after=S),
    Case("molecules s, 4 workers", world="molecules", edges=100_000, workers=4, after=S, seconds=30),
    Case("fields m", network="m", world="fields", edges=150_000, after=M),
    Case("conservative s, bf16", bf16=True, after=S),
    Case("conservative l", network="l", edges=50_000, steps=20),
    Case(
        "direct l, bf16",
        network="l",
        forces="direct",
        bf16=True,
        edges=50_000,
        steps=20,
        after="conservative l",
    ),
)


# ---------------------------------------------------------------- data
def write_data(folder: Path) -> None:
    """A part of each of the three worlds of the starter corpus."""
    from atomfield.data.errors import Provenance
    from atomfield.data.source import open_source
    from atomfield.data.store import write_store

    for name, each in KEPT.items():
        source = open_source(f"starter/{name}")
        kept = (replace(source[n], provenance=Provenance(name, n)) for n in range(0, len(source), each))
        index = write_store(kept, folder / name, form="parquet")
        print(f"{name}: {index['num_records']} records")
    index = write_store(supercells(), folder / "supercells", form="parquet")
    print(f"supercells: {index['num_records']} records")


def supercells() -> Iterator[Graph]:
    """Rattled metals and alloys of the generator of the starter corpus, at its level of theory (``emt``)."""
    import numpy as np
    from ase.calculators.emt import EMT

    from atomfield.data.errors import Provenance
    from atomfield.data.generate.lattices import METALS, build, deform, labelled, reduced_formula

    rng = np.random.default_rng(0)
    kinds = [("fcc", (a,)) for a in METALS] + [("L1_2", (a, b)) for a in METALS for b in METALS if a != b]
    for number in range(SUPERCELLS):
        prototype, elements = kinds[number % len(kinds)]
        atoms = build(prototype, elements)
        atoms = atoms * ((round((ATOMS / len(atoms)) ** (1 / 3)),) * 3)
        deform(atoms, rng, (0.95, 1.05), 0.02, (0.02, 0.1))
        atoms.calc = EMT()
        forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
        group = f"{reduced_formula(atoms.get_chemical_symbols())}-{prototype}"
        graph = labelled(atoms, float(atoms.get_potential_energy()), forces, stress, "emt", group)
        yield replace(graph, provenance=Provenance("supercells", number))


# ---------------------------------------------------------------- one case, in a process of its own
def settings(case: Case, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """The configuration of a run."""
    common = {
        "out": str(out), "steps": case.steps, "log_every": min(10, case.steps), "validate_every": 10_000, "save_every": 10_000,
        "wandb": "disabled", "device": given.device,
    }  # fmt: skip
    if case.kind == "starter":
        import yaml

        read = yaml.safe_load((HERE.parent / "configs" / "pretrain_starter.yaml").read_text())
        return {**read, **common} | ({"network": TINY} if given.tiny else {})
    edges = 300 if given.tiny else int(case.edges * given.scale)
    streams: list[dict[str, Any]] = []
    for name in WORLDS[case.world]:
        stream = {"source": str(given.data / name), "micro_batches": 1, "max_edges": edges}
        match name:
            case "supercells" if given.tiny:
                stream["source"] = str(given.data / "crystals")
            case "molecules" if case.world == "all":  # small records take the loader longer than the card
                stream["max_edges"] = min(edges, 60_000)
            case "fields":
                stream |= {"objective": "next_step", "noise": 0.005, "max_edges": max(edges, 4700)}
        streams.append(stream)
    if case.kind != "speed":
        common |= {"log_every": 1}
    return {
        **common, "streams": streams, "network": TINY if given.tiny else case.network, "forces": case.forces,
        "compile": case.compile, "cuda_graphs": case.graphs, "zero_stage": case.zero_stage, "workers": case.workers,
    }  # fmt: skip


def work(case: Case, given: argparse.Namespace) -> None:
    """In the child: its first step, a word to the parent, and the rest when the parent says so. Prints one JSON."""
    import torch
    import torch.distributed as dist

    from atomfield.data.errors import Interrupted
    from atomfield.pretrain import loop
    from atomfield.pretrain import run as running
    from atomfield.pretrain.config import PretrainConfig

    cuda = given.device == "cuda"
    began, calls = time.monotonic(), 0
    found: dict[str, Any] = {}
    real_rate, real_batches, real_build = loop.set_learning_rate, loop.micro_batches_of, running.build
    real_validate = loop.validate
    dist.destroy_process_group = lambda *_: None  # several runs in one process

    def gated(*what: Any) -> None:  # called before each step, outside of what is timed
        nonlocal calls
        calls += 1
        if calls == 2:
            if cuda:
                torch.cuda.synchronize()
                found["first_step_mb"] = torch.cuda.max_memory_allocated() / 2**20
                torch.cuda.empty_cache()
            found["ready_s"] = time.monotonic() - began
            tell({"ready": True})
            sys.stdin.readline()
            if cuda:
                torch.cuda.reset_peak_memory_stats()
        real_rate(*what)

    def signalled(run: Any, batches: Any) -> Any:
        if run.here.step == STOP_AT and "stopped" in str(run.config.out) and case.kind == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        return real_batches(run, batches)

    def validated(net: Any, *what: Any) -> Any:  # a compiled pass without gradients would take another minute
        kept, net.compiled = net.compiled, None
        try:
            return real_validate(net, *what)
        finally:
            net.compiled = kept

    loop.validate = validated
    with ExitStack() as stack:

        def built(*what: Any, **options: Any) -> Any:
            out = real_build(*what, **options)
            if case.bf16:
                from bf16 import mixing_in_bf16

                stack.enter_context(mixing_in_bf16(out.net))
                for layer in out.net.backbone.layers:
                    layer.fused = layer.convolution.fused = cuda  # kernels for processors know no modules
            return out

        loop.set_learning_rate, loop.micro_batches_of, running.build = gated, signalled, built
        outs = {"stop": ("whole", "again", "stopped"), "resume": ("stopped",)}.get(
            case.kind, (slug(case.name),)
        )
        for name in outs:
            out = given.folder / name
            try:
                last = running.pretrain(PretrainConfig(**settings(case, given, out)))
            except Interrupted:
                found["interrupted"] = True
                continue
            found |= summary(out, last)
    if cuda:
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
        found["device"] = torch.cuda.get_device_name()
    if case.bf16:
        from atomfield.pretrain.work import peak_of

        found["bf16_peak_flops"] = peak_of(given.device + ":0" * cuda, torch.bfloat16)
        found["fraction_of_bf16_peak"] = found["flops_per_second"] / found["bf16_peak_flops"]
    if case.kind == "stop":
        found["repeats_itself"] = compared(given.folder / "whole", given.folder / "again")
    if case.kind == "resume":
        found["beside_undisturbed"] = compared(given.folder / "whole", given.folder / "stopped")
    tell({"result": found})


def summary(out: Path, last: dict[str, Any]) -> dict[str, Any]:
    """Of a finished run: medians of what was logged after the first ten steps, the last loss, and the validation."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [r for r in lines if "train_loss" in r]
    settled = rows[2:] or rows[1:] or rows
    keys = [k for k in settled[-1] if k.endswith(("_per_second", "of_peak")) or k.startswith("time/")]
    valid = {k: v for k, v in last.items() if k.startswith("valid")}
    skipped = out / "skipped.jsonl"
    return {
        **{k: statistics.median(r[k] for r in settled) for k in keys},
        "first_loss": rows[0]["train_loss"],
        "loss": rows[-1]["train_loss"],
        "losses": {str(r["step"]): r["train_loss"] for r in rows},
        "skipped": len(skipped.read_text().splitlines()) if skipped.is_file() else 0,
        "equivariance_error": max(
            (v for k, v in valid.items() if k.endswith("equivariance_error")), default=None
        ),
        "valid": valid,
        "machine": json.loads((out / "machine.json").read_text()),
    }


def compared(whole: Path, other: Path) -> dict[str, Any]:
    """How far two runs of one configuration are apart: losses by step and published weights, relative."""
    from safetensors.torch import load_file

    losses = []
    for out in (whole, other):
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses.append({r["step"]: r["train_loss"] for r in rows if "train_loss" in r})
    apart = {s: abs(losses[1][s] - a) / abs(a) for s, a in losses[0].items() if s in losses[1]}
    weights = [load_file(out / "model" / "model.safetensors") for out in (whole, other)]
    moved = max(
        float((weights[1][k].double() - a.double()).norm() / a.double().norm().clamp_min(1e-30))
        for k, a in weights[0].items()
        if a.is_floating_point() and a.numel()
    )
    same = all(bytes(weights[1][k].numpy().tobytes()) == a.numpy().tobytes() for k, a in weights[0].items())
    return {
        "steps": len(apart), "largest_loss_difference": max(apart.values()), "largest_weight_difference": moved,
        "identical": same and not any(apart.values()),
        "before_the_signal": max((d for s, d in apart.items() if s <= STOP_AT), default=0.0),
    }  # fmt: skip


def tell(word: dict[str, Any]) -> None:
    print("@" + json.dumps(word), flush=True)


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


# ---------------------------------------------------------------- the parent
@dataclass
class Child:
    """A case's process: ``starting``, ``ready``, ``measuring`` or ``ended``."""

    case: Case
    process: subprocess.Popen[str]
    log: Path
    began: float = field(default_factory=time.monotonic)
    state: str = "starting"
    until: float = float("inf")
    result: dict[str, Any] = field(default_factory=dict)

    def end(self, why: str) -> None:
        self.process.kill()
        self.process.wait()
        self.result = {"error": why}
        self.state = "ended"

    def said(self) -> str:
        lines = [x for x in self.log.read_text(errors="replace").splitlines() if x.strip()]
        wrong = [x for x in lines if "Error" in x]
        return " | ".join(wrong[-2:] or lines[-2:])[-600:]


def start(case: Case, given: argparse.Namespace, words: queue.Queue[tuple[str, dict[str, Any]]]) -> Child:
    log = given.folder / f"{slug(case.name)}.log"
    options = [
        "work",
        "--case",
        case.name,
        "--data",
        str(given.data),
        "--device",
        given.device,
        "--folder",
        str(given.folder),
    ]
    options += ["--scale", str(given.scale)] + ["--tiny"] * given.tiny
    # compilers of several cases run at once
    environment = {
        "TORCHINDUCTOR_COMPILE_THREADS": "4",
        "OMP_NUM_THREADS": "2",
        "PYTHONUNBUFFERED": "1",
        **os.environ,
    }
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True, env=environment,
    )  # fmt: skip

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("@"):
                words.put((case.name, json.loads(line[1:])))
        words.put((case.name, {"ended": process.wait()}))

    threading.Thread(target=listen, daemon=True).start()
    return Child(case, process, log)


def run(given: argparse.Namespace) -> None:
    names = {c.name for c in CASES}
    if unknown := set(given.cases) - names:
        raise SystemExit(
            f"--case {', '.join(sorted(unknown))} is unknown, expected some of {'; '.join(names)}"
        )
    cases = [c for c in CASES if not given.cases or c.name in given.cases]
    end, words = time.monotonic() + given.limit, queue.Queue[tuple[str, dict[str, Any]]]()
    head = {"machine": description(), "commit": commit(HERE), "limit": given.limit, "scale": given.scale}
    rows: list[dict[str, Any]] = []
    children: dict[str, Child] = {}
    waiting = list(cases)

    def finished(child: Child) -> None:
        rows.append({**asdict(child.case), **child.result, "whole_s": time.monotonic() - child.began})
        write(given.out, {**head, "rows": rows})
        print(line_of(rows[-1]), flush=True)

    try:
        while (waiting or any(c.state != "ended" for c in children.values())) and time.monotonic() < end:
            free = given.together - sum(
                c.state in ("starting", "ready", "measuring") for c in children.values()
            )
            for case in [c for c in waiting if may_start(c, children, cases)][: max(0, free)]:
                waiting.remove(case)
                children[case.name] = start(case, given, words)
            ready = [c for c in children.values() if c.state == "ready"]
            if ready and not any(c.state == "measuring" for c in children.values()):
                child = min(ready, key=lambda c: cases.index(c.case))
                child.state, child.until = "measuring", time.monotonic() + given.patience * child.case.seconds
                child.result["starting_beside"] = sum(c.state == "starting" for c in children.values())
                assert child.process.stdin is not None
                child.process.stdin.write("go\n")
                child.process.stdin.flush()
            hear(children, words)
            for child in children.values():
                if child.state != "ended" and time.monotonic() > child.until:
                    child.end(f"took longer than {given.patience * child.case.seconds:.0f} s")
                if child.state == "ended" and not any(r["name"] == child.case.name for r in rows):
                    finished(child)
    finally:
        for child in children.values():
            if child.state != "ended":
                child.end(f"the time was over ({child.state})")
                finished(child)
        for case in waiting:
            rows.append({**asdict(case), "error": "not reached in time"})
        write(given.out, {**head, "rows": rows})


def may_start(case: Case, children: dict[str, Child], cases: list[Case]) -> bool:
    """Whether what it comes after is there, or is not among the cases at all."""
    if not any(c.name == case.after for c in cases):
        return case.kind != "resume"
    before = children.get(case.after)
    return before is not None and before.state in (
        ("ended",) if case.kind == "resume" else ("ready", "measuring", "ended")
    )


def hear(children: dict[str, Child], words: queue.Queue[tuple[str, dict[str, Any]]]) -> None:
    """What children have said, after a moment's wait at most."""
    try:
        name, word = words.get(timeout=0.1)
    except queue.Empty:
        return
    child = children[name]
    if "ready" in word:
        child.state = "ready"
    elif "result" in word:
        child.result |= word["result"]
    elif child.state != "ended":
        child.state = "ended"
        if "loss" not in child.result:
            child.result["error"] = f"ended with {word['ended']}; {child.said()}"


def write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


# ---------------------------------------------------------------- the page
def line_of(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['name']}: {row['error']}"
    nodes = row["atoms_per_second"] + row["points_per_second"]
    return (
        f"{row['name']}: {nodes:,.0f} nodes/s, {row['fraction_of_peak']:.1%} of peak, {row.get('peak_mb', 0) / 1024:.1f} GB, "
        f"loss {row['loss']:.4f}, ready in {row.get('ready_s', 0):.0f} s, in all {row['whole_s']:.0f} s"
    )


def page(found: dict[str, Any]) -> str:
    done = [r for r in found["rows"] if "error" not in r and r["kind"] in ("speed", "starter")]
    failed = [r for r in found["rows"] if "error" in r]
    phases = ("loader", "forward", "backward", "optimizer")
    speed = [
        (
            r["name"], f"{r['edges']:,}" if r["kind"] == "speed" else "as shipped",
            f"{r['atoms_per_second'] + r['points_per_second']:,.0f}", f"{r['flops_per_second'] / 1e12:.2f}",
            f"{r['fraction_of_peak']:.1%}" + (f" ({r['fraction_of_bf16_peak']:.1%})" if r["bf16"] else ""),
            f"{r.get('peak_mb', 0) / 1024:.1f}", *(f"{r[f'time/{p}']:.0%}" for p in phases), f"{r['ready_s']:.0f}",
        )
        for r in done
    ]  # fmt: skip
    learnt = [
        (r["name"], str(r["steps"]), f"{r['first_loss']:.4f}", f"{r['loss']:.4f}", _short(r["valid"].get("valid_score")),
         _short(r["equivariance_error"]), str(r["skipped"]))
        for r in done
    ]  # fmt: skip
    machine = next((r["machine"] for r in done), {})
    device, peak = machine.get("device", "nothing"), machine.get("peak_flops", 0.0) / 1e12
    version = machine.get("torch", "?")
    parts = [
        "# Pretraining on a GPU\n",
        f"`python benchmarks/gpu_pretrain.py data DIR`, `... run --data DIR --limit {found['limit']:g}`, `... page`; "
        f"{found['machine']['date'][:10]}, {device}, {found['machine']['cores']} cores, torch {version}, commit "
        f"{found['commit']}. Product of float32 matrices without TF32: {peak:.1f} TFLOP/s. Real runs of `atomfield pretrain` on "
        f"parts of the starter corpus, and of metals of {ATOMS} atoms by its generator: one micro-batch in a step, three with "
        "three worlds. Medians over the steps after the tenth; shares of time are those of the logged steps. Operations are "
        "counted by `pretrain/work.py`; in brackets the fraction of the card's bfloat16 product. *Ready*: seconds from the "
        "libraries' being loaded to the end of the first step, kernels compiled, while others started beside it.\n",
        *table(
            ("case", "edges", "atoms and points/s", "TFLOP/s", "of peak", "GB", *phases, "ready, s"), speed
        ),
        "",
        "Losses of bfloat16 stand beside float32 of the same seed and steps. The error of symmetry is that of one rotation with "
        "a reflection, on validation records, of the trained network (not of its compiled pass).\n",
        *table(("case", "steps", "first loss", "last loss", "validation", "symmetry", "skipped"), learnt),
    ]
    for name, key in (("stopped by SIGTERM", "repeats_itself"), ("went on", "beside_undisturbed")):
        row = next((r for r in found["rows"] if r["name"] == name and key in r), None)
        if row:
            parts.append(
                _apart(row[key], "The same run twice" if key == "repeats_itself" else "Stopped and gone on")
            )
    if failed:
        parts.append("\nNot measured:\n\n" + "\n".join(f"- {r['name']}: {r['error']}" for r in failed))
    return wrapped("\n".join(parts).splitlines()) + "\n"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _apart(found: dict[str, Any], what: str) -> str:
    if found["identical"]:
        return (
            f"\n{what}, beside an undisturbed one: the same bits in {found['steps']} losses and all weights."
        )
    return (
        f"\n{what}, beside an undisturbed one: losses of {found['steps']} steps differ by at most "
        f"{found['largest_loss_difference']:.1e} (up to step {STOP_AT} by {found['before_the_signal']:.1e}), weights by "
        f"{found['largest_weight_difference']:.1e} of their norm."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = parser.add_subparsers(dest="job", required=True)
    data = jobs.add_parser("data")
    data.add_argument("folder", type=Path)
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--data", type=Path, required=True)
    both.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    both.add_argument("--scale", type=float, default=1.0, help="times the edges of every case")
    both.add_argument(
        "--tiny", action="store_true", help="a tiny network and tiny batches, to try the script"
    )
    many = jobs.add_parser("run", parents=[both])
    many.add_argument(
        "--case", action="append", default=[], dest="cases", help="only these, by name; may be repeated"
    )
    many.add_argument("--limit", type=float, default=240.0, help="seconds for all")
    many.add_argument("--patience", type=float, default=1.0, help="times the seconds of each case")
    many.add_argument("--together", type=int, default=8, help="processes at a time")
    many.add_argument("--out", type=Path, default=RESULTS / "gpu_pretrain.json")
    one = jobs.add_parser("work", parents=[both])
    one.add_argument("--case", required=True)
    one.add_argument("--folder", type=Path, required=True)
    jobs.add_parser("page").add_argument("--out", type=Path, default=RESULTS / "gpu_pretrain.json")
    given = parser.parse_args()
    match given.job:
        case "data":
            write_data(given.folder)
        case "work":
            work(next(c for c in CASES if c.name == given.case), given)
        case "page":
            given.out.with_suffix(".md").write_text(page(json.loads(given.out.read_text())))
        case "run":
            with tempfile.TemporaryDirectory(prefix="gpu-pretrain-") as folder:
                given.folder = Path(folder)
                run(given)


if __name__ == "__main__":
    main()
