"""A million small graphs through `atomfield predict`, killed on the way and resumed: nothing lost or doubled, in bounded memory.

    python benchmarks/predict_many.py --records 1000000 --workers 2 --kills 5        hours on two cores
    python benchmarks/predict_many.py --records 20000 --kills 2                      minutes

A store of jittered clusters of two to six atoms is written once (its records are numbered by their first coordinate), a small
untrained checkpoint is saved, and the command runs in a process of its own. It is killed (SIGKILL) after random
shares of the parts
have been written, and started again until it ends. Then every record must be in the table once, in order, with the energy that a
fresh prediction of a sample gives. Peak memory is that of the process tree while it runs (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from machine import description

from atomfield.data.graph import Graph
from atomfield.data.store import Store, write_store
from atomfield.inference.predict import predict_graphs
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet

RESULTS = Path(__file__).parent / "results"
PLACES = np.array([[0.0, 0, 0], [1.3, 0, 0], [0, 1.4, 0], [0, 0, 1.5], [1.1, 1.2, 0.3], [-1.2, 0.2, 0.8]])


def records(count: int) -> Iterator[Graph]:
    noise = np.random.default_rng(0)
    for number in range(count):
        size = 2 + number % 5
        places = PLACES[:size] + 0.1 * noise.standard_normal((size, 3))
        species = torch.from_numpy(noise.choice([1, 6, 7, 8], size))
        yield Graph(torch.from_numpy(places), species, "molecule", level="toy", group=str(number))


def network() -> AtomFieldNet:
    torch.manual_seed(0)
    net = AtomFieldNet(
        NetworkConfig(channels=8, channels_unnatural=0, lmax=1, levels=("toy",), default_level_atoms="toy")
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        net.atom_head.reference[0, [1, 6, 7, 8]] = -1.0
    return net


def memory_mb(root: int) -> float:
    """Resident memory of a process and its children."""
    total, known = 0.0, {root}
    rows = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                rows.append((int(folder.name), int(fields[1]), int(fields[21])))
            except OSError:
                continue
    for _ in range(3):
        known |= {pid for pid, parent, _ in rows if parent in known}
    for pid, _, pages in rows:
        if pid in known:
            total += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return total


def run(command: list[str], out: Path, kill_at: int | None) -> tuple[bool, float]:
    """Whether it ended by itself, and its peak of memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    parts, peak = out.with_name(f".{out.name}.parts"), 0.0
    while process.poll() is None:
        peak = max(peak, memory_mb(process.pid))
        if kill_at is not None and len(list(parts.glob("part-*.json"))) >= kill_at:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return False, peak
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the command failed with code {process.returncode}")
    return True, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "predict_many.json")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="predict_many_"))
    store, model, out = folder / "store", folder / "model", folder / "answers.parquet"
    begun = time.monotonic()
    if not store.exists():
        write_store(records(options.records), store)
    checkpoint.save(network(), model)
    made = time.monotonic() - begun
    command = [sys.executable, "-m", "atomfield", "predict", str(model), str(store), "--out", str(out)]
    command += ["--workers", str(options.workers), "--device", "cpu"]
    num_parts = -(-options.records // 2000)
    draw = random.Random(0)
    shares = sorted(draw.uniform(0.05, 0.95) for _ in range(options.kills))
    peaks, begun = [], time.monotonic()
    for share in shares:
        ended, peak = run(command, out, max(1, int(share * num_parts)))
        peaks.append(peak)
        print(f"killed after {share:.0%} of the parts; peak {peak:.0f} MB", flush=True)
        assert not ended, "ended before it was killed: take more records"
    ended, peak = run(command, out, None)
    peaks.append(peak)
    seconds = time.monotonic() - begun
    result: dict[str, Any] = {
        "what": "predict_many", "records": options.records, "workers": options.workers, "kills": options.kills,
        "seconds": seconds, "records_per_second": options.records / seconds, "seconds_to_make_the_store": made,
        "peak_mb": peaks, "machine": description(), **check(Store(store), out, model),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def check(store: Store, out: Path, model: Path) -> dict[str, Any]:
    """Every record once and in order, and the energies of a sample."""
    table = parquet.read_table(out, columns=["index", "energy", "group"])
    index = table["index"].to_numpy()
    assert np.array_equal(index, np.arange(len(store))), "records are lost, doubled or out of order"
    assert table["group"].to_pylist() == [str(k) for k in range(len(store))], (
        "rows are those of other records"
    )
    sample = np.unique(np.linspace(0, len(store) - 1, 200).astype(int))
    fresh = predict_graphs(checkpoint.load(model), [store[int(k)] for k in sample])
    error = float(
        np.abs(table["energy"].to_numpy()[sample] - np.array([float(p["energy"]) for p in fresh])).max()
    )
    assert error < 1e-4, f"energies differ by {error} eV"
    return {"rows": len(table), "largest_difference_eV": error}


if __name__ == "__main__":
    main()
