"""``atomfield prepare``: files to a validated Arrow store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomfield.data.errors import InputError

from .options import (
    Conformers,
    Level,
    Map,
    MaxBad,
    OnBad,
    Seed,
    Target,
    TargetIrreps,
    Units,
    listed,
    paired,
    read_options,
    tell_skipped,
)

if TYPE_CHECKING:
    from atomfield.data.store import Store


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
    target_irreps: TargetIrreps = None,
    level: Level = "",
    conformers: Conformers = 1,
    on_bad: OnBad = "raise",
    max_bad: MaxBad = 0.01,
    seed: Seed = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that read at once; default: what the size of the sources keeps busy.",
            show_default=False,
        ),
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add the records to the store that is there.")
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="RULE|FILE",
            help="Parts of the store, used as STORE:train: random, group, scaffold, composition, prototype, spacegroup, "
            "trajectory, time, or a file of record numbers or ids (JSON, CSV, text).",
            show_default=False,
        ),
    ] = None,
    by_id: Annotated[
        str,
        typer.Option(
            "--by-id",
            metavar="KEY",
            help="The --split FILE names records by this column or key of theirs; the same as --map id=KEY.",
            show_default=False,
        ),
    ] = "",
    fractions: Annotated[
        str,
        typer.Option(
            "--fractions", metavar="A,B,C", help="Shares of train, valid and test, or of train and test."
        ),
    ] = "0.8,0.1,0.1",
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="SRC",
            help="Leave out molecules (by their bonds) and crystals (by composition) that this source has, such as a test set; "
            "several by repeating.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Look for wrong units and signs, energies that are no totals, duplicates.",
        ),
    ] = True,
) -> None:
    """Read files of any kind, check every record and write them as one Arrow store.

    SMILES tables, SDF, MOL2, PDB, mmCIF, extxyz, ASE databases, CIF, POSCAR, VASP, pymatgen, JARVIS and DeePMD files; The
    Well, PDEBench, npz, HDF5, MATLAB, PyTorch, NetCDF, Zarr and meshes for fields; Arrow, Parquet and Hugging Face data sets.
    The store has an index with the sha256 of each shard, and bad_records.json where records were skipped. What is written
    does not depend on the number of workers, and a command that was interrupted or killed goes on where it stopped when it
    is given again.

    Then the whole store is checked: units and signs of energies, forces, stress and positions against each other and against
    nature, net forces, energies that cannot be totals, duplicates. The findings are shown and are in checks.json; they change
    nothing in the store.
    """
    from rich.console import Console

    from atomfield.data.checks import audit, check_share, listed_bad
    from atomfield.data.inspect import show, summarize
    from atomfield.data.partition import write_parts
    from atomfield.data.prepare import prepare as prepare_store
    from atomfield.data.prepare import workers_for
    from atomfield.data.store import Store

    if by_id:
        _check_by_id(by_id, split, map)
        map = [*(map or ()), f"id={by_id}"]
    options = read_options(
        targets=listed(target),
        map=map,
        units=units,
        target_irreps=target_irreps,
        level=level,
        conformers=conformers,
        seed=seed,
        on_bad=on_bad,
    )
    count = workers_for(sources) if workers is None else workers
    with _counter() as progress:
        done = prepare_store(
            sources,
            out,
            options,
            workers=count,
            append=append,
            without=without or (),
            progress=progress,
        )
    tell_skipped(done.bad)
    if done.bad:
        typer.echo(f"all of them: {out / 'bad_records.json'}", err=True)
    for source in without or ():
        print(f"Left out: {done.left_out.get(source, 0)} records that are in {source}")
    store, console = Store(out), Console()
    show(summarize(store), console)
    if check and done.new_records:
        report = audit(store, done.bad, where=out.name)
        report.write(out / "checks.json")
        report.show(console)
    if split:
        left_out = len(done.bad or listed_bad(out))
        parts = _split(store, split, by_id, fractions, seed, left_out, conformers)
        write_parts(out, parts)
        print("Parts: " + ", ".join(f"{out}:{name} {len(its)}" for name, its in parts.items()))
    check_share(done.bad or listed_bad(out), len(store), max_bad, str(out))
    if not done.new_records:
        print(f"Nothing to do: {out} holds these files already")
    elif append:
        print(f"Appended: {done.new_records} records to {out}")
    else:
        print(f"Written: {out}")


def _check_by_id(key: str, split: str | None, map: list[str] | None) -> None:
    """``--by-id`` goes with a file, and with one key."""
    from atomfield.data.partition import RULES

    if split is None or split in RULES:
        raise InputError("is for a file of ids, which --split names", "--by-id")
    other = paired(map, "--map").get("id", key)
    if other != key:
        raise InputError(f"is {key!r}, but --map has id={other}; expected one of them", "--by-id")


def _split(
    store: Store, rule: str, by_id: str, fractions: str, seed: int, left_out: int, conformers: int
) -> dict[str, list[int]]:
    """Record numbers of each part, by a rule or a file."""
    from atomfield.data.folds import read_parts_file
    from atomfield.data.partition import RULES, partition

    if rule not in RULES:
        if not Path(rule).is_file():
            raise InputError(f"found {rule!r}, expected one of {', '.join(RULES)}, or a file", "--split")
        return read_parts_file(rule, store, by_id, left_out=left_out, conformers=conformers)
    try:
        shares = [float(word) for word in fractions.split(",")]
    except ValueError:
        raise InputError(
            f"found {fractions!r}, expected numbers such as 0.8,0.1,0.1", "--fractions"
        ) from None
    return partition(store, rule, shares, seed)  # type: ignore[arg-type]


@contextmanager
def _counter() -> Iterator[Callable[[int], None]]:
    """Shows on the terminal how many records were read."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed} records"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("prepare", total=None)
        yield lambda records: progress.update(task, completed=records)
