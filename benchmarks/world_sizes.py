"""The same training on 1, 2 and 4 processes at ZeRO 0, 1 and 2: which records each step sees, the first gradient, the losses.

    python benchmarks/world_sizes.py [--steps 20] [--out benchmarks/results/world_sizes.md]

A small network on molecules and flows, float32. The reference is one process at stage 0. The gradient is Adam's first average
after one step (a tenth of it), compared by its largest entry; losses are compared relative to the reference at each step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from small_runs import start, write_sources

from atomfield.pretrain import loop


def note_records(folder: Path) -> None:
    """Each rank writes down the records of its micro-batches, by step."""
    real = loop.micro_batches_of

    def noted(run: Any, batches: Any) -> Any:
        micro = real(run, batches)
        with (folder / f"seen-{run.rank}.jsonl").open("a") as file:
            for m in micro:
                seen = [f"{p.file} {p.record}" for p in m.batch.provenance]
                file.write(json.dumps([run.here.step + 1, m.stream, m.number, seen]) + "\n")
        return micro

    loop.micro_batches_of = noted


def trained(
    options: dict[str, Any], folder: Path, ranks: int
) -> tuple[list[Any], dict[str, Any], list[float]]:
    """(records of each step's micro-batches, first gradient by parameter, losses)."""
    from safetensors.torch import load_file  # imports torch, which must not start threads before the forks

    folder.mkdir()
    out = folder / "run"
    child = start({**options, "out": str(out)}, folder / "log", ranks, prepare=lambda: note_records(folder))
    if not child.wait(900) or any(child.codes.values()):
        raise SystemExit(f"{folder.name} failed: {child.codes}\n{child.said()}")
    lines = [line for file in sorted(folder.glob("seen-*")) for line in file.read_text().splitlines()]
    state = load_file(out / "checkpoints" / "step-00000001" / "training.safetensors")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return (
        sorted(map(json.loads, lines)),
        {k: v for k, v in state.items() if k.endswith(".exp_avg")},
        [r["train_loss"] for r in rows if "train_loss" in r],
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="page to write")
    given = parser.parse_args()
    lines, failed = [], 0
    with tempfile.TemporaryDirectory(prefix="world-sizes-") as name:
        folder = Path(name)
        options = {**write_sources(folder), "steps": given.steps, "save_every": 1, "keep_last": given.steps}
        options |= {"validate_every": 1000, "optimizer": {"learning_rate": 1e-3}, "timeout": 120}
        for stream in options["streams"]:
            stream["micro_batches"] = 4
        records, gradient, losses = trained({**options, "zero_stage": 0}, folder / "reference", 1)
        size = max(float(g.abs().max()) for g in gradient.values())
        for ranks in (1, 2, 4):
            for stage in (0, 1, 2):
                seen, found, others = trained(
                    {**options, "zero_stage": stage}, folder / f"{ranks}-{stage}", ranks
                )
                same = seen == records
                off = max(float((found[k] - g).abs().max()) for k, g in gradient.items()) / size
                apart = max(abs(a / b - 1) for a, b in zip(others, losses, strict=True))
                failed += not same or off > 1e-6 or apart > 1e-6
                lines.append(
                    f"| {ranks} | {stage} | {'the same' if same else 'OTHERS'} | {off:.1e} | {apart:.1e} |"
                )
                print(lines[-1], flush=True)
    table = "\n".join(lines)
    page = f"""# Numbers of processes

`python benchmarks/world_sizes.py --steps {given.steps}`, {time.strftime("%d %B %Y")}, {os.cpu_count()} cores; other work on them
changes times alone.
One process at stage 0 is the reference. The float32 sums of gradients are in another order, the records of every micro-batch
are not; wanted are 1e-6 and 1e-6.

Differences of the first gradient are over its largest entry, those of the losses are relative, the largest of
{given.steps} steps.

| processes | ZeRO | records | first gradient | losses |
|---|---|---|---|---|
{table}
"""
    print(page)
    if given.out:
        given.out.write_text(page)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
