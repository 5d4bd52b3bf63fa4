"""One cell of the table ``published``: ``atomfield finetune`` with its defaults on a public set, for so many seconds of one core.

    python benchmarks/published.py data --data DIR --cache runs/published/data [--only mlearn]
    python benchmarks/published.py cell --set "mlearn Si" --start atomfield-s --seconds 300 --cache DIR --work W --result FILE

``data`` reads the public files in DIR once (minutes). ``--start scratch`` begins with random weights. The seconds are of the
processor, so that what else the machine does changes little. Validation records are those of the official split, or are
held out of the training records by the rule of ``atomfield finetune``; test records are looked at once, at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import time
from pathlib import Path
from typing import Any


def cell(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from published_sets import folder_of, set_named
    from rich.console import Console

    from atomfield.data.store import Store, is_store
    from atomfield.finetune.assess import assess
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.finetune.metrics import flatten, measures_of
    from atomfield.finetune.parts import read_parts
    from atomfield.finetune.run import trained
    from atomfield.finetune.uncertainty import fit_uncertainty
    from atomfield.inference.interleaved import predict_interleaved

    torch.set_num_threads(1)
    public = set_named(options.set)
    folder = folder_of(public.name, options.cache)
    part = lambda name: (str(folder / name),) if is_store(folder / name) else ()  # noqa: E731
    config = FinetuneConfig.model_validate(
        {
            "from": options.start, "train": part("train"), "valid": part("valid"), "test": part("test"),
            "target": public.target, "out": options.work / "run", "max_time": options.seconds, "clock": "processor",
            "seed": options.seed, "device": "cpu", **public.settings,
        }
    )  # fmt: skip
    console, quiet = Console(width=160), Console(file=io.StringIO())
    done = trained(config, read_parts(config, console), console)
    fit_uncertainty(done.net, done.task.names, done.level, done.parts.train, done.parts.valid)
    flat = assess(done.net, done.parts.test, public.target, train=done.parts.train, console=quiet).flat()
    last = done.history[-1]
    values: dict[str, Any] = {
        "error": public.scale * flat[public.metric],
        "steps": last["step"],
        "training_s": last["seconds"],
        "records": {
            "train": len(done.parts.train),
            "valid": len(done.parts.valid),
            "test": len(done.parts.test),
        },
        "metrics": {key: value for key, value in flat.items() if not key.startswith("baseline_")},
    }
    if public.baseline in flat:
        values["trivial"] = public.scale * flat[public.baseline]
    for name in public.target:
        if f"{name}_interval90_coverage" in flat:
            values[f"coverage_{name}"] = flat[f"{name}_interval90_coverage"]
            values[f"coverage_p_{name}"] = flat[f"{name}_interval90_binomial_p"]
    if is_store(folder / "test_finer"):
        finer = list(Store(folder / "test_finer"))
        flat = assess(done.net, finer, public.target, train=done.parts.train, console=quiet).flat()
        values["error_finer"] = public.scale * flat[public.metric]
        steady = dict.fromkeys(public.target, "steady")
        answers = predict_interleaved(done.net, finer, 2)
        flat = flatten(measures_of(finer, answers, public.target, steady))
        values["error_finer_interleaved"] = public.scale * flat[public.metric]
    return values


def data(options: argparse.Namespace) -> None:
    from published_sets import SETS, prepare

    logging.getLogger("atomfield").setLevel(logging.ERROR)  # records that are left out, one warning each
    for public in SETS:
        if options.only in public.name:
            began = time.monotonic()
            counts = prepare(public, options.data, options.cache)
            print(f"{public.name}: {counts} ({time.monotonic() - began:.1f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["data", "cell"])
    parser.add_argument("--data", type=Path, help="folder with the public sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder of their stores")
    parser.add_argument("--only", default="", help="data: sets whose name holds this")
    parser.add_argument("--set")
    parser.add_argument("--start", default="atomfield-s")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before torch is imported
    if options.stage == "data":
        data(options)
    else:
        options.result.write_text(json.dumps(cell(options), indent=1))


if __name__ == "__main__":
    main()
