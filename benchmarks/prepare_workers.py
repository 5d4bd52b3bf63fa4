"""What a second process brings to ``atomfield prepare``: one and two workers in turn, wall clock and processor time.

Run: python benchmarks/prepare_workers.py [--frames 200000] [--table TABLE.csv --target NAME] [--repeats 2] [--out PAGE.md]

Generated frames of extended XYZ, and, if given, a table of SMILES. On a machine with other work the wall clock says little, so
the processor seconds of the busiest process are given too: the time that as many idle cores would need at least.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_store import family, machine, write_frames

_TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float | None:
    """Of one process so far; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / _TICK


def measured(sources: list[str], out: Path, workers: int) -> tuple[float, float, float]:
    """Seconds on the wall, of all processors together, and of the busiest process."""
    words = [
        "prepare",
        *sources,
        "--out",
        str(out),
        "--workers",
        str(workers),
        "--no-check",
        "--on-bad",
        "skip",
    ]
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "atomfield", *words, "--max-bad", "1"], stdout=subprocess.DEVNULL
    )
    spent: dict[int, float] = {}
    while process.poll() is None:
        for pid in family(process.pid):
            seconds = processor_seconds(pid)
            if seconds is not None:
                spent[pid] = seconds
        time.sleep(0.1)
    assert process.returncode == 0, "prepare failed"
    shutil.rmtree(out)
    return time.monotonic() - begun, sum(spent.values()), max(spent.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target", default="")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="prepare-workers-") as name:
        folder = Path(name)
        write_frames(folder / "frames.extxyz", options.frames, 0)
        cases = [(f"{options.frames:,} frames", [str(folder / "frames.extxyz")])]
        if options.table:
            cases.append((options.table.name, [str(options.table), "--target", options.target]))
        for what, sources in cases:
            runs: dict[int, list[tuple[float, float, float]]] = {1: [], 2: []}
            for _ in range(options.repeats):
                for workers, found in runs.items():
                    found.append(measured(sources, folder / "store", workers))
                    print(what, workers, *(f"{x:.1f}" for x in found[-1]), flush=True)
            for workers, found in runs.items():
                best = [min(column) for column in zip(*found, strict=True)]
                rows.append(f"| {what} | {workers} | {best[0]:.1f} | {best[1]:.1f} | {best[2]:.1f} |")
    table = "\n".join(rows)
    page = f"""# Workers of `prepare`

`python benchmarks/prepare_workers.py --frames {options.frames}`, {time.strftime("%d %B %Y")}, {machine()}, shared with other
work; the smallest of {options.repeats} interleaved runs, libraries loaded anew in each process.

| source | workers | s | processor s, all | processor s, busiest process |
| --- | --- | --- | --- | --- |
{table}
"""
    print(page)
    if options.out:
        options.out.write_text(page)


if __name__ == "__main__":
    main()
