"""``atomfield inspect``: what a data source, a checkpoint or a run holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomfield.data.errors import InputError
from atomfield.models.shipped import folder_of

from .options import (
    Conformers,
    Level,
    Map,
    MaxBad,
    OnBad,
    Seed,
    Target,
    Units,
    listed,
    read_options,
    tell_skipped,
)

if TYPE_CHECKING:
    from rich.console import Console

    from atomfield.models.config import PropertyConfig

Anything = Annotated[
    str,
    typer.Argument(
        metavar="STORE|CHECKPOINT|RUN|FILE",
        help="What to look into; also starter/NAME, and the name of a shipped model.",
        show_default=False,
    ),
]
Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        metavar="FILE.png",
        help="Draw one record; of a run: its curves (.html for the whole page).",
        show_default=False,
    ),
]
Record = Annotated[
    int, typer.Option("--record", metavar="N", min=0, help="The record that is drawn, counted from 0.")
]


Verify = Annotated[
    bool,
    typer.Option("--verify", help="Compare every shard of a store with its sha256 before anything else."),
]


def inspect(
    what: Anything,
    picture: Picture = None,
    record: Record = 0,
    verify: Verify = False,
    target: Target = None,
    map: Map = None,
    units: Units = None,
    level: Level = "",
    conformers: Conformers = 1,
    on_bad: OnBad = "raise",
    max_bad: MaxBad = 0.01,
    seed: Seed = 0,
    check: Annotated[
        bool,
        typer.Option("--check", help="Look for wrong units and signs, no totals, net forces, duplicates."),
    ] = False,
) -> None:
    """Show what is inside, as a table and, with --picture, as a picture.

    Data: worlds, elements, quantities with units and ranges. A checkpoint: its configuration, size, levels and sha256. A run: its
    newest values, its results, and a page of its curves, `RUN/training.html`.
    """
    from rich.console import Console

    console = Console()
    folder = Path(what)
    is_run = any((folder / name).is_file() for name in ("metrics.jsonl", "metrics.json"))
    is_checkpoint = any((folder / name / "config.json").is_file() for name in (".", "model"))
    is_checkpoint |= folder_of(what) is not None
    if is_run:
        _show_run(folder, console)
    if is_checkpoint:
        _show_checkpoint(folder, console)
    if (folder / "metrics.jsonl").is_file():
        _write_page(folder, picture)
        return
    if is_run or is_checkpoint:
        if picture is not None:
            raise InputError(
                "a picture is drawn of a data record or of a run with metrics.jsonl, and this is neither",
                what,
            )
        return
    from atomfield.data.checks import check_share
    from atomfield.data.inspect import picture as draw
    from atomfield.data.inspect import show, summarize
    from atomfield.data.readers import BadRecord
    from atomfield.data.source import open_source
    from atomfield.data.store import Store

    options = read_options(
        targets=listed(target),
        map=map,
        units=units,
        level=level,
        conformers=conformers,
        seed=seed,
        on_bad=on_bad,
    )
    bad: list[BadRecord] = []
    graphs = open_source(what, options, bad)
    tell_skipped(bad)
    if verify:
        if not isinstance(graphs, Store):
            raise InputError("--verify is for a store, and this is none", what)
        graphs.verify()
        shards = graphs.index["shards"]
        size = sum(shard["bytes"] for shard in shards)
        print(f"Verified: {len(shards)} shards, {size / 1e6:.1f} MB, every sha256 as in the index")
    show(summarize(graphs), console)
    if check:
        from atomfield.data.checks import audit

        audit(graphs, bad, where=Path(what).name).show(console)
    if picture is not None:
        if record >= len(graphs):
            raise InputError(
                f"there is no record {record}; the source has {len(graphs)}, counted from 0", what
            )
        draw(graphs[record], picture)
        print(f"Written: {picture}")
    check_share(bad, len(graphs), max_bad, what)


def _table(title: str, rows: list[tuple[str, object]], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(overflow="fold")  # a name that ends in three dots says nothing
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(str(value)))
    console.print(table)


def _show_checkpoint(folder: Path, console: Console) -> None:
    from atomfield.models.checkpoint import find, load

    net = load(folder)
    file = find(folder) / "model.safetensors"
    config = net.config
    properties = [_property(p) for p in config.properties]
    about = config.uncertainty
    sure = "none"
    if about is not None:
        units = zip(about.targets, about.calibration_units, strict=True)
        sure = f"level {about.level}; " + (
            ", ".join(f"{n} ({k} {about.unit_kind})" for n, k in units) or "no intervals"
        )
    size = (
        f"{config.layers} layers, lmax {config.lmax}, {config.channels}+{config.channels_unnatural} channels"
    )
    rows: list[tuple[str, object]] = [
        ("parameters", f"{sum(p.numel() for p in net.parameters()):,}"),
        (
            "network",
            f"{size}, body-order products of {config.correlation}, cutoff {config.cutoff:g} angstrom",
        ),
        ("levels", ", ".join(name or "(not said)" for name in config.levels) or "none"),
        (
            "default levels",
            f"atoms: {config.default_level_atoms or 'none'}; fields: {config.default_level_field or 'none'}"
            + (
                f"; crystals, whichever knows them: {', '.join(config.crystal_levels)}"
                if config.crystal_levels
                else ""
            ),
        ),
        ("properties", "; ".join(properties) or "none"),
        ("uncertainty", sure),
        ("file", f"{file} ({file.stat().st_size / 1e6:.1f} MB)"),
        ("sha256", hashlib.sha256(file.read_bytes()).hexdigest()),
    ]
    _table("Checkpoint", rows, console)


def _write_page(folder: Path, picture: Path | None) -> None:
    """Where it was asked for, or beside the run if that can be written to."""
    from atomfield.run_page import write_page

    if picture is not None and picture.suffix not in (".png", ".html"):
        raise InputError("expected a name that ends in .png or .html", f"--picture {picture}")
    try:
        print(f"Written: {write_page(folder, picture or folder / 'training.html')}")
    except PermissionError:
        if picture is not None:
            raise
        print(f"{folder} cannot be written to, so there is no page; --picture PAGE.html puts it elsewhere")


def _property(prop: PropertyConfig) -> str:
    """``gap (regression, mean, eV)``; irreps, classes and atoms where they say more."""
    parts = [prop.kind, "per atom" if prop.support == "node" else prop.pooling]
    parts += [prop.irreps] if prop.irreps != "0e" else []
    parts += ["/".join(prop.classes)] if prop.classes else []
    parts += [f"{prop.trees.count} decision trees"] if prop.trees else []
    return f"{prop.name} ({', '.join([*parts, *([prop.unit] if prop.unit else [])])})"


def _show_run(folder: Path, console: Console) -> None:
    from atomfield.run_page import read_rows, table

    rows = read_rows(folder / "metrics.jsonl")
    if rows:
        glance = table(rows, read_rows(folder / "skipped.jsonl"))
        _table(f"Run {folder}", [(name, value) for name, value in glance.rows], console)
        newest: dict[str, Any] = {}
        for row in rows:
            newest |= row
        title = f"{len(rows)} logged lines, newest values"
        _table(title, [(k, _number(v)) for k, v in newest.items()], console)
    results = folder / "metrics.json"
    if results.is_file():
        _table(
            f"Results {results}",
            [(k, _number(v)) for k, v in json.loads(results.read_text()).items()],
            console,
        )


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
