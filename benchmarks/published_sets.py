"""Public sets with their splits, what is measured on them, and what others published on the same test records.

The records are read once into stores ``train``, ``test`` and, where the split has one, ``valid``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer_sources import cold_and_hot, darcy, ethanol, phonons, records, supercon

from atomfield.data.graph import Graph
from atomfield.data.partition import partition
from atomfield.data.store import is_store, write_store

Parts = dict[str, list[Graph]]
FORCES = "forces_mae_eV_per_A"
MLEARN_FROM = "JARVIS-Leaderboard, scores recomputed on these frames"
MATBENCH_FROM = "Matbench leaderboard, mean of five folds"
SCAFFOLD_FROM = "as in the READMEs of GEM and Uni-Mol, deterministic scaffold split"
FOLDS = 5


@dataclass(frozen=True)
class PublicSet:
    """``read``: from the folder of public files to the parts. ``metric``: the key of the test error, in units of ``unit`` after
    ``scale``; ``baseline`` that of the trivial forecast. ``published``: (name, value) of others, best first, from ``source``;
    empty where nobody published on this split."""

    name: str
    world: str
    read: Callable[[Path], Parts]
    target: tuple[str, ...]
    metric: str
    scale: float
    unit: str
    split: str
    published: tuple[tuple[str, float], ...] = ()
    source: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of the configuration beside the defaults of ``atomfield finetune``."""
    higher_is_better: bool = False

    @property
    def baseline(self) -> str:
        return (
            f"baseline_persistence_{self.metric}" if "rollout" in self.metric else f"baseline_{self.metric}"
        )


# ---------------------------------------------------------------- reading
def _whole_ethanol(data: Path) -> Parts:
    parts = ethanol(data)
    return {
        "train": parts["pool"],
        "test": records(data / "ethanol_botnet" / "test_MD.xyz", level="ethanol, PBE"),
    }


def _hot_3bpa(data: Path) -> Parts:
    cold, hot = cold_and_hot(data)
    return {"train": cold, "test": hot}


def _coupled_cluster(data: Path) -> Parts:
    graphs = records(data / "md17_ethanol_ccsdt" / "ethanol_ccsd_t-train.npz", level="ethanol, CCSD(T)")
    return _picked(graphs, partition(graphs, "random", (0.8, 0.1, 0.1)))


def _element(symbol: str) -> Callable[[Path], Parts]:
    def read(data: Path) -> Parts:
        keys = {"energy": "REF_energy", "forces": "REF_forces"}
        return {
            part: records(data / "mlearn" / f"{symbol}_{part}.xyz", map=keys, level=f"{symbol}, PBE")
            for part in ("train", "test")
        }

    return read


def _alloy(data: Path) -> Parts:
    keys = {"energy": "REF_energy", "forces": "REF_forces"}
    graphs = records(data / "nbmotaw" / "train.xyz", map=keys, level="NbMoTaW, PBE")
    return _picked(graphs, partition(graphs, "composition", (0.8, 0.1, 0.1)))


def _fold(number: int) -> Callable[[Path], Parts]:
    def read(data: Path) -> Parts:
        parts = phonons(data, number)
        return {"train": parts["pool"], "test": parts["test"]}

    return read


def _formation_energies(data: Path) -> Parts:
    parts = supercon(data)
    return {"train": parts["pool"], "test": parts["test"]}


def _scaffold(file: str, column: str, target: str, split: str, level: str) -> Callable[[Path], Parts]:
    """A table of SMILES, with the scaffold split whose row numbers lie beside it."""

    def read(data: Path) -> Parts:
        folder = data / "moleculenet"
        graphs = records(folder / file, map={target: column}, targets=(target,), level=level, on_bad="skip")
        numbers = {g.provenance.record: g for g in graphs}
        chosen = json.loads((folder / split).read_text())
        return {
            part: [numbers[i] for i in chosen[part] if i in numbers] for part in ("train", "valid", "test")
        }

    return read


_solubility = _scaffold(
    "delaney-processed.csv",
    "measured log solubility in mols per litre",
    "log_S",
    "esol_scaffold_split.json",
    "ESOL",
)
_lipophilicity = _scaffold("Lipophilicity.csv", "exp", "log_D", "lipo_scaffold_split.json", "Lipophilicity")


def _smiles(file: str, targets: tuple[str, ...]) -> Callable[[Path], Parts]:
    def read(data: Path) -> Parts:
        graphs = records(
            data / "moleculenet" / file, targets=targets, level=file.split(".")[0], on_bad="skip"
        )
        return _picked(graphs, partition(graphs, "scaffold", (0.8, 0.1, 0.1)))

    return read


def _burgers(data: Path) -> Parts:
    keys = {"velocity": "y", "viscosity": "visc", "spacing": "0.0625", "dt": "0.0625", "periodic": "1"}
    return {
        part: records(data / "neuralop" / f"burgers_{part}_16.pt", map=keys, level="burgers")
        for part in ("train", "test")
    }


def _finer_darcy(data: Path) -> Parts:
    """Trained at 16 x 16 points; ``test_finer`` has the 50 problems at 32 x 32."""
    parts = darcy(data)
    keys = {"permeability": "x", "solution": "y", "spacing": "0.03125+0.03125"}
    finer = records(data / "neuralop" / "darcy_test_32.pt", map=keys, level="darcy")
    return {"train": parts["pool"], "test": parts["test"], "test_finer": finer}


def _picked(graphs: list[Graph], numbers: dict[str, list[int]]) -> Parts:
    return {part: [graphs[i] for i in chosen] for part, chosen in numbers.items()}


# ---------------------------------------------------------------- the sets
def _surface(
    name: str,
    world: str,
    read: Callable[[Path], Parts],
    split: str,
    published: tuple[tuple[str, float], ...] = (),
    source: str = "",
) -> PublicSet:
    return PublicSet(name, world, read, ("energy", "forces"), FORCES, 1e3, "meV/Å", split, published, source)


MLEARN: dict[str, tuple[tuple[str, float], ...]] = {
    "Li": (("SNAP", 27.3), ("ALIGNN-FF", 31.1), ("CHGNet, pretrained", 46.5)),
    "Si": (("ALIGNN-FF", 69.4), ("NequIP", 90.1), ("MatGL", 112.4), ("SNAP", 175.9)),
    "Ni": (("SNAP", 61.8), ("CHGNet, pretrained", 66.5), ("ALIGNN-FF", 76.4)),
    "Cu": (("MatGL", 17.7), ("ALIGNN-FF", 19.4), ("SNAP", 59.6)),
}
MATBENCH = (("MegNet", 28.76), ("coNGN", 28.89), ("ALIGNN", 29.54), ("MODNet", 34.28), ("CGCNN", 57.76))
TOX21 = (
    "NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma", "SR-ARE", "SR-ATAD5", "SR-HSE",
    "SR-MMP", "SR-p53",
)  # fmt: skip
SETS: tuple[PublicSet, ...] = (
    _surface("ethanol", "molecules", _whole_ethanol, "`test_MD`, 1,000 frames"),
    _surface("3BPA, hot", "molecules", _hot_3bpa, "300 K trains, mixed temperatures that it lacks test"),
    _surface("ethanol, CCSD(T)", "molecules", _coupled_cluster, "a tenth of the 1,000 frames, drawn"),
    *(
        _surface(f"mlearn {e}", "crystals", _element(e), "its own", MLEARN[e], MLEARN_FROM)
        for e in ("Li", "Si", "Ni", "Cu")
    ),
    _surface("NbMoTaW", "crystals", _alloy, "a tenth, by composition"),
    *(
        PublicSet(f"phonons, fold {fold}", "crystals", _fold(fold), ("phonon_peak",), "phonon_peak_mae", 1.0, "1/cm",
                  f"official fold {fold}", MATBENCH, MATBENCH_FROM)
        for fold in range(FOLDS)
    ),
    PublicSet("superconductors", "crystals", _formation_energies, ("formation_energy",), "formation_energy_mae", 1e3,
              "meV/atom", "a fifth of the compositions, 250 of their records at most"),
    PublicSet("ESOL", "molecules", _solubility, ("log_S",), "log_S_rmse", 1.0, "log S, RMSE", "scaffold, deterministic",
              (("Uni-Mol", 0.788), ("GEM", 0.798), ("MolCLR", 1.110)), SCAFFOLD_FROM),
    PublicSet("Lipophilicity", "molecules", _lipophilicity, ("log_D",), "log_D_rmse", 1.0, "log D, RMSE",
              "scaffold, deterministic", (("Uni-Mol", 0.603), ("MolCLR", 0.650), ("GEM", 0.660)), SCAFFOLD_FROM),
    PublicSet("BBBP", "molecules", _smiles("BBBP.csv", ("p_np",)), ("p_np",), "p_np_roc_auc", 1.0, "ROC-AUC",
              "scaffold, deterministic", settings={"task": "classification"}, higher_is_better=True),
    PublicSet("Tox21", "molecules", _smiles("tox21.csv.gz", TOX21), TOX21, "mean_roc_auc", 1.0, "mean ROC-AUC",
              "scaffold, deterministic", settings={"task": "classification"}, higher_is_better=True),
    PublicSet("HIV", "molecules", _smiles("HIV.csv", ("HIV_active",)), ("HIV_active",), "HIV_active_roc_auc", 1.0, "ROC-AUC",
              "scaffold, deterministic", settings={"task": "classification"}, higher_is_better=True),
    PublicSet("Burgers", "fields", _burgers, ("velocity",), "velocity_rollout_vrmse", 1.0, "rollout VRMSE", "its test file"),
    PublicSet("Darcy", "fields", _finer_darcy, ("solution",), "solution_relative_l2", 1.0, "relative L2",
              "its test file, 16 x 16 points; 32 x 32 as `error_finer`"),
)  # fmt: skip


def set_named(name: str) -> PublicSet:
    return next(s for s in SETS if s.name == name)


def folder_of(name: str, cache: Path) -> Path:
    """Its stores, under a name without spaces."""
    return cache / "".join(c if c.isalnum() else "_" for c in name)


def prepare(public: PublicSet, data: Path, cache: Path) -> dict[str, int]:
    """Write the stores of a set, once; a finished one is kept. Returns the number of records of each part."""
    folder = folder_of(public.name, cache)
    about = folder / "about.json"
    if about.exists():
        return json.loads(about.read_text())
    parts = public.read(data)
    for name, graphs in parts.items():
        if not is_store(folder / name):
            write_store(graphs, folder / name)
    counts = {name: len(graphs) for name, graphs in parts.items()}
    about.write_text(json.dumps(counts) + "\n")
    return counts
