"""Where the records of the tasks of the table ``transfer`` come from.

Each task is prepared once into stores ``pool`` (to train and validate on), ``test`` and, where validation records are set aside
by time or by an official split, ``valid``. Test records are the same for all seeds and numbers of samples. What of the pool is
also in the test records, by structure, is taken out of the pool.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from transfer_parts import pieces, samples_in
from transfer_tasks import WAKE_NODES, TransferTask

from atomfield.data.checks import overlap
from atomfield.data.generate.fields import task_fields
from atomfield.data.graph import Graph
from atomfield.data.readers import ReadOptions, read
from atomfield.data.store import is_store, write_store

Parts = dict[str, list[Graph]]
WAKE_PAIRS = {"pool": 50, "valid": 10, "test": 20}
"""Pairs of states in a piece of each block of time."""
FLOW_SCALE, FLOWS_TESTED = 2.5, 12
SUPERCON = "dft_3d_formation_energy_peratom"


# ---------------------------------------------------------------- reading
def records(path: Path, **options: object) -> list[Graph]:
    return list(read(path, ReadOptions(**options)))  # type: ignore[arg-type]


def _some(graphs: Sequence[Graph], count: int) -> list[Graph]:
    """At most ``count``, drawn once and for all."""
    chosen = np.random.default_rng(12345).permutation(len(graphs))[:count]
    return [graphs[int(i)] for i in sorted(chosen)]


def ethanol(data: Path) -> Parts:
    folder = data / "ethanol_botnet"
    return {
        "pool": records(folder / "train.xyz", level="ethanol, PBE"),
        "test": _some(records(folder / "test_MD.xyz", level="ethanol, PBE"), 200),
    }


def cold_and_hot(data: Path) -> tuple[list[Graph], list[Graph]]:
    """3BPA: frames at 300 K, and those of mixed temperatures that are not among them, told by their energy."""
    folder = data / "3bpa_train"
    cold, mixed = (records(folder / f"train_{n}.xyz", level="3BPA, wB97X") for n in ("300K", "mixedT"))
    known = {round(float(g.quantities["energy"]), 6) for g in cold}
    return cold, [g for g in mixed if round(float(g.quantities["energy"]), 6) not in known]


def _3bpa(data: Path) -> Parts:
    cold, hot = cold_and_hot(data)
    return {"pool": cold, "test": _some(hot, 100)}


def esol(data: Path) -> Parts:
    folder = data / "moleculenet"
    graphs = records(
        folder / "esol_rdkit_conformers.npz", map={"log_S": "y"}, targets=("log_S",), level="ESOL"
    )
    split = json.loads((folder / "esol_scaffold_split.json").read_text())
    names = {"pool": "train", "valid": "valid", "test": "test"}
    return {part: [graphs[i] for i in split[name]] for part, name in names.items()}


def _silicon(data: Path) -> Parts:
    keys = {"energy": "REF_energy", "forces": "REF_forces"}
    pool, test = (
        records(data / "mlearn" / f"Si_{n}.xyz", map=keys, level="Si, PBE") for n in ("train", "test")
    )
    return {"pool": pool, "test": test}


def phonons(data: Path, fold: int = 0) -> Parts:
    """An official fold: its test records, and those of the other four."""
    folder = data / "matbench_phonons"
    graphs = records(
        folder / "matbench_phonons.json.gz", map={"phonon_peak": "last phdos peak"}, targets=("phonon_peak",),
        level="phonons, PBEsol",
    )  # fmt: skip
    held = {
        int(x.rsplit("-", 1)[1]) - 1
        for x in json.loads((folder / "fold_test_ids.json").read_text())[f"fold_{fold}"]
    }
    return {
        "pool": [g for i, g in enumerate(graphs) if i not in held],
        "test": [g for i, g in enumerate(graphs) if i in held],
    }


def supercon(data: Path) -> Parts:
    """A fifth of the compositions tests."""
    graphs = records(
        data / "jarvis_supercon" / "jarvis_supercon.csv", map={"formation_energy": SUPERCON},
        targets=("formation_energy",), level="supercon, OptB88vdW", on_bad="skip",
    )  # fmt: skip
    graphs = [g for g in graphs if "formation_energy" in g.quantities]
    names = sorted({composition(g) for g in graphs})
    order = np.random.default_rng(12345).permutation(len(names))
    held = {names[int(i)] for i in order[: len(names) // 5]}
    return {
        "pool": [g for g in graphs if composition(g) not in held],
        "test": _some([g for g in graphs if composition(g) in held], 250),
    }


def composition(graph: Graph) -> str:
    """Reduced formula as element numbers and counts."""
    kinds, counts = np.unique(graph.species.numpy(), return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return " ".join(f"{z}:{n}" for z, n in zip(kinds.tolist(), counts.tolist(), strict=True))


def _flows(data: Path) -> Parts:
    """Viscosities of the pretraining range train; those of its gap and above it, which no pretraining flow has, test."""
    graphs = list(task_fields(FLOW_SCALE))
    return {
        "pool": [g for g in graphs if "-train-" in g.group],
        "test": [g for g in graphs if "-test-" in g.group][:FLOWS_TESTED],
    }


def _wake(data: Path) -> Parts:
    """Blocks of time with a gap of a shedding period between them, in pieces; every second piece of the last block tests."""
    script = Path(__file__).parent / "convert_cylinder_wake.py"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable, str(script), "--data", str(data / "cylinder_wake_nek5000"), "--out", folder,
                "--coarsen", str(WAKE_NODES), "--no-vorticity",
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        blocks = {
            part: records(Path(folder) / f"{name}.npz", level="wake")[0]
            for part, name in (("pool", "train"), ("valid", "valid"), ("test", "test"))
        }
    found = {part: pieces(block, WAKE_PAIRS[part]) for part, block in blocks.items()}
    return found | {"test": found["test"][::2]}


def darcy(data: Path) -> Parts:
    keys = {"permeability": "x", "solution": "y", "spacing": "0.0625+0.0625"}
    pool, test = (
        records(data / "neuralop" / f"darcy_{n}_16.pt", map=keys, level="darcy") for n in ("train", "test")
    )
    return {"pool": pool, "test": test}


READERS: dict[str, Callable[[Path], Parts]] = {
    "ethanol": ethanol,
    "3BPA": _3bpa,
    "ESOL": esol,
    "silicon": _silicon,
    "phonons": phonons,
    "supercon": supercon,
    "flows": _flows,
    "wake": _wake,
    "Darcy": darcy,
}


# ---------------------------------------------------------------- stores
def prepare(task: TransferTask, data: Path, folder: Path) -> None:
    """Write the stores of ``task`` under ``folder``, once; a store that is there is kept."""
    parts = ("pool", "test", "valid")
    if (folder / "about.json").exists() and all(is_store(folder / p) for p in parts[:2]):
        return
    found = READERS[task.name](data)
    pool, test = found["pool"], found["test"]
    dropped = 0
    if task.world != "fields":
        leaked = set(overlap(test, pool, task.target).structures)
        pool = [g for i, g in enumerate(pool) if i not in leaked]
        dropped = len(leaked)
    for name, graphs in {**found, "pool": pool}.items():
        if not is_store(folder / name):
            write_store(graphs, folder / name)
    counts = {p: sum(samples_in(g) for g in gs) for p, gs in {**found, "pool": pool}.items()}
    (folder / "about.json").write_text(json.dumps({**counts, "taken_out_of_pool": dropped}, indent=1) + "\n")
