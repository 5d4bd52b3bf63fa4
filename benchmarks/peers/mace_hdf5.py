"""MACE's HDF5 loader over the frames of ``data_throughput.py``. Runs in an environment of its own: pip install mace-torch.

Run: python benchmarks/peers/mace_hdf5.py FRAMES.extxyz SCRATCH --cutoff 5 --batch 64 --sampled 4000

Prints one JSON line of records per second. MACE finds neighbours of each record when it is read; "collate" replaces that search
by an empty list, which leaves its reading, its tensors and its collation.
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
    import h5py
    import torch
    from mace import data
    from mace.data import atomic_data
    from mace.tools import AtomicNumberTable, torch_geometric

    torch.set_num_threads(1)
    out: dict[str, Any] = {"peer": f"mace-torch {version('mace-torch')}, HDF5Dataset"}
    begun = time.process_time()
    keys = data.KeySpecification.from_defaults()
    keys.update(info_keys={"energy": "energy"}, arrays_keys={"forces": "forces"})
    _, configs = data.load_from_xyz(file_path=options.frames, key_specification=keys, no_data_ok=False)
    path = options.scratch / "mace.h5"
    with h5py.File(path, "w") as file:
        data.save_configurations_as_HDF5(configs, 0, file)
    out["prepare"] = len(configs) / (time.process_time() - begun)
    numbers = sorted({int(z) for c in configs for z in c.atomic_numbers})
    dataset = data.HDF5Dataset(str(path), r_max=options.cutoff, z_table=AtomicNumberTable(numbers))
    order = np.random.default_rng(0).permutation(len(dataset))[: options.sampled]
    collate = torch_geometric.dataloader.Collater([], [])

    def rate() -> float:
        best = 0.0
        for _ in range(3):
            begun = time.process_time()
            for start in range(0, len(order), options.batch):
                collate([dataset[int(i)] for i in order[start : start + options.batch]])
            best = max(best, len(order) / (time.process_time() - begun))
        return best

    assert dataset[0].edge_index.shape[1] > 0
    out["neighbours"] = rate()
    none = (np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3)), np.zeros((0, 3)))

    def no_neighbours(positions: Any, cutoff: float, pbc: Any = None, cell: Any = None, **_: Any) -> Any:
        return *none, np.zeros((3, 3)) if cell is None else cell

    atomic_data.get_neighborhood = no_neighbours
    assert dataset[0].edge_index.shape[1] == 0, "the search was not replaced"
    out["collate"] = rate()
    out["bytes"] = path.stat().st_size
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
