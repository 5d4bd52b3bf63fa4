"""The model card, from the checkpoint, the results of its parts, the reports of the corpus and the record of the run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ase.data import chemical_symbols

from atomfield.data.errors import InputError
from atomfield.models import checkpoint
from atomfield.models.network import AtomFieldNet

from .reference import citation
from .tables import SECTIONS

THEORY = {
    "gfn2-xtb": "GFN2-xTB by tblite, closed shells; contains D4 dispersion",
    "spgfn2-xtb": "spin-polarised GFN2-xTB by tblite, open shells (radicals, triplets, atoms)",
    "qm7": "PBE0 heats of formation of small molecules",
    "emt": "effective medium theory of ASE: a cheap many-body potential of metals, not quantum chemistry",
    "gfn1-xtb-pbc": "periodic GFN1-xTB at the Gamma point; wide-gap insulators that pass a doubling test",
}
"""Levels of the project's own generators; others are described by their reports."""


def card(
    folder: Path,
    results: Path,
    corpus: Sequence[str],
    runs: Sequence[Path],
    compute: str,
    failures: Path | None,
) -> str:
    """runs: the stages of pretraining in their order. Markdown with the front matter that the Hugging Face Hub reads."""
    weights = folder / "model.safetensors"
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    net = checkpoint.load(folder)
    measured = {f.stem: json.loads(f.read_text()) for f in sorted(results.glob("*.json"))}
    stale = [name for name, one in measured.items() if one["sha256"] != sha256]
    measured = {name: one["result"] for name, one in measured.items() if name not in stale}
    count = sum(p.numel() for p in net.parameters())
    fields = bool(net.config.field_states)
    lines = [
        "---", "library_name: atomfield", "license: apache-2.0", "---", f"# {folder.name}", "",
        f"An E(3)-equivariant network for atoms{' and fields' * fields}, {count:,} parameters, "
        f"{weights.stat().st_size / 1e6:.2f} MB, pretrained on "
        f"molecules{',' if fields else ' and'} crystals{' and fields' * fields} at once. It is a starting point for finetuning; "
        "what it does without is measured below.",
        "", f"sha256 of `model.safetensors`: `{sha256}`", "",
        "```python", "import atomfield", "", f'model = atomfield.load("{folder.name}")', "```", "",
        "## Levels of theory", "", *_levels(net, corpus), "",
        "## Data", "", *_data(corpus), "",
        "## Training", "", *_training(runs, compute), "",
        "## Without finetuning", "",
        f"`python benchmarks/pretrained_card.py --model {folder.name}`, on one core.", "",
    ]  # fmt: skip
    for name, section in SECTIONS.items():
        if measured.get(name):
            lines += [*section(measured[name]), ""]
        elif name not in measured:  # None: what it does not do, as the limits say
            lines += [f"Not measured for these weights yet: {name}.", ""]
    lines += ["## Limits and failures", "", *_limits(net, measured, failures), ""]
    return "\n".join(lines)


def _levels(net: AtomFieldNet, corpus: Sequence[str]) -> list[str]:
    config = net.config
    kinds = Counter[str]()
    for store in corpus:
        kinds.update(_index(store)["levels"])
    head = ["| level | elements | records in the corpus | what it is |", "|---|---|---|---|"]
    rows = []
    for number, level in enumerate(config.levels):
        seen = [z for z in net.atom_head.reference[number].nonzero().flatten().tolist() if z]
        elements = (
            ", ".join(chemical_symbols[z] for z in seen) if len(seen) <= 24 else f"{len(seen)} elements"
        )
        records = f"{kinds[level]:,}" if level in kinds else ""
        what = THEORY.get(level) or citation(level) or ("" if seen else "solver of this project")
        if not level:
            level, what = "none", "structures without labels, for denoising"
        rows.append(f"| `{level}` | {elements or 'no energies'} | {records} | {what} |")
    crystals = ", ".join(f"`{level}`" for level in config.crystal_levels) or "the same level"
    return [
        *head, *rows, "",
        f"Where none is named, molecules are answered at `{config.default_level_atoms}`, crystals at the one of "
        f"{crystals} that has seen "
        "their elements together; where several have, `level=` must be given. Open shells: `level=\"spgfn2-xtb\"`. "
        "Energies of different levels have "
        "different zeros and are never to be compared.",
    ]  # fmt: skip


def _data(corpus: Sequence[str]) -> list[str]:
    if not corpus:
        return ["The stores of the corpus were not named when this card was written."]
    rows = []
    for store in corpus:
        index = _index(store)
        worlds = ", ".join(f"{n:,} {world}" for world, n in index["worlds"].items())
        levels = ", ".join(f"{level} {n:,}" for level, n in index["levels"].items())
        rows.append(
            f"| {Path(store).name} | {worlds} | {levels} | {', '.join(index['quantities'])} | {_licence(store)} |"
        )
    return [
        "| store | records | by level | labels | licence |", "|---|---|---|---|---|", *rows, "",
        "Molecules and crystals of the benchmarks and of the transfer table were removed from it before use, "
        "whatever their level. How "
        "each store is made and checked: `docs/corpus.md`, `configs/corpus/`. The licence above is that of code "
        "and weights; what the "
        "licences of the data ask of models made from them holds too.",
    ]  # fmt: skip


def _licence(store: str) -> str:
    """As the records say; the first and the last are looked at."""
    from atomfield.data.source import open_source

    graphs = open_source(store)
    found = dict.fromkeys(graphs[k].provenance.licence or "not stated" for k in (0, len(graphs) - 1))
    return ", ".join(found)


def _index(store: str) -> dict[str, Any]:
    from atomfield.data.source import store_folder

    folder = store_folder(store)
    if folder is None:
        raise InputError(
            "found no store, expected one that `atomfield prepare` or the generators made", store
        )
    return json.loads((folder / "index.json").read_text())


def _training(runs: Sequence[Path], compute: str) -> list[str]:
    """A table of streams for each stage, and the validation errors of the last."""
    lines = [f"{compute.rstrip('.')}."] if compute else []
    errors: dict[str, float] = {}
    for number, run in enumerate(runs, start=1):
        config = yaml.safe_load((run / "config.yaml").read_text())
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        last = rows[-1]
        title = f"Stage {number}: " if len(runs) > 1 else ""
        lines += [
            "",
            f"{title}{last['step']:,} steps, {last['seconds'] / 60:.0f} minutes of training at a peak rate of "
            f"{config['optimizer']['learning_rate']:g}, seed {config['seed']}, averaged weights.",
            "",
        ]
        lines += ["| stream | objective | edges of a micro-batch | weight |", "|---|---|---|---|"]
        for s in config["streams"]:
            source = s["source"] if isinstance(s["source"], str) else ", ".join(s["source"])
            names = ", ".join(Path(part).name for part in source.split(", "))
            lines.append(f"| {names} | {s['objective']} | {s['max_edges']} | {s['weight']:g} |")
        errors = {k.removeprefix("valid/"): v for k, v in _last_valid(rows).items()}
    if errors:
        lines += ["", "| validation part of the corpus | error |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in errors.items()]
    return lines or ["The run was not named when this card was written."]


def _last_valid(rows: list[dict[str, Any]]) -> dict[str, float]:
    valid = [r for r in rows if any(k.startswith("valid/") for k in r)]
    return {k: v for k, v in valid[-1].items() if k.startswith("valid/")} if valid else {}


def _limits(net: AtomFieldNet, measured: dict[str, Any], failures: Path | None) -> list[str]:
    lines = [
        "- Labels are semi-empirical (xTB) or those of classical potentials: good geometries, not reaction "
        "energies of chemical accuracy.",
        "- Nothing acts beyond the cutoff times the number of layers; there is no long-range electrostatics in it.",
        "- A total charge does not say where it sits: distant fragments feel it unless `fragment_charge` is given.",
        "- Elements that a level has not seen are refused by name; so is a crystal that several levels know, "
        "until one is named.",
        "- It was trained near equilibrium and moderately away from it: breaking bonds, high pressure and hot "
        "liquids are extrapolation.",
    ]  # fmt: skip
    if not {"navier-stokes-2d"} & set(net.config.levels):
        lines.append("- It has not seen flows.")
    if (found := measured.get("geometry")) and found["converged"] < found["molecules"]:
        lines.append(
            f"- {found['molecules'] - found['converged']} of {found['molecules']} relaxations of molecules did not converge."
        )
    if found := measured.get("lattices"):
        lost = [f"{r['crystal']} ({r['level']})" for r in found["rows"] if "failed" in r["model"]]
        if lost:
            lines.append(f"- Crystals whose relaxation failed: {', '.join(lost)}.")
    if (found := measured.get("dynamics")) and not found["held_together"]:
        lines.append(f"- {found['molecule']} did not hold together in 50 ps at 300 K.")
    if failures is not None:
        lines += [line for line in failures.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines
