"""What a simulation leaves behind: a CSV of energies, a trajectory file, and a progress bar while it runs."""

from __future__ import annotations

import csv
import os
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from atomfield.data.errors import InputError

from .watch import NOTHING, Limits

if TYPE_CHECKING:
    from ase import Atoms
    from rich.console import Console

    from .restart import State

TRAJECTORY_SUFFIXES = (".traj", ".extxyz", ".xyz")


@dataclass(frozen=True)
class Output:
    """Where results go; all of it optional, folders are made.

    trajectory: ``.traj`` (ASE), ``.extxyz`` or ``.xyz``. log: CSV of the energies. figure: PNG of the energy trace (dynamics).
    interval: steps between samples of all three. progress: a bar with rate and remaining time on ``console``.

    restart: file with the state of the run (:mod:`.restart`), written every ``restart_seconds`` and at the end; it needs a
    trajectory that can be cut back, ``.extxyz`` or ``.xyz``. resume: go on from that file where there is one. identity: tells the
    potential (a sha256, say), so that a run is not resumed with another one. structure: likewise tells what the
    run begins with. stop: limits beyond which a run ends early.
    """

    trajectory: str | Path | None = None
    log: str | Path | None = None
    figure: str | Path | None = None
    interval: int = 10
    progress: bool = False
    console: Console | None = None
    restart: str | Path | None = None
    restart_seconds: float = 10.0
    resume: bool = False
    identity: str = ""
    structure: str = ""
    stop: Limits = NOTHING

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise InputError(f"interval is {self.interval}, expected at least 1 step")
        if self.trajectory is not None and Path(self.trajectory).suffix not in TRAJECTORY_SUFFIXES:
            known = ", ".join(TRAJECTORY_SUFFIXES)
            raise InputError(f"trajectory is {str(self.trajectory)!r}, expected a name ending in {known}")
        if (
            self.restart is not None
            and self.trajectory is not None
            and Path(self.trajectory).suffix == ".traj"
        ):
            raise InputError(
                "a .traj file cannot be cut back on resuming; write .extxyz, or leave restart out"
            )
        if self.resume and self.restart is None:
            raise InputError("resume needs the file of a restart; name it")

    def begun_with(self) -> dict[str, str]:
        """Of the settings of a run: what tells its structure, where the caller says it."""
        return {"structure": self.structure} if self.structure else {}


class Recorder:
    """A context in which each ``sample`` becomes a row and a frame; files are complete up to the last sample whatever happens.

    columns: names of the numbers of one row. resumed: the state to go on from, at which the files are cut.
    """

    def __init__(
        self, output: Output, columns: tuple[str, ...], total: int, title: str, resumed: State | None = None
    ):
        self.output, self.columns = output, columns
        self._values = array("d")
        """All rows one after the other, 8 bytes a number: a run of weeks has tens of millions."""
        self._total, self._title, self._shown_at = total, title, 0.0
        self._first = 0 if resumed is None else resumed.step
        self._sizes = None if resumed is None else resumed.sizes
        self._bar: Any = None
        self._file: TextIO | None = None
        self._frames: Any = None

    def __enter__(self) -> Recorder:
        out = self.output
        if out.restart is not None and self._sizes is None:
            Path(out.restart).parent.mkdir(parents=True, exist_ok=True)
            Path(out.restart).unlink(missing_ok=True)  # of an earlier run, whose files are written over now
        if out.log is not None:
            self._open_log(Path(out.log))
        if out.trajectory is not None:
            path = Path(out.trajectory)
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._sizes is None:
                path.unlink(missing_ok=True)
            else:
                _cut(path, self._sizes["trajectory"])
            if path.suffix == ".traj":
                from ase.io.trajectory import Trajectory

                self._frames = Trajectory(str(path), "w")
        if out.progress:
            self._bar = _bar(out.console)
            self._task = self._bar.add_task(self._title, total=self._total, rate="", note="")
            self._bar.start()
        self._began = time.perf_counter()
        return self

    def _open_log(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._sizes is None:
            self._file = path.open("w", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(self.columns)
            return
        _cut(path, self._sizes["log"])
        with path.open(newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != self.columns:
                raise InputError("is not the log of the run to resume", str(path))
            for row in rows:
                self._values.extend(map(float, row))
        self._file = path.open("a", newline="")
        self._writer = csv.writer(self._file)

    def sizes(self) -> dict[str, int]:
        """Bytes of the log and the trajectory now, on disk."""
        found = {}
        for name, path in (("log", self.output.log), ("trajectory", self.output.trajectory)):
            if path is not None:
                with Path(path).open("ab") as file:
                    os.fsync(file.fileno())
                    found[name] = file.tell()
        return found

    def sample(self, atoms: Atoms, row: tuple[float, ...]) -> None:
        """Keep one row (in the order of ``columns``) and one frame, and flush both."""
        self._values.extend(row)
        if self._file is not None:
            self._writer.writerow([v if isinstance(v, int) else repr(float(v)) for v in row])
            self._file.flush()
        if self._frames is not None:
            self._frames.write(atoms)
        elif self.output.trajectory is not None:
            import ase.io

            ase.io.write(self.output.trajectory, atoms, format="extxyz", append=True)

    def progress(self, step: int, note: str = "") -> None:
        """Move the bar to ``step``; cheap enough for every step."""
        now = time.perf_counter()
        if self._bar is None or (now - self._shown_at < 0.1 and step < self._total):
            return
        self._shown_at = now
        rate = f"{(step - self._first) / max(now - self._began, 1e-9):.1f} steps/s"
        self._bar.update(self._task, completed=step, rate=rate, note=note)

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self._began

    def column(self, name: str) -> np.ndarray:
        """``[S]`` all samples of one column."""
        table = np.array(self._values).reshape(-1, len(self.columns))
        return table[:, self.columns.index(name)].copy()

    @property
    def last_step(self) -> int:
        """Of the newest sample; -1 before the first."""
        return int(self._values[-len(self.columns)]) if self._values else -1

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            self._file.close()
        if self._frames is not None:
            self._frames.close()


def _cut(path: Path, size: int) -> None:
    found = path.stat().st_size if path.is_file() else 0
    if found < size:
        raise InputError(
            f"has {found} bytes, expected at least the {size} of the run to resume; start anew", str(path)
        )
    os.truncate(path, size)


def _bar(console: Console | None) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )
