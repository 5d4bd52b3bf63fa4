"""Writes docs/cli.md from the command line itself, so that the page cannot differ from `--help`.

Run: python docs/make_cli.py
"""

from __future__ import annotations

import inspect
from pathlib import Path

import typer

from atomfield.cli import app

OUT = Path(__file__).parent / "cli.md"
HEAD = """# The command line

*Written by `python docs/make_cli.py`; change the script or the commands, not this page.*

SRC is a file, a folder, a store made by `atomfield prepare`, or `starter/NAME` of the shipped corpus. CKPT is the folder of a
run, its `model/`, or a shipped model such as `atomfield-s`. Options that take several values take commas or repeats,
`--target energy,forces` or `--target energy --target forces`; a comma within a name is written `\\,`. A stray word is an
error, never a guess.

What is wrong with the input is one line on stderr (where, what was found, what was expected, what to do) and exit code 2.
Interrupted: 130; ended by --stop-when: 3. `ATOMFIELD_DEBUG=1` shows the traceback of a mistake in the input; errors
of the program always show theirs.

`--seed`, `--device` (auto, cpu, cuda) and `--dtype` (float32, float64) mean the same everywhere.
"""
EXAMPLES = {
    "quickstart": "atomfield quickstart --out runs/quickstart",
    "prepare": "atomfield prepare train.extxyz more/*.cif --out stores/mine --on-bad skip\n"
    "atomfield prepare solubility.csv --map smiles=SMILES --target logS --conformers 3 --out stores/solubility",
    "inspect": "atomfield inspect starter/crystals --picture crystal.png --record 7\natomfield inspect runs/mine",
    "models": "atomfield models\natomfield inspect atomfield-s",
    "pretrain": "atomfield pretrain pretrain_starter --plan --set plan.gpus=[1,64,1000] --set plan.structures=1e9\n"
    "torchrun --nproc-per-node 4 -m atomfield pretrain mine.yaml --set optimizer.learning_rate=2e-3 --max-time 8h\n"
    "deepspeed --module atomfield pretrain mine.yaml",
    "finetune": "atomfield finetune --from atomfield-s --train train.xyz --test test.xyz --target energy,forces "
    "--out runs/mine\n"
    "atomfield finetune --from scratch --train cifs/ --target bulk_modulus --max-time 20m --out runs/moduli\n"
    "atomfield finetune --from CKPT --train table.csv --target logS --strategy lora --folds 5 --out runs/folds\n"
    "atomfield finetune --from CKPT --train table.csv --target logS --learning-curve 50,200,all --control --out runs/curve",
    "evaluate": "atomfield evaluate runs/mine test.xyz --target energy,forces --out runs/mine-on-test",
    "predict": "atomfield predict runs/mine candidates.csv --out answers.csv\n"
    "atomfield predict runs/mine stores/million --workers 8 --out answers.parquet",
    "simulate": "atomfield simulate runs/mine start.xyz --mode nve --steps 20000 --timestep 0.5 --dtype float64 --out runs/nve\n"
    "atomfield simulate runs/mine NaCl.cif --mode npt --temperature 300 --steps 100000 --out runs/npt --resume\n"
    "atomfield simulate runs/mine NaCl.cif --mode phonons --supercell 3,3,3 --out runs/phonons\n"
    "atomfield simulate runs/mine a.xyz --mode neb --end b.xyz --images 7 --out runs/path",
    "rollout": "atomfield rollout runs/flow starter/task_fields --record 2 --steps 40 --resample 64,64 --out runs/rollout",
    "export": "atomfield export runs/mine --out mine.pt2 --dtype float32\natomfield export runs/mine --out mine.pt",
    "analyze": "atomfield analyze runs/npt --out runs/npt/analysis",
    "identify": "atomfield identify identify/lotka_volterra --data hudson-bay-lynx-hare.csv --out runs/lynx\n"
    "atomfield identify identify/burgers --data burgers_shock.mat --set noise=0.01 --out runs/burgers\n"
    "atomfield identify identify/discover --data field.npz --set data.field=usol --out runs/terms",
}
NOTES = {
    "identify": "CONFIG names the law, the data and what is known about the constants; `configs/identify/` has one of each kind. "
    "`metrics.json` has `constant_NAME`, `constant_NAME_sd` and, where a reference is given, `constant_NAME_relative_error`.",
    "finetune": "`DIR` then holds `model/` (config.json, model.safetensors, README.md), `metrics.json`, `report.html`, "
    "`predictions.*` and `config.yaml`. `metrics.json` is flat, each key naming quantity, statistic and unit: "
    '`{"energy_rmse_meV_per_molecule": 0.9, "forces_mae_eV_per_A": 0.01}`; '
    "the trivial baselines stand beside under `baseline_` keys.",
    "pretrain": "CONFIG is a YAML file or the name of a shipped one. `--set` overrides a key; a number in it counts in a list: "
    "`--set streams.0.weight=2`.",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        usage = " ".join(["atomfield", name, *(p.metavar for p in arguments)])
        text = (
            inspect.cleandoc(command.callback.__doc__ or "")
            .replace("\n\n", "\0")
            .replace("\n", " ")
            .replace("\0", "\n\n")
        )
        parts += [f"## {name}", f"`{usage}`", text, f"```\n{EXAMPLES[name]}\n```"]
        if name in NOTES:
            parts.append(NOTES[name])
        rows = [_row(p.metavar, p.help, "") for p in arguments]
        rows += [
            _row(" ".join([f"`{p.opts[0]}`", p.metavar or ""]).strip(), p.help, _default(p)) for p in options
        ]
        if rows:
            parts.append("\n".join(["| | | default |", "|---|---|---|", *rows]))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _default(parameter: typer.core.TyperOption) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    return "" if default is None or default is False or default == "" else f"`{default}`"


def _row(first: str, text: str | None, default: str) -> str:
    return " | ".join(["", first.replace("|", "\\|"), text or "", default, ""]).strip()


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
    print(f"Written: {OUT}")
