"""Molecular dynamics with finetuned potentials: does the energy stay, does the temperature, does the structure?

    python benchmarks/long_dynamics.py --silicon RUN --nacl RUN --ethanol RUN --work runs/dynamics
    python benchmarks/long_dynamics.py ... --only nvt-nacl --picoseconds nvt-nacl=1000      goes on with a shorter run

RUN are finetuned checkpoints: those of ``crystals_dynamics.py``, and one of ethanol (``atomfield finetune --from atomfield-s
--train DIR/ethanol_botnet/train.xyz --test DIR/ethanol_botnet/test_MD.xyz --target energy,forces --max-time 5m --set
clock=processor``).
Each run is one command ``atomfield simulate``, in float64 on one thread. At constant energy the drift is the slope of a straight
line through the total energy, and its uncertainty that of slopes of five parts; thermostats and barostats are judged by
temperature, volume and by what holds together: no bond of the molecule half as long again, no atom of a crystal further from its
site than a third of the distance between neighbours (root mean square over the frames).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from crystal_cases import CASES
from crystals_dynamics import atomfield
from machine import commit, description
from page_text import table, wrapped

from atomfield.inference.drift import nve_drift

RESULTS = Path(__file__).parent / "results" / "dynamics"
LIMIT = 0.01
"""meV/atom/ps."""


@dataclass(frozen=True)
class Job:
    """mode: of ``simulate``; timestep: fs."""

    name: str
    what: str
    system: str
    mode: str
    timestep: float
    picoseconds: float
    interval: int = 20
    """Steps between samples."""


JOBS = (
    Job("nve-ethanol", "ethanol, 9 atoms", "ethanol", "nve", 0.5, 100),
    Job("nve-silicon", "Si, 64 atoms", "silicon", "nve", 2.0, 100),
    Job("nve-nacl", "NaCl, 64 atoms", "nacl", "nve", 2.0, 100),
    Job("nvt-ethanol", "ethanol, 9 atoms", "ethanol", "nvt", 1.0, 1000, 200),
    Job("nvt-silicon", "Si, 64 atoms", "silicon", "nvt", 2.0, 50),
    Job("nvt-nacl", "NaCl, 64 atoms", "nacl", "nvt", 2.0, 50),
    Job("npt-silicon", "Si, 64 atoms", "silicon", "npt", 2.0, 100),
    Job("npt-nacl", "NaCl, 64 atoms", "nacl", "npt", 2.0, 100),
)
WANTED = {"nvt": 1000.0, "npt": 100.0}
"""Picoseconds that one system should stay whole for."""


def started(job: Job, model: Path, work: Path) -> Path:
    """The structure at rest under the potential: the crystal with its cell, or the molecule."""
    import ase.io
    from ase.build import molecule

    folder = work / f"{job.system}-rest"
    out = folder / "start.extxyz"
    if not out.exists():
        folder.mkdir(parents=True, exist_ok=True)
        atoms = molecule("CH3CH2OH") if job.system == "ethanol" else CASES[job.system].start() * (2, 2, 2)
        ase.io.write(folder / "built.extxyz", atoms, format="extxyz")
        cell = "fixed" if job.system == "ethanol" else "full"
        atomfield(
            "simulate", str(model), str(folder / "built.extxyz"), "--mode", "relax", "--cell", cell, "--fmax", "0.001",
            "--steps", "2000", "--dtype", "float64", "--out", str(folder / "relax"),
        )  # fmt: skip
        ase.io.write(out, ase.io.read(folder / "relax" / "trajectory.extxyz", -1), format="extxyz")
    return out


def run(job: Job, model: Path, work: Path, picoseconds: float) -> dict[str, Any]:
    steps = round(1000 * picoseconds / job.timestep)
    start, out = started(job, model, work), work / job.name
    before, wall = _children(), time.monotonic()
    atomfield(
        "simulate", str(model), str(start), "--mode", job.mode, "--steps", str(steps), "--timestep", str(job.timestep),
        "--temperature", "600" if job.mode == "nve" else "300", "--interval", str(job.interval), "--dtype", "float64",
        "--seed", "1", "--resume", "--out", str(out),
    )  # fmt: skip
    spent = {"processor_seconds": _children() - before, "wall_seconds": time.monotonic() - wall}
    return judged(job, start, out) | {"steps": steps, "timestep_fs": job.timestep} | spent


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judged(job: Job, start: Path, out: Path) -> dict[str, Any]:
    import ase.io

    log = np.genfromtxt(out / "log.csv", delimiter=",", names=True)
    rest = ase.io.read(start)
    atoms = len(rest)
    picoseconds, total = log["time_fs"] / 1000, log["etot"]
    later = log[len(log) // 10 :]
    found: dict[str, Any] = {
        "what": job.what, "mode": job.mode, "picoseconds": float(picoseconds[-1]), "atoms": atoms,
        "temperature_K": float(later["temperature"].mean()),
        "temperature_spread_K": float(later["temperature"].std()),
        "temperature_of_tenths_K": [float(part["temperature"].mean()) for part in np.array_split(log, 10)],
    }  # fmt: skip
    if job.mode == "nve":
        found["drift_meV_per_atom_per_ps"] = nve_drift(log["time_fs"], total, atoms)
        slopes = [
            nve_drift(t, e, atoms)
            for t, e in zip(np.array_split(log["time_fs"], 5), np.array_split(total, 5), strict=True)
        ]
        found["drift_error"] = float(np.std(slopes, ddof=1) / 5**0.5)
        found["fluctuation_meV_per_atom"] = 1000 * float(total.std()) / atoms
    if job.mode == "npt":
        found["volume_change_percent"] = 100 * float(later["volume"].mean() / rest.get_volume() - 1)
        found["pressure_GPa"] = float(later["pressure_gpa"].mean())
    frames = ase.io.read(out / "trajectory.extxyz", "::5")
    distances = rest.get_all_distances(mic=bool(rest.pbc.any())) + 1e9 * np.eye(atoms)
    if job.system == "ethanol":
        bonded = np.argwhere(np.triu(distances < 1.7) & (rest.numbers[:, None] + rest.numbers[None] > 2))
        stretch = [f.get_distance(i, j) / distances[i, j] for f in frames for i, j in bonded]
        found |= {"longest_bond_over_rest": float(max(stretch)), "whole": bool(max(stretch) < 1.5)}
    else:
        sites = rest.get_scaled_positions()
        away = []
        for frame in frames:
            moved = frame.get_scaled_positions() - sites
            moved -= np.round(moved)
            moved -= moved.mean(axis=0)
            away.append(np.linalg.norm(moved @ frame.cell.array, axis=1))
        rms = np.sqrt((np.array(away) ** 2).mean(axis=0))
        nearest = float(distances.min())
        found |= {
            "rms_displacement_A": float(np.sqrt((np.array(away) ** 2).mean())),
            "largest_rms_over_neighbour": float(rms.max() / nearest), "whole": bool(rms.max() < nearest / 3),
        }  # fmt: skip
    return found


def page(found: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# Dynamics with finetuned potentials",
        "",
        "`python benchmarks/long_dynamics.py --silicon RUN --nacl RUN --ethanol RUN`; what is measured and how: the text of "
        "that script. Float64, "
        "one thread, one seed each; started at rest, so that about half of the first 600 K is left at constant energy and 300 "
        "K is what "
        "thermostats are set to (Langevin; NPT Martyna-Tobias-Klein at 0 GPa). The first tenth is left out of averages.",
        "",
    ]
    rows = []
    for name in (j.name for j in JOBS):
        if name not in found:
            continue
        one = found[name]
        drift = (
            f"{one['drift_meV_per_atom_per_ps']:+.5f} ± {one['drift_error']:.5f}"
            if one["mode"] == "nve"
            else ""
        )
        structure = (
            f"longest bond {one['longest_bond_over_rest']:.2f} of rest"
            if "longest_bond_over_rest" in one
            else f"atoms {one['rms_displacement_A']:.3f} Å from their sites (rms)"
        )
        volume = f", volume {one['volume_change_percent']:+.2f} %" if "volume_change_percent" in one else ""
        rows.append(
            [one["mode"].upper(), one["what"], f"{one['picoseconds']:g}", f"{one['timestep_fs']:g}", drift,
             f"{one['temperature_K']:.0f} ± {one['temperature_spread_K']:.0f}", structure + volume,
             "yes" if one["whole"] else "NO"]
        )  # fmt: skip
    head = (
        "", "system", "ps", "step, fs", "drift, meV/atom/ps", "temperature, K", "structure", "whole",
    )  # fmt: skip
    lines += [*table(head, rows), ""]
    constant = [one for one in found.values() if one["mode"] == "nve"]
    if constant:
        shown = sum(abs(o["drift_meV_per_atom_per_ps"]) + o["drift_error"] < LIMIT for o in constant)
        lines += [
            f"That a system drifts by less than {LIMIT} meV/atom/ps is shown, uncertainty included, for {shown} of "
            f"{len(constant)}; where the "
            "uncertainty is above that, the run is too short to say. `--picoseconds` goes on with a finished run, byte for "
            "byte as if it had been one.",
            "",
        ]
    for mode, length in WANTED.items():
        reached = [
            o["what"]
            for o in found.values()
            if o["mode"] == mode and o["picoseconds"] > 0.99 * length and o["whole"]
        ]
        lines += [
            f"{length:g} ps of {mode.upper()} and whole in the end: {'; '.join(reached) or 'not computed'}.",
            "",
        ]
    return wrapped(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for system in ("silicon", "nacl", "ethanol"):
        parser.add_argument(f"--{system}", type=Path, metavar="RUN")
    parser.add_argument("--work", type=Path, default=Path("runs/dynamics"))
    parser.add_argument("--only", action="append", choices=[j.name for j in JOBS])
    parser.add_argument("--picoseconds", action="append", default=[], metavar="NAME=PS")
    options = parser.parse_args()
    lengths = {name: float(ps) for name, ps in (pair.split("=") for pair in options.picoseconds)}
    file = RESULTS / "dynamics.json"
    read = lambda: json.loads(file.read_text()) if file.exists() else {}  # noqa: E731
    for job in JOBS:
        model = getattr(options, job.system)
        if model is None or (options.only and job.name not in options.only):
            continue
        result = run(job, model, options.work, lengths.get(job.name, job.picoseconds)) | {
            "commit": commit(Path(__file__).parent), "machine": description(),
        }  # fmt: skip
        RESULTS.mkdir(parents=True, exist_ok=True)
        found = {**read(), job.name: result}  # another one may have written meanwhile
        file.write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(result, indent=1), flush=True)
    (RESULTS.parent / "dynamics.md").write_text(page(read()))


if __name__ == "__main__":
    main()
