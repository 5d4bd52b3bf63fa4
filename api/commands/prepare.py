"""``atomfield prepare``: files to a validated Arrow store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Conformers, Level, Map, OnBad, Seed, Target, Units, listed, read_options, tell_skipped

if TYPE_CHECKING:
    from atomfield.data.graph import Graph


def prepare(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Files, folders or stores.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="STORE", help="Folder of the new store.", show_default=False)
    ],
    target: Target = None,
    map: Map = None,
    units: Units = None,
    level: Level = "",
    conformers: Conformers = 1,
    on_bad: OnBad = "raise",
    seed: Seed = 0,
) -> None:
    """Read files of any kind, check every record and write them as one Arrow store.

    extxyz, xyz, SDF, CSV or .smi with SMILES, CIF, POSCAR, pymatgen JSON, a folder of CIFs with a table of properties; npz, HDF5,
    NetCDF and meshes for fields. The store has an index with the sha256 of each shard, and bad_records.json where records
    were skipped.
    """
    from rich.console import Console

    from atomfield.data.inspect import show, summarize
    from atomfield.data.readers import BadRecord, read
    from atomfield.data.source import open_source, store_folder
    from atomfield.data.store import Store, write_store

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

    def records() -> Iterator[Graph]:
        for source in sources:
            yield from (
                open_source(source, options, bad) if store_folder(source) else read(source, options, bad)
            )

    write_store(_counted(records()), out, bad=bad)
    tell_skipped(bad)
    if bad:
        typer.echo(f"all of them: {out / 'bad_records.json'}", err=True)
    show(summarize(Store(out)), Console())
    print(f"Written: {out}")


def _counted(records: Iterator[Graph]) -> Iterator[Graph]:
    """The same records, with a running count on the terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed} records"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("prepare", total=None)
        for record in records:
            yield record
            progress.advance(task)
