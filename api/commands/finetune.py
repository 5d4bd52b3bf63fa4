"""``atomfield finetune``: a checkpoint and some samples to a model for a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from atomfield.data.errors import InputError

from .options import (
    DtypeName,
    GivenDevice,
    GivenSeed,
    Map,
    MaxTime,
    OnBadName,
    Set,
    Target,
    TargetIrreps,
    Units,
    listed,
    paired,
    seconds,
    sources,
)


def _given(flag: str, metavar: str, text: str) -> typer.models.OptionInfo:
    return typer.Option(flag, metavar=metavar, help=text, show_default=False)


def finetune(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="A YAML file; options win over it.", show_default=False),
    ] = None,
    start: Annotated[
        str | None, _given("--from", "CKPT|scratch", "A checkpoint, or scratch to train without one.")
    ] = None,
    train: Annotated[list[str] | None, _given("--train", "SRC,...", "Records to train on.")] = None,
    valid: Annotated[
        list[str] | None,
        _given("--valid", "SRC,...", "Validation records; default: a part of --train, by groups."),
    ] = None,
    test: Annotated[
        list[str] | None,
        _given("--test", "SRC,...", "Test records; default: the report is about the validation part."),
    ] = None,
    target: Target = None,
    out: Annotated[
        Path | None, _given("--out", "DIR", "Folder of model, metrics and report; default: runs/finetune.")
    ] = None,
    map: Map = None,
    units: Units = None,
    target_irreps: TargetIrreps = None,
    level: Annotated[str | None, _given("--level", "NAME", "Level of theory of the records.")] = None,
    task: Annotated[
        Literal["auto", "regression", "classification"] | None,
        _given("--task", "auto|regression|classification", "Of a property."),
    ] = None,
    pooling: Annotated[
        Literal["auto", "sum", "mean"] | None,
        _given("--pooling", "auto|sum|mean", "Extensive (sum) or intensive (mean) property."),
    ] = None,
    conformers: Annotated[
        int | None,
        typer.Option("--conformers", metavar="N", min=1, help="Conformers per SMILES.", show_default=False),
    ] = None,
    size: Annotated[
        Literal["xs", "s", "m", "l"] | None,
        _given("--size", "xs|s|m|l", "Size of the network; with --from scratch only."),
    ] = None,
    max_time: MaxTime = None,
    on_bad: Annotated[
        OnBadName | None, _given("--on-bad", "raise|skip", "A bad record: stop, or skip it and report.")
    ] = None,
    max_bad: Annotated[
        float | None,
        typer.Option(
            "--max-bad",
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="With --on-bad skip: the share of records that may be skipped; more is an error.",
            show_default=False,
        ),
    ] = None,
    on_leak: Annotated[
        Literal["report", "raise"] | None,
        _given(
            "--on-leak",
            "report|raise",
            "Test records that are in the training set: metrics without them too, or stop.",
        ),
    ] = None,
    seed: GivenSeed = None,
    device: GivenDevice = None,
    dtype: Annotated[
        DtypeName | None, _given("--dtype", "float32|float64", "Precision of the network.")
    ] = None,
    overrides: Set = None,
) -> None:
    """Finetune a checkpoint on your samples: a potential energy surface, a property, or the evolution of a field.

    --from, --train and --target are enough: the validation split is made, references are fitted and the schedule is chosen
    for the size of the data. Writes DIR/model, metrics.json, report.html, predictions.* and config.yaml.
    """
    from atomfield.config import load_config

    if config is not None and config.suffix not in (".yaml", ".yml"):
        _check_is_config(config)
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.finetune.run import finetune as run

    options: dict[str, tuple[str, object]] = {
        "from": ("--from", start),
        "train": ("--train", sources(train)),
        "valid": ("--valid", sources(valid)),
        "test": ("--test", sources(test)),
        "target": ("--target", listed(target) or None),
        "out": ("--out", out),
        "map": ("--map", paired(map, "--map") or None),
        "units": ("--units", paired(units, "--units") or None),
        "target_irreps": ("--target-irreps", paired(target_irreps, "--target-irreps") or None),
        "level": ("--level", level),
        "task": ("--task", task),
        "pooling": ("--pooling", pooling),
        "conformers": ("--conformers", conformers),
        "network.size": ("--size", size),
        "max_time": ("--max-time", seconds(max_time)),
        "on_bad": ("--on-bad", on_bad),
        "max_bad": ("--max-bad", max_bad),
        "on_leak": ("--on-leak", on_leak),
        "seed": ("--seed", seed),
        "device": ("--device", device),
        "dtype": ("--dtype", dtype),
    }
    settings = load_config(FinetuneConfig, config, overrides or (), options)
    if size is not None and settings.start != "scratch":
        raise InputError(
            "a checkpoint has a size of its own; leave out --size, or train with --from scratch", "--size"
        )
    run(settings)


def _check_is_config(word: Path) -> None:
    """Refuse a stray word, such as the second of ``--target energy forces``."""
    from atomfield.config import shipped_configs

    if not word.exists() and str(word) not in shipped_configs():
        raise InputError(
            "found an extra word; an option with several values takes commas, as in --target energy,forces",
            str(word),
        )
