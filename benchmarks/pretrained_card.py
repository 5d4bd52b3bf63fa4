"""What a shipped model can do without finetuning, measured, and its model card.

    python benchmarks/pretrained_card.py --model atomfield-s --corpus CORPUS/molecules,CORPUS/crystals \
        --run runs/all --run runs/further

Measures every part that has no result for these weights yet (``benchmarks/results/pretrained/NAME/PART.json``; a part that was
stopped begins again, the dynamics go on where they were) and writes ``README.md`` into the folder of the model. ``--only`` picks
parts, ``--card-only`` measures nothing. Needs the extra ``generate`` (tblite).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import torch
from ase import Atoms
from machine import description
from zero_shot import crystals, dimers, flows, geometry, motion, reference, symmetry
from zero_shot.page import card
from zero_shot.reference import CRYSTALS

from atomfield.data.errors import InputError
from atomfield.models import checkpoint
from atomfield.models.network import AtomFieldNet

RESULTS = Path(__file__).parent / "results" / "pretrained"
MOVING = "NC=O"
"""The molecule of the dynamics: formamide."""


def parts(
    net: AtomFieldNet, options: argparse.Namespace, work: Path, sha256: str
) -> dict[str, Callable[[], Any]]:
    """Name -> what measures it, quick ones first."""
    return {
        "errors": lambda: geometry.errors(net, options.molecules),
        "geometry": lambda: geometry.geometry(net, options.molecules),
        "dimers": lambda: dimers.curves(net),
        "fields": lambda: flows.flows(net, options.flows),
        "lattices": lambda: crystals.lattices(net),
        "relaxations": lambda: crystals.relaxations(net),
        "laws": lambda: symmetry.laws(net, reference.minima(57)[:3], _crystal(net)),
        "dynamics": lambda: motion.dynamics(
            net,
            next(m for m in reference.minima(57) if m.smiles == MOVING),
            options.picoseconds,
            work / "nve",
            sha256,
        ),
    }


def measure(options: argparse.Namespace) -> Path:
    """Every part that is missing, one JSON each; returns their folder."""
    source = checkpoint.find(options.model)
    sha256 = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    net = checkpoint.load(source)
    folder = options.results / source.name
    available = parts(net, options, options.results / ".work" / source.name, sha256)
    for name in options.only or available:
        if name not in available:
            raise InputError(f"part {name!r} is unknown, expected some of {', '.join(available)}", "--only")
        file = folder / f"{name}.json"
        if file.is_file() and json.loads(file.read_text())["sha256"] == sha256 and not options.again:
            continue
        started = time.perf_counter()
        found = available[name]()
        seconds = time.perf_counter() - started
        content = {"sha256": sha256, "model": source.name, "seconds": round(seconds, 1), "machine": description(),
                   "threads": torch.get_num_threads(), "result": found}  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")
        print(f"{name}: {seconds:.0f} s", flush=True)
    if (folder / "dimers.json").is_file():
        curves = json.loads((folder / "dimers.json").read_text())["result"]
        dimers.picture(curves, folder / "dimers.png", source.name)
    return folder


def _crystal(net: AtomFieldNet) -> Atoms | None:
    """The first crystal that the model knows, or None."""
    from atomfield.inference.levels import level_for

    for crystal in CRYSTALS:
        atoms = crystal.atoms().repeat(2)
        try:
            if level_for(net, torch.from_numpy(atoms.numbers), True) in net.config.crystal_levels:
                return atoms
        except InputError:
            continue
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    split = lambda text: tuple(part for part in text.split(",") if part)  # noqa: E731
    parser.add_argument("--model", required=True, help="a shipped name, or the folder of a checkpoint")
    parser.add_argument("--only", type=split, default=(), metavar="PART,...")
    parser.add_argument("--again", action="store_true", help="measure parts again that have a result")
    parser.add_argument("--card-only", action="store_true", help="measure nothing, write the card")
    parser.add_argument(
        "--corpus", type=split, default=(), metavar="STORE,...", help="the stores of the corpus, for the card"
    )
    parser.add_argument(
        "--run",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="the folder of the pretraining run, for the card; once for each stage",
    )
    parser.add_argument(
        "--compute", default="", metavar="TEXT", help="what it was trained on, e.g. '1 H100, 8 minutes'"
    )
    parser.add_argument(
        "--failures", type=Path, metavar="FILE", help="a text of known failures, for the card"
    )
    parser.add_argument("--molecules", type=int, default=57)
    parser.add_argument("--flows", type=int, default=12)
    parser.add_argument("--picoseconds", type=float, default=50.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the card; default: README.md of the model")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        source = checkpoint.find(options.model)
        if not options.card_only:
            measure(options)
        text = card(
            source,
            options.results / source.name,
            options.corpus,
            options.run,
            options.compute,
            options.failures,
        )
    except InputError as error:
        print(f"pretrained_card: {error}", file=sys.stderr)
        return 2
    out = options.out or source / "README.md"
    out.write_text(text, encoding="utf-8")
    print(f"Written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
