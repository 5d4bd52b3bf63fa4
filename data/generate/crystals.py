"""Small crystals labelled without any licence attached: metals by effective medium theory, insulators by GFN1-xTB.

Metals: seven elements and their alloys in common prototypes, by ASE's effective medium theory (Jacobsen, Stoltze and
Norskov, Surf. Sci. 366 (1996) 394), level ``"emt"``: a cheap many-body potential, not quantum chemistry. Insulators are
in ``insulators.py``. ``task_crystals`` is the held-out task: bulk moduli of compositions that ``crystals`` never has.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..graph import Graph
from ..quantities import Quantity
from .lattices import METALS, build, closest, deform, labelled, reduced_formula, snap

if TYPE_CHECKING:
    from ase import Atoms

HELD_OUT_PAIRS = frozenset({frozenset({"Cu", "Pt"}), frozenset({"Ag", "Pd"}), frozenset({"Al", "Ni"})})
"""Binary alloys that only the task has."""
SEED = 20260
GPA = 160.21766208
"""GPa per eV/angstrom^3."""
BULK_MODULUS = Quantity(
    "bulk_modulus", "0e", "graph", "GPa", "isothermal bulk modulus from the energy-volume curvature"
)

UNARY = ("fcc", "bcc", "hcp", "sc", "diamond")
BINARY = ("L1_2", "L1_0", "B2", "rocksalt", "zincblende", "B_h", "hcp-AB3", "D0_3", "fluorite", "fcc-AB7")
TASK_BINARY = ("L1_2", "L1_0", "B2", "B_h", "hcp-AB3", "fcc-AB7")
TASK_TERNARY = ("fcc-ABC2", "hcp-ABC2", "fcc-A2B3C3", "fcc-ABC6")


def _pairs() -> Iterator[tuple[str, str]]:
    for a in METALS:
        for b in METALS:
            if a != b and frozenset({a, b}) not in HELD_OUT_PAIRS:
                yield a, b


def _supercell(atoms: Atoms, rng: np.random.Generator, most: int) -> Atoms:
    """A random supercell of at most ``most`` atoms, now and then with one or two vacancies."""
    options = [
        (i, j, k) for i in (1, 2, 3) for j in (1, 2, 3) for k in (1, 2, 3) if i * j * k * len(atoms) <= most
    ]
    atoms = atoms * options[rng.integers(len(options))]
    atoms = atoms[rng.permutation(len(atoms))]
    if len(atoms) >= 12 and rng.random() < 0.5:
        keep = len(atoms) - int(rng.integers(1, 3))
        atoms = atoms[sorted(rng.choice(len(atoms), keep, replace=False))]
    return atoms


def _metal(
    prototype: str, elements: tuple[str, ...], rng: np.random.Generator, perfect: bool
) -> Graph | None:
    from ase.calculators.emt import EMT

    atoms = build(prototype, elements)
    group = f"{reduced_formula(atoms.get_chemical_symbols())}-{prototype}"
    strain, rattle = 0.0, (0.0, 0.0)
    if not perfect:
        atoms = _supercell(atoms, rng, most=32 if rng.random() < 0.25 else 16)
        strain, rattle = float(rng.uniform(0, 0.04)), (0.02, 0.25)
    deform(atoms, rng, (0.88, 1.15), strain, rattle)
    if closest(atoms) < 1.7:
        return None
    atoms.calc = EMT()
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    energy = float(atoms.get_potential_energy())
    if abs(forces).max() > 30.0 or abs(stress).max() > 1.0:
        return None
    return labelled(atoms, energy, forces, stress, "emt", group)


def metals(*, scale: float = 1.0, progress: bool = True) -> tuple[list[Graph], dict[str, Any]]:
    """About ``3300 * scale`` metals at level ``"emt"`` and a report of what was made and dropped."""
    from ase import __version__ as ase_version

    rng = np.random.default_rng(SEED)
    jobs: list[tuple[str, tuple[str, ...], int]] = [(p, (a,), 30) for p in UNARY for a in METALS]
    jobs += [(p, pair, 7) for p in BINARY for pair in _pairs()]
    seen: set[str] = set()
    graphs, dropped, owed, started = [], 0, 0.0, time.perf_counter()
    for prototype, elements, wanted in jobs:
        owed += wanted * scale
        count, owed = int(owed + 1e-9), owed - int(owed + 1e-9)
        for k in range(count):
            graph = _metal(prototype, elements, rng, perfect=k == 0)
            if graph is None:
                dropped += 1
            else:
                graphs.append(graph)
                seen.add(graph.group)
    if progress:
        print(
            f"metals: {len(graphs)} in {time.perf_counter() - started:.0f} s, {dropped} dropped", flush=True
        )
    by_prototype = Counter(g.group.split("-", 1)[1] for g in graphs)
    report = {
        "levels": {"emt": len(graphs)}, "prototypes": {"emt": dict(by_prototype)}, "groups": len(seen),
        "mean_atoms": {"emt": float(np.mean([g.num_nodes for g in graphs]))}, "dropped": {"emt": dropped},
        "seconds": {"emt": time.perf_counter() - started}, "seed": SEED,
        "versions": {"ase": ase_version, "numpy": np.__version__},
    }  # fmt: skip
    return graphs, report


def crystals(
    *, scale: float = 1.0, jobs: int = 1, progress: bool = True
) -> tuple[list[Graph], dict[str, Any]]:
    """The pretraining crystals, metals and insulators, and a report (counts, what was dropped, versions, doubling tests).

    ``scale`` multiplies the number of frames, ``jobs`` is the number of processes for the insulators. Raises
    ``InputError`` if tblite is missing.
    """
    from .insulators import insulators

    found, part = insulators(scale=scale, jobs=jobs, progress=progress)
    graphs, report = metals(scale=scale, progress=progress)
    for key in ("levels", "prototypes", "mean_atoms", "dropped", "seconds", "versions"):
        report[key].update(part[key])
    report["groups"] += part["groups"]
    report["doubling_tests"] = part["doubling_tests"]
    return graphs + found, report


def pressure(atoms: Atoms, factor: float) -> float:
    """Pressure in eV/angstrom^3 of the crystal with its volume multiplied by ``factor``: minus a third of the stress's
    trace."""
    from ase.calculators.emt import EMT

    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * factor ** (1 / 3), scale_atoms=True)
    scaled.calc = EMT()
    return -float(np.trace(scaled.get_stress(voigt=False))) / 3


def bulk_modulus(
    atoms: Atoms, step: float = 0.005, pressure: Callable[[Atoms, float], float] = pressure
) -> float:
    """``-V dP/dV`` at the crystal's own volume in GPa, by central differences of the pressure, fractional coordinates
    fixed (``step`` is relative to the volume). ``pressure``: as :func:`pressure`, that of effective medium theory by default."""
    return -(pressure(atoms, 1 + step) - pressure(atoms, 1 - step)) / (2 * step) * GPA


def relax_volume(atoms: Atoms, steps: int = 30) -> bool:
    """Scale the volume to zero pressure in place (secant method on the logarithm of the volume); False if not found."""
    from scipy.optimize import brentq

    low, high = 0.7, 1.45
    if not pressure(atoms, low) > 0 > pressure(atoms, high):
        return False
    factor = float(brentq(lambda f: pressure(atoms, f), low, high, xtol=1e-6, maxiter=steps))
    atoms.set_cell(atoms.cell.array * factor ** (1 / 3), scale_atoms=True)
    return True


def _task_candidates() -> list[tuple[str, tuple[str, ...]]]:
    found = [
        (p, e)
        for p in TASK_BINARY
        for pair in sorted(map(sorted, HELD_OUT_PAIRS))
        for e in (tuple(pair), (pair[1], pair[0]))
    ]
    found += [
        (p, (*(m for m in triple if m != odd), odd))
        if p != "fcc-A2B3C3"
        else (p, (odd, *(m for m in triple if m != odd)))
        for p in TASK_TERNARY
        for triple in combinations(METALS, 3)
        for odd in triple
    ]
    return found


def task_crystals(
    *, scale: float = 1.0, jobs: int = 1, progress: bool = True
) -> tuple[list[Graph], dict[str, Any]]:
    """The held-out task: up to ``280 * scale`` relaxed alloys with their ``bulk_modulus`` in GPa, and a report.

    Binary pairs of ``HELD_OUT_PAIRS`` and ordered ternaries, 2 to 8 atoms; no composition of :func:`crystals` is among
    them. The volume is relaxed, then the atoms for at most 20 steps at that volume, then the volume again. What has no
    zero of the pressure or a negative modulus is dropped. ``jobs`` is ignored: one process takes seconds.
    """
    from ase import __version__ as ase_version
    from ase.calculators.emt import EMT
    from ase.optimize import BFGS

    rng = np.random.default_rng(SEED + 1)
    candidates = _task_candidates()
    binary = [c for c in candidates if len(c[1]) == 2]
    ternary = [c for c in candidates if len(c[1]) == 3]
    ternary = [ternary[i] for i in rng.permutation(len(ternary))]
    graphs: list[Graph] = []
    seen: set[str] = set()
    dropped, started = 0, time.perf_counter()
    for prototype, elements in binary + ternary:
        if len(graphs) >= round(280 * scale):
            break
        atoms = build(prototype, elements)
        group = f"{reduced_formula(atoms.get_chemical_symbols())}-{prototype}"
        if group in seen:
            continue
        seen.add(group)
        relaxed = relax_volume(atoms)
        if relaxed:
            atoms.calc = EMT()
            BFGS(atoms, logfile=None).run(fmax=0.01, steps=20)
            relaxed = relax_volume(atoms)
        snap(atoms)
        value = bulk_modulus(atoms) if relaxed else 0.0
        if value <= 0:
            dropped += 1
            continue
        graph = labelled(atoms, 0.0, np.zeros((len(atoms), 3)), np.zeros((3, 3)), "emt", group)
        quantities = {"bulk_modulus": torch.tensor(value, dtype=torch.float64)}
        graphs.append(replace(graph, dataset="starter/task_crystals", quantities=quantities,
                              properties={"bulk_modulus": BULK_MODULUS}))  # fmt: skip
    values = np.array([float(g.quantities["bulk_modulus"]) for g in graphs])
    report = {
        "graphs": len(graphs), "levels": {"emt": len(graphs)}, "dropped": dropped, "seed": SEED + 1,
        "prototypes": dict(Counter(g.group.split("-", 1)[1] for g in graphs)),
        "bulk_modulus_GPa": {"min": values.min(), "mean": values.mean(), "max": values.max(), "std": values.std()},
        "seconds": time.perf_counter() - started, "versions": {"ase": ase_version, "numpy": np.__version__},
    }  # fmt: skip
    if progress:
        print(f"bulk moduli: {len(graphs)} in {report['seconds']:.0f} s, {dropped} dropped", flush=True)
    return graphs, report
