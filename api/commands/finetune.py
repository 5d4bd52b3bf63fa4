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
        str | None,
        _given(
            "--from",
            "CKPT|scratch",
            "A checkpoint, a shipped model such as atomfield-s, or scratch to train without one.",
        ),
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
    strategy: Annotated[
        Literal["auto", "full", "heads", "frozen", "boosted", "lora", "scratch"] | None,
        _given(
            "--strategy",
            "auto|full|heads|frozen|boosted|lora|scratch",
            "Which weights change: all, the heads, none but a solved head (with decision trees or without), low-rank "
            "adapters, or all from random ones; auto "
            "chooses and says why.",
        ),
    ] = None,
    replay: Annotated[
        list[str] | None,
        _given(
            "--replay", "SRC,...", "Records of the checkpoint's own levels to mix in, against forgetting."
        ),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Train the same network from scratch beside it and show both.")
    ] = False,
    search: Annotated[
        int | None,
        typer.Option(
            "--search",
            metavar="N",
            min=1,
            help="Try N settings first, judged on validation records alone; goes on where it was stopped.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        str | None,
        _given(
            "--folds",
            "K|FILE",
            "Cross-validation: K folds by groups, or the test records of each fold from a file.",
        ),
    ] = None,
    by_id: Annotated[
        str | None,
        _given("--by-id", "KEY", "The file of folds names records by this column or key of theirs."),
    ] = None,
    learning_curve: Annotated[
        str | None,
        _given("--learning-curve", "N,...,all", "Train with so many records each and plot the errors."),
    ] = None,
    on_wrong: Annotated[
        Literal["raise", "report"] | None,
        _given(
            "--on-wrong",
            "raise|report",
            "Labels that look mistaken (units, signs, charge or spin): stop with exit code 2, or say so and go on.",
        ),
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

    A training that was interrupted or killed goes on when the same command is given again. SIGTERM, SIGUSR1 and Ctrl-C save and
    end it (exit code 75).
    """
    from atomfield.config import load_config

    if config is not None and config.suffix not in (".yaml", ".yml"):
        _check_is_config(config)
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.finetune.study import study

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
        "strategy": ("--strategy", strategy),
        "replay": ("--replay", sources(replay)),
        "control": ("--control", control or None),
        "search": ("--search", search),
        "folds": ("--folds", int(folds) if folds and folds.isdecimal() else folds),
        "by_id": ("--by-id", by_id),
        "learning_curve": ("--learning-curve", _counts(learning_curve)),
        "on_wrong": ("--on-wrong", on_wrong),
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
    study(settings)


def _counts(text: str | None) -> tuple[int | str, ...] | None:
    """``50,200,all`` as numbers and the word."""
    if text is None:
        return None
    words = listed([text])
    for word in words:
        if word != "all" and not word.isdecimal():
            raise InputError(
                f"found {word!r}, expected numbers of records such as 50,200,all", "--learning-curve"
            )
    return tuple(w if w == "all" else int(w) for w in words)


def _check_is_config(word: Path) -> None:
    """Refuse a stray word, such as the second of ``--target energy forces``."""
    from atomfield.config import shipped_configs

    if not word.exists() and str(word) not in shipped_configs():
        raise InputError(
            "found an extra word; an option with several values takes commas, as in --target energy,forces",
            str(word),
        )
