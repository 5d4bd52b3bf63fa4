"""fairchem's ASE-LMDB loader over the frames of ``data_throughput.py``, in an environment of its own: pip install fairchem-core.

Run: python benchmarks/peers/fairchem_aselmdb.py FRAMES.extxyz SCRATCH --cutoff 5 --batch 64 --sampled 4000

Prints one JSON line of records per second. With neighbours, the search is the one that fairchem makes on the processor
when a record becomes ``AtomicData`` (``r_edges``).
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("frames")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sampled", type=int, default=4000)
    options = parser.parse_args()
    import ase.db
    import ase.io
    import torch
    from ase.calculators.singlepoint import SinglePointCalculator
    from fairchem.core.datasets import AseDBDataset
    from fairchem.core.datasets.atomic_data import atomicdata_list_to_batch

    torch.set_num_threads(1)
    out: dict[str, Any] = {"peer": f"fairchem-core {version('fairchem-core')}, AseDBDataset of aselmdb"}
    path = options.scratch / "frames.aselmdb"
    begun = time.process_time()
    count = 0
    with ase.db.connect(str(path), type="aselmdb") as database:
        for atoms in ase.io.iread(options.frames, index=":"):
            if not atoms.pbc.any():
                labels = atoms.calc.results
                atoms.center(vacuum=20.0)  # its neighbour search needs a cell that can be inverted
                atoms.calc = SinglePointCalculator(atoms, **labels)
            database.write(atoms, data={})
            count += 1
    out["prepare"] = count / (time.process_time() - begun)

    def rate(edges: bool) -> float:
        arguments = {
            "r_energy": True,
            "r_forces": True,
            "r_edges": edges,
            "radius": options.cutoff,
            "max_neigh": 1000,
        }
        dataset = AseDBDataset({"src": str(path), "a2g_args": arguments})
        order = np.random.default_rng(0).permutation(len(dataset))[: options.sampled]
        best = 0.0
        for _ in range(3):
            begun = time.process_time()
            for start in range(0, len(order), options.batch):
                atomicdata_list_to_batch([dataset[int(i)] for i in order[start : start + options.batch]])
            best = max(best, len(order) / (time.process_time() - begun))
        return best

    out["collate"] = rate(False)
    out["neighbours"] = rate(True)
    out["bytes"] = path.stat().st_size
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
