"""Fill a big table cell by cell, in any number of sittings, and write its page.

    python benchmarks/table.py NAME [options of the table]     runs what is open, then writes results/NAME.md
    python benchmarks/table.py NAME --list                     what is done, open, failed or was measured on a busy machine
    python benchmarks/table.py NAME --page                     only the page
    python benchmarks/table.py NAME --only mace,ethanol        cells whose row or column holds each of these words
    python benchmarks/table.py NAME --row all --seed 1         cells of exactly this row, of this seed
    python benchmarks/table.py NAME --most 10                  at most ten cells in this sitting

NAME is a module in ``benchmarks/tables/`` with ``options(parser)``, ``cells(options)`` and ``METRICS``, a dictionary of a
measured value's name to its heading; ``finish(cells, folder, options)``, where it has one, writes what else is made of results.
A finished cell is one JSON in ``results/NAME/`` and is not run again; one that failed or ran while others took more than a tenth
of the processor time is marked, and run again only on ``--rerun-failed`` or ``--rerun-busy``. The first seed of every row and
column comes first. Stopping at any moment, kill -9 included, loses only the cell that is running. Several queues may run side by
side: a cell is locked while its command lives, even when its queue is dead.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from cells import Cell, in_order, read, state, write
from machine import Watch, commit, description
from table_page import page

HERE = Path(__file__).parent
ENOUGH = 0.9
"""Share of wall time x threads that must have been free, or the cell is marked busy."""


def run(cell: Cell, folder: Path, log: Path) -> dict[str, Any]:
    """Run the command to its end and say how it went. Its processes hold the cell's lock, see :func:`locked`."""
    work = folder / ".work" / cell.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    result = work / "result.json"
    command = [x.replace("{result}", str(result)).replace("{work}", str(work)) for x in cell.command]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    machine, revision, watch = description(), commit(HERE), Watch()
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=False,
            env={**os.environ, **cell.environment},
        )
        try:
            code: int | None = process.wait(timeout=cell.limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    free = watch.available(used, cell.threads)
    record: dict[str, Any] = {
        "row": cell.row, "column": cell.column, "seed": cell.seed, "threads": cell.threads, "command": shown(cell.command),
        "wall_s": time.monotonic() - started, "processor_s": used, "free_share": free, "busy": free < ENOUGH,
        "machine": machine, "commit": revision, "load_average_after": list(os.getloadavg()), "values": {}, "failure": "",
    }  # fmt: skip
    if code is None:
        record["failure"] = f"ended after {cell.limit_s:g} s"
    elif code:
        record["failure"] = f"exit code {code}: {log.read_text(errors='replace')[-400:]}"
    elif not result.exists():
        record["failure"] = "the command wrote no result"
    else:
        record["values"] = json.loads(result.read_text())
    return record


def shown(command: tuple[str, ...]) -> list[str]:
    """The command without paths of this machine: those of the repository relative to it, of others the last part."""
    root, words = HERE.parent, []
    for word in command:
        path = Path(word)
        if word == sys.executable:
            words.append("python")
        elif not path.is_absolute():
            words.append(word)
        else:
            words.append(str(path.relative_to(root)) if path.is_relative_to(root) else f".../{path.name}")
    return words


def locked(folder: Path, cell: Cell) -> int | None:
    """A descriptor that holds the cell's lock and that its command inherits, or None where another queue has it."""
    (folder / ".locks").mkdir(exist_ok=True)
    descriptor = os.open(folder / ".locks" / cell.name, os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.set_inheritable(descriptor, True)
    return descriptor


def fill(cells: list[Cell], folder: Path, again: set[str], most: int) -> None:
    """Run all cells whose state is in ``again``, once each, and at most ``most`` of them."""
    ran = 0
    for cell in in_order(cells):
        if ran >= most:
            return
        if state(read(folder, cell)) not in again:
            continue
        lock = locked(folder, cell)
        if lock is None:
            print(f"{cell.name}: another queue is at it", flush=True)
            continue
        try:
            if state(read(folder, cell)) not in again:  # finished by another queue just now
                continue
            print(f"{cell.name}: running, at most {cell.limit_s:g} s", flush=True)
            (folder / "logs").mkdir(exist_ok=True)
            ran += 1
            record = run(cell, folder, folder / "logs" / f"{cell.name}.log")
            write(folder, cell, record)
            print(
                f"{cell.name}: {state(record)} {record['failure'][:200]} {json.dumps(record['values'])}",
                flush=True,
            )
        finally:
            os.close(lock)


def module(path: Path) -> ModuleType:
    """The table's definition."""
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.py")))
        raise SystemExit(f"no table {path.stem!r}, expected one of: {known}")
    spec = importlib.util.spec_from_file_location(f"table_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--row")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rerun-busy", action="store_true")
    parser.add_argument("--rerun-failed", action="store_true")
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--tables", type=Path, default=HERE / "tables", help="folder of the definitions")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    known, given = parser.parse_known_args()
    table = module(known.tables / f"{known.name}.py")
    table.options(parser)
    options = parser.parse_args()
    folder = options.results / options.name
    folder.mkdir(parents=True, exist_ok=True)
    cells = table.cells(options)
    words = [x for x in options.only.split(",") if x]
    chosen = [c for c in cells if all(w in c.row or w in c.column for w in words)]
    chosen = [c for c in chosen if options.row in (None, c.row) and options.seed in (None, c.seed)]
    if not chosen:
        rows = ", ".join(dict.fromkeys(c.row for c in cells))
        raise SystemExit(f"no cell is chosen; rows of {known.name}: {rows}")
    if options.list:
        for cell in in_order(chosen):
            print(f"{state(read(folder, cell)):7}{cell.row:24}{cell.column:24}seed {cell.seed}")
        return
    if not options.page:
        again = {"open"}
        again |= {"busy"} if options.rerun_busy else set()
        again |= {"failed"} if options.rerun_failed else set()
        fill(chosen, folder, again, options.most)
    command = " ".join(("python benchmarks/table.py", options.name, *shown(tuple(given))))
    text = page(options.name, command, cells, folder, table.METRICS)
    (options.results / f"{options.name}.md").write_text(text)
    print(text)
    if hasattr(table, "finish"):
        table.finish(cells, folder, options)


if __name__ == "__main__":
    main()
