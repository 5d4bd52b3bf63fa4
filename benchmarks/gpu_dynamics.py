"""Dynamics on a GPU: energies that do not drift, and answers that are those of the plain pass wherever the atoms have gone.

    python benchmarks/gpu_dynamics.py [--checkpoint atomfield-s] [--steps 200] [--ways captured,compiled] [--out FILE.json]

``nve``: velocity Verlet of a molecule (0.5 fs) and of 256 copper atoms (1 fs) at 300 K; the drift is the slope of a line through
the total energy. ``npt``: the copper cell, stretched by 4 %, under 10 GPa (Berendsen), so that cell and number of pairs change;
every tenth step is compared with the plain pass on freshly searched pairs. ``changes``: one calculator that is given other
structures, another precision, copies and pickles, and two calculators at once in two threads, compared alike. Differences are
relative to the largest force or stress. ``--device cpu`` tries the script itself.
"""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.build import molecule as molecule_named
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress

import atomfield
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.pair_list import PairList
from atomfield.inference.velocities import thermalize
from atomfield.models.network import AtomFieldNet

RESULTS = Path(__file__).parent / "results"


CRYSTALS = "eam-zhou-2004"
"""The level that knows copper."""


def copper(stretch: float = 1.0) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.61 * stretch, cubic=True) * (4, 4, 4)
    atoms.rattle(0.02, seed=0)
    return atoms


def warmed(atoms: Atoms, calculator: AtomFieldCalculator) -> Atoms:
    atoms.calc = calculator
    thermalize(atoms, 300.0, seed=0)
    return atoms


def beside_plain(calculator: AtomFieldCalculator, atoms: Atoms) -> dict[str, float]:
    """Energy in eV per atom; forces and stress relative to the largest."""
    found = dict(calculator.results)
    net = copy.deepcopy(calculator.net).compile_passes(False)
    batch = PairList(net.config.cutoff, 0.0).batch(atoms, calculator.answering_level).to(net.device)
    solid = bool(atoms.pbc.all())
    with torch.no_grad():
        plain = {n: v.double().cpu().numpy() for n, v in net(batch, stress=solid).items()}
    out = {
        "energy": abs(found["energy"] - float(plain["energy"][0])) / len(atoms),
        "forces": float(np.abs(found["forces"] - plain["forces"]).max() / np.abs(plain["forces"]).max()),
    }
    if solid:
        stress = full_3x3_to_voigt_6_stress(plain["stress"][0])
        out["stress"] = float(np.abs(found["stress"] - stress).max() / np.abs(stress).max())
    return out


def worst(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: max(row[name] for row in rows if name in row) for name in rows[0]}


def nve(calculator: AtomFieldCalculator, atoms: Atoms, timestep: float, steps: int) -> dict[str, Any]:
    atoms = warmed(atoms, calculator)
    atoms.get_forces()
    energies: list[float] = []
    with VelocityVerlet(atoms, timestep * units.fs) as dynamics:
        dynamics.attach(lambda: energies.append(atoms.get_total_energy() / len(atoms)))
        dynamics.run(20)  # kernels are compiled, and the pass recorded
        start = time.perf_counter()
        dynamics.run(steps)
        took = time.perf_counter() - start
    ps = 1e-3 * timestep * np.arange(len(energies))
    return {
        "ms_per_step": 1e3 * took / steps,
        "drift_meV_per_atom_ps": 1e3 * float(np.polyfit(ps, energies, 1)[0]),
        "spread_meV_per_atom": 1e3 * float(np.ptp(energies)),
        "beside plain": beside_plain(calculator, atoms),
        "searches": calculator.pairs.searches,
    }


def npt(calculator: AtomFieldCalculator, steps: int) -> dict[str, Any]:
    atoms = warmed(copper(1.04), calculator)
    apart: list[dict[str, float]] = []
    pairs: list[int] = []

    def look() -> None:
        atoms.get_forces()
        apart.append(beside_plain(calculator, atoms))
        pairs.append(calculator._batch(atoms).num_edges)

    volume = atoms.get_volume()
    with NPTBerendsen(
        atoms, 1.0 * units.fs, temperature_K=300, pressure_au=10 * units.GPa, taut=100 * units.fs,
        taup=100 * units.fs, compressibility_au=1e-2 / units.GPa,
    ) as dynamics:  # fmt: skip
        dynamics.attach(look, interval=10)
        dynamics.run(steps)
    return {
        "volume": atoms.get_volume() / volume, "pairs": [min(pairs), max(pairs)], "beside plain": worst(apart),
        "searches": calculator.pairs.searches,
    }  # fmt: skip


def changes(make: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    calculator = make()

    def asked(one: AtomFieldCalculator, atoms: Atoms, times: int = 3) -> dict[str, float]:
        """Three calls with moved atoms: plain, recorded, made again."""
        atoms = atoms.copy()
        atoms.calc = one
        found = []
        for _ in range(times):
            atoms.rattle(0.01, seed=1)
            atoms.get_forces()
            found.append(beside_plain(one, atoms))
        return worst(found)

    cells = [copper(), copper()[:-1], copper(1.02), copper()[:108]]
    out["other structures"] = worst([asked(calculator, atoms) for atoms in cells for _ in range(2)])
    small, molecules = make(""), [molecule_named(x) for x in ("H2O", "CH3OH", "C6H6")]
    out["small molecules"] = worst([asked(small, atoms) for atoms in molecules for _ in range(2)])
    out["a deep copy"] = asked(copy.deepcopy(calculator), copper())
    # its own object, as a pool of processes copies it; nothing is read from a file
    out["a pickle"] = asked(pickle.loads(pickle.dumps(calculator)), copper())
    other = make()
    out["in turns"] = worst([asked(c, copper(), 1) for _ in range(4) for c in (calculator, other)])
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(asked, make(), copper(), 6) for _ in range(2)]
        out["in two threads"] = worst([one.result() for one in both])
    return out


def attempt(name: str, call: Any) -> dict[str, Any]:
    """What fails is written down, and the rest goes on."""
    start = time.perf_counter()
    try:
        row = call()
    except Exception as error:
        row = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    row = {"what": name, **row, "seconds": time.perf_counter() - start}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="atomfield-s")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--ways", default="captured,compiled")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_dynamics.json")
    options = parser.parse_args()
    net: AtomFieldNet = atomfield.load(options.checkpoint).net
    rows: list[dict[str, Any]] = []

    def done(name: str, call: Any) -> None:
        rows.append(attempt(name, call))
        out = {
            "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
            "torch": torch.__version__, "checkpoint": options.checkpoint, "steps": options.steps,
            "date": time.strftime("%Y-%m-%d"), "rows": rows,
        }  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(out, indent=1) + "\n")

    for way in options.ways.split(","):

        def make(
            level: str = CRYSTALS, dtype: str = "float32", compiled: bool = way == "compiled"
        ) -> AtomFieldCalculator:
            return AtomFieldCalculator(net, level=level, device=options.device, dtype=dtype, compile=compiled)

        done(f"{way}: nve of ethanol", lambda: nve(make(""), molecule_named("CH3CH2OH"), 0.5, options.steps))
        done(f"{way}: nve of cu256", lambda: nve(make(), copper(), 1.0, options.steps))
        done(f"{way}: npt of cu256", lambda: npt(make(), options.steps))
        if way != "compiled":  # each of these would be compiled anew
            done(
                f"{way}: nve of cu256 in float64",
                lambda: nve(make(dtype="float64"), copper(), 1.0, options.steps),
            )
            done(f"{way}: changes", lambda: changes(make))


if __name__ == "__main__":
    main()
