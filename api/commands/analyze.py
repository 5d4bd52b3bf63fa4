"""``atomfield analyze``: what a trajectory says: radial distribution and diffusion."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

Trajectory = Annotated[
    Path,
    typer.Argument(
        metavar="TRAJECTORY",
        help="A folder of `atomfield simulate`, or a trajectory that ASE reads.",
        show_default=False,
    ),
]


def analyze(
    trajectory: Trajectory,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the results.", show_default=False)
    ],
    frame_time: Annotated[
        float | None,
        typer.Option(
            "--frame-time",
            metavar="FS",
            show_default=False,
            help="fs between frames; default: as the log.csv beside the trajectory says.",
        ),
    ] = None,
    skip: Annotated[
        float,
        typer.Option(
            "--skip", metavar="SHARE", min=0.0, max=0.9, help="Share at the start that is left out."
        ),
    ] = 0.1,
    reach: Annotated[
        float, typer.Option("--reach", metavar="A", help="angstrom: largest distance of g(r).")
    ] = 8.0,
    blocks: Annotated[
        int,
        typer.Option(
            "--blocks", metavar="N", min=2, help="Parts whose scatter gives the error of the diffusion."
        ),
    ] = 5,
) -> None:
    """Radial distribution functions, coordination numbers, mean square displacements and diffusion coefficients with errors.

    Writes metrics.json, rdf.png and rdf.csv (of structures that are periodic in three directions), msd.png and msd.csv (from 20
    frames a block on). No checkpoint is needed.
    """
    from atomfield.inference.write import write_metrics

    from .study import table

    _positive("--reach", reach)
    if frame_time is not None:
        _positive("--frame-time", frame_time)
    frames, apart = _frames(trajectory, frame_time)
    frames = frames[int(skip * len(frames)) :]
    solid, short = bool(frames[0].pbc.all()), len(frames) < 20 * blocks
    notes = [] if solid else ["the structure is not periodic in three directions: no g(r)"]
    if short:
        notes.append(
            f"{len(frames)} frames are left, expected at least {20 * blocks} for {blocks} blocks: no diffusion; run longer, or "
            "take a smaller --interval or fewer --blocks"
        )
    if short and not solid:
        raise InputError("; ".join(notes), str(trajectory))
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, float] = {"frames": float(len(frames))}
    files: list[Path] = []
    if solid:
        from atomfield.inference import radial

        found = radial.radial_distribution(frames, reach=reach)
        numbers |= found.metrics()
        notes += [
            f"no two atoms of {n} are within {reach:g} angstrom" for n, g in found.g.items() if not g.any()
        ]
        files += [out / "rdf.png", out / "rdf.csv"]
        radial.figure(found).savefig(files[-2], dpi=150)
        columns = {f"g_{n}": g for n, g in found.g.items()}
        columns |= {f"neighbours_{n}": count for n, count in found.neighbors.items()}
        _columns(files[-1], {"r_A": found.radius} | columns)
    if not short:
        from atomfield.inference import diffusion

        moved = diffusion.diffusion(frames, apart, blocks=blocks)
        numbers |= moved.metrics()
        notes += moved.remarks
        files += [out / "msd.png", out / "msd.csv"]
        diffusion.figure(moved).savefig(files[-2], dpi=150)
        _columns(files[-1], {"time_ps": moved.time} | {f"msd_{n}_A2": msd for n, msd in moved.msd.items()})
    files.append(write_metrics(numbers, out / "metrics.json"))
    table(numbers, "trajectory")
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    print("Written: " + ", ".join(map(str, files)))


def _positive(option: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InputError(f"found {value:g}, expected a positive number", option)


def _columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    import numpy as np

    table = np.column_stack(list(columns.values()))
    np.savetxt(path, table, "%.8g", ",", header=",".join(columns), comments="")


def _frames(path: Path, frame_time: float | None) -> tuple[list[Atoms], float]:
    """The frames and the time between them in fs."""
    import ase.io

    file = path / "trajectory.extxyz" if path.is_dir() else path
    if not file.is_file():
        raise InputError("no such file, expected a trajectory", str(file))
    try:
        frames = ase.io.read(file, index=":")
    except Exception as error:  # whatever ASE's readers raise
        raise InputError(f"ASE cannot read it ({type(error).__name__}: {error})", str(file)) from error
    assert isinstance(frames, list)
    if len(frames) < 2:
        raise InputError(f"has {len(frames)} frame, expected a trajectory", str(file))
    if frame_time is not None:
        return frames, frame_time
    kept, apart = _evenly(_times_of(file.with_name("log.csv"), len(frames)), file)
    return [frames[k] for k in kept], apart


def _times_of(log: Path, count: int) -> list[float]:
    """fs of each frame, as the log beside the trajectory says."""
    import csv

    if not log.is_file():
        raise InputError(
            "the time between frames is unknown: there is no log.csv beside the trajectory; say --frame-time",
            str(log),
        )
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and "time_fs" not in rows[0]:
        raise InputError(
            "is the log of a relaxation, which has no times, expected one of dynamics; or say --frame-time",
            str(log),
        )
    if len(rows) - count not in (0, 1):  # a run that was killed has its last row before its last frame
        raise InputError(f"has {len(rows)} times for {count} frames; say --frame-time", str(log))
    return [float(r["time_fs"]) for r in rows[:count]]


def _evenly(times: list[float], file: Path) -> tuple[list[int], float]:
    """The frames at whole intervals, and the interval. The last frame of a run is between them where the run was stopped or its
    steps are no multiple, in the middle of the file where it was resumed."""
    import statistics

    apart = statistics.median(b - a for a, b in itertools.pairwise(times))
    places = [(t - times[0]) / apart for t in times] if apart > 0 else []
    kept = [k for k, place in enumerate(places) if abs(place - round(place)) < 1e-6 * max(1.0, place)]
    if len(kept) < 2 or [round(places[k]) for k in kept] != list(range(len(kept))):
        raise InputError(
            "the frames are not equally spaced in time, expected one interval; say --frame-time", str(file)
        )
    return kept, apart
