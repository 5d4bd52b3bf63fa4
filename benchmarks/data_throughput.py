"""Records and atoms per second of prepare, collate and neighbour lists, beside ASE's database and loaders of peers, in one run.

Run: python benchmarks/data_throughput.py [--mace PYTHON] [--fairchem PYTHON] [--out benchmarks/results/data_throughput.md]

The same 20,000 frames for all: molecules and crystals that move around their equilibrium, with energy and forces, as
extended XYZ. Random records in batches of 64, neighbours within 5 angstrom. Peers run in environments of their own, whose
interpreters are named by the options (``python -m venv mace; mace/bin/pip install torch==2.13.0 mace-torch==0.3.16``, the same
for ``fairchem-core==2.24.0``). One thread each. Rates are per second of processor time, best of three, so that other programs
on the machine count little; where two workers are compared with one they are per second of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CUTOFF, BATCH = 5.0, 64
SMILES = ("CCO", "CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1", "CC(N)C(=O)O", "OCC(O)CO", "CCCCCC")


def write_frames(path: Path, count: int) -> float:
    """Molecules and crystals in turn; returns the mean number of atoms."""
    import ase.io
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from rdkit import Chem
    from rdkit.Chem import AllChem

    rng = np.random.default_rng(0)
    kinds = []
    for smiles in SMILES:
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(molecule, randomSeed=0)
        kinds.append(
            Atoms([a.GetSymbol() for a in molecule.GetAtoms()], molecule.GetConformer().GetPositions())
        )
        kinds.append(
            bulk("NaCl", "rocksalt", a=5.6, cubic=True)
            if len(kinds) % 4 == 1
            else bulk("Si", a=5.4, cubic=True)
        )
    frames = []
    for i in range(count):
        atoms = kinds[i % len(kinds)].copy()
        atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
        if atoms.pbc.any():
            atoms.set_cell(
                atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3))), scale_atoms=True
            )
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(rng.normal()), forces=rng.normal(size=(len(atoms), 3))
        )
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
    return sum(map(len, frames)) / count


def best(work: Callable[[], int], clock: Callable[[], float] = time.process_time) -> float:
    """Items per second of the fastest of three."""
    rates = []
    for _ in range(3):
        begun = clock()
        count = work()
        rates.append(count / (clock() - begun))
    return max(rates)


class Make:
    """Batches of one store, with neighbours; made anew in each worker process."""

    def __init__(self, store: Path):
        self.path, self.store = store, None

    def __call__(self, ids: tuple[int, ...]) -> Any:
        from atomfield.data.neighbors import with_radius_edges
        from atomfield.data.store import Store

        self.store = self.store or Store(self.path)
        return with_radius_edges(self.store.batch(ids), CUTOFF)


def ours(frames: Path, scratch: Path, count: int, sampled: int) -> tuple[dict[str, Any], list[str]]:
    """Rates of this package, and lines on workers."""
    import torch

    from atomfield.data.graph import collate
    from atomfield.data.loader import Loader
    from atomfield.data.neighbors import with_radius_edges
    from atomfield.data.prepare import prepare
    from atomfield.data.store import Store

    torch.set_num_threads(1)
    walls = {}
    cpu = 0.0
    for workers in (1, 2):
        begun, wall = time.process_time(), time.monotonic()
        prepare([str(frames)], scratch / f"store{workers}", workers=workers)
        cpu = cpu or time.process_time() - begun
        walls[workers] = time.monotonic() - wall
    store = Store(scratch / "store1")
    order = np.random.default_rng(0).permutation(len(store))[:sampled]
    batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]

    def each(function: Callable[[Any], Any]) -> Callable[[], int]:
        return lambda: len(order) if [function(ids) for ids in batches] else 0

    out = {
        "peer": "atomfield, Store.batch",
        "prepare": count / cpu,
        "collate": best(each(store.batch)),
        "neighbours": best(each(lambda ids: with_radius_edges(store.batch(ids), CUTOFF))),
        "bytes": sum(p.stat().st_size for p in (scratch / "store1").iterdir()),
    }
    read = best(lambda: len([store[int(i)] for i in order]))
    graphs = best(each(lambda ids: collate([store[int(i)] for i in ids])))
    ready = [store.batch(ids) for ids in batches]
    lists = best(lambda: len(order) if [with_radius_edges(batch, CUTOFF) for batch in ready] else 0)
    notes = [
        f"- atomfield, parts of it: single `Graph`s read {read:,.0f} records/s; read and collated one by one {graphs:,.0f}; "
        f"neighbour lists alone {lists:,.0f}.",
        f"- prepare, by the clock: 1 worker {count / walls[1]:,.0f} records/s, 2 workers {count / walls[2]:,.0f} (start of some "
        "seconds included).",
    ]
    keys = [tuple(ids.tolist()) for ids in batches]
    rates = {}
    for workers in (0, 1, 2):
        with Loader(Make(scratch / "store1"), keys * 3, workers=workers) as loader:
            next(loader)
            begun = time.monotonic()
            seen = sum(batch.num_graphs for batch in loader)
            rates[workers] = seen / (time.monotonic() - begun)
    listed = ", ".join(f"{w} workers {r:,.0f} records/s" for w, r in rates.items())
    notes.append(f"- `Loader` with neighbour lists, by the clock: {listed}.")
    return out, notes


def ase_database(frames: Path, scratch: Path, sampled: int) -> dict[str, Any]:
    """ASE's SQLite database; arrays are concatenated to the tensors of a batch, neighbours are ASE's own."""
    import ase.db
    import ase.io
    import torch
    from ase import Atoms
    from ase.neighborlist import primitive_neighbor_list

    path = scratch / "frames.db"
    begun = time.process_time()
    count = 0
    with ase.db.connect(path, type="db") as database:
        for atoms in ase.io.iread(frames, index=":"):
            database.write(atoms)
            count += 1
    out: dict[str, Any] = {"peer": "ASE database (SQLite)", "prepare": count / (time.process_time() - begun)}
    database = ase.db.connect(path, type="db")
    order = np.random.default_rng(0).permutation(count)[:sampled] + 1

    def batch(ids: np.ndarray, neighbours: bool) -> list[Any]:
        rows = [database.get(int(i)) for i in ids]
        atoms: list[Atoms] = [row.toatoms() for row in rows]
        tensors = [
            torch.from_numpy(np.concatenate([a.positions for a in atoms])),
            torch.from_numpy(np.concatenate([a.numbers for a in atoms])),
            torch.from_numpy(np.stack([a.cell.array for a in atoms])),
            torch.from_numpy(np.stack([a.pbc for a in atoms])),
            torch.tensor([row.energy for row in rows]),
            torch.from_numpy(np.concatenate([row.forces for row in rows])),
        ]
        if neighbours:
            tensors += [primitive_neighbor_list("ijS", a.pbc, a.cell, a.positions, CUTOFF) for a in atoms]
        return tensors

    for name, neighbours, number in (
        ("collate", False, len(order)),
        ("neighbours", True, min(600, len(order))),
    ):
        chosen = order[:number]

        def work(chosen: np.ndarray = chosen, neighbours: bool = neighbours) -> int:
            return sum(len(batch(chosen[i : i + BATCH], neighbours)) and len(chosen[i : i + BATCH])
                       for i in range(0, len(chosen), BATCH))  # fmt: skip

        out[name] = best(work)
    out["bytes"] = path.stat().st_size
    return out


def peer(python: Path, script: str, frames: Path, scratch: Path, sampled: int) -> dict[str, Any]:
    """What the script of a peer prints."""
    path = Path(__file__).parent / "peers" / script
    words = [
        str(python),
        str(path),
        str(frames),
        str(scratch),
        "--cutoff",
        str(CUTOFF),
        "--batch",
        str(BATCH),
    ]
    done = subprocess.run([*words, "--sampled", str(sampled)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--sampled", type=int, default=4000)
    parser.add_argument("--mace", type=Path, help="interpreter of an environment with mace-torch")
    parser.add_argument("--fairchem", type=Path, help="interpreter of an environment with fairchem-core")
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="throughput-") as name:
        scratch = Path(name)
        frames = scratch / "frames.extxyz"
        atoms = write_frames(frames, options.records)
        print(f"{options.records} frames, {atoms:.1f} atoms each", flush=True)
        own, notes = ours(frames, scratch, options.records, options.sampled)
        rows = [own, ase_database(frames, scratch, options.sampled)]
        for python, script in ((options.mace, "mace_hdf5.py"), (options.fairchem, "fairchem_aselmdb.py")):
            if python is not None:
                rows.append(peer(python, script, frames, scratch, options.sampled))
            print(rows[-1], flush=True)
    lines = []
    for row in rows:
        cells = [f"{row[k]:,.0f} ({row[k] * atoms:,.0f})" for k in ("prepare", "collate", "neighbours")]
        lines.append(f"| {row['peer']} | {' | '.join(cells)} | {row['bytes'] / 1e6:.0f} |")
    ratios = {k: own[k] / max(row[k] for row in rows[1:]) for k in ("prepare", "collate", "neighbours")}
    what = {"prepare": "prepare", "collate": "read and collate", "neighbours": "with neighbour lists"}
    beside = ", ".join(f"{what[k]} {ratio:.1f}x" for k, ratio in ratios.items())
    given = " ".join(f"--{n} PYTHON" for n in ("mace", "fairchem") if getattr(options, n) is not None)
    page = f"""# Throughput of data

`python benchmarks/data_throughput.py --records {options.records} {given}`, {os.cpu_count()} cores, one thread.

{options.records:,} frames of {atoms:.1f} atoms (molecules and crystals, energy and forces) from extended XYZ; {options.sampled:,}
random records in batches of {BATCH}; neighbours within {CUTOFF:g} angstrom.
Records (atoms) per second of processor time, best of three.

| loader | prepare | read and collate | with neighbour lists | MB |
| --- | --- | --- | --- | --- |
{chr(10).join(lines)}

Beside the fastest other: {beside}.

{chr(10).join(notes)}
"""
    print(page)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)


if __name__ == "__main__":
    main()
