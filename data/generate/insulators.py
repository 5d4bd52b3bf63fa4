"""Insulators labelled by periodic GFN1-xTB (level ``"gfn1-xtb-pbc"``), each behind a test of its cell's size.

Periodic tight binding here samples the Gamma point only, which is right for a wide gap and a large cell. So each
material is first computed in a rattled supercell and in the same supercell doubled along its shortest direction: it is
kept if energies per atom, forces and the gap say that the supercell was large enough. All numbers are reported.

Most candidates fail: in ionic crystals the energy per atom still shifts by tens of meV with the size of the cell, nearly
uniformly, where forces and gap have long settled; covalent ones in small cells fail by their forces as well.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from ..graph import Graph
from .lattices import Sites, deform, labelled, snap
from .parallel import each
from .xtb import Label, NotConverged, label, require_tblite

if TYPE_CHECKING:
    from ase import Atoms

LEVEL = "gfn1-xtb-pbc"
SEED = 31337
FRAMES = 18
MIN_GAP = 1.0
"""Smallest accepted HOMO-LUMO gap of any frame in eV."""
MAX_ENERGY_CHANGE = 0.005
"""Largest accepted change of the energy per atom on doubling the cell, in eV."""
MAX_FORCE_CHANGE = 0.02
"""Largest accepted change of any force component on doubling the cell, in eV/angstrom."""


@dataclass(frozen=True)
class Material:
    """A crystal by its experimental lattice constants ``a``, ``c`` (angstrom) and the supercell to label."""

    formula: str
    prototype: str
    a: float
    c: float | None = None
    repeat: tuple[int, int, int] = (2, 2, 2)
    primitive: bool = False

    @property
    def group(self) -> str:
        return f"{self.formula}-{self.prototype}"


P3 = (3, 3, 3)
MATERIALS: tuple[Material, ...] = (
    Material("NaBr", "rocksalt", 5.97),
    Material("AlP", "zincblende", 5.46, repeat=P3, primitive=True),
    Material("KBr", "rocksalt", 6.60),
    Material("ZnS", "zincblende", 5.41, repeat=P3, primitive=True),
    Material("KCl", "rocksalt", 6.29),
    Material("Si", "diamond", 5.43, repeat=P3, primitive=True),
    Material("NaI", "rocksalt", 6.47),
    Material("BP", "zincblende", 4.54),
    Material("CuCl", "zincblende", 5.42),
    Material("NaCl", "rocksalt", 5.64),
    Material("RbCl", "rocksalt", 6.58),
    Material("AlAs", "zincblende", 5.66, repeat=P3, primitive=True),
    Material("LiBr", "rocksalt", 5.50),
    Material("LiI", "rocksalt", 6.00),
    Material("KI", "rocksalt", 7.07),
    Material("RbBr", "rocksalt", 6.89),
    Material("CuBr", "zincblende", 5.69),
    Material("ZnSe", "zincblende", 5.67, repeat=P3, primitive=True),
    Material("BAs", "zincblende", 4.78),
    Material("KF", "rocksalt", 5.34),
    Material("LiCl", "rocksalt", 5.13),
    Material("MgS", "rocksalt", 5.20),
    Material("ZnO", "wurtzite", 3.25, 5.21, repeat=(3, 3, 2)),
    Material("SrF2", "fluorite", 5.80, repeat=P3, primitive=True),
    Material("CsCl", "cesiumchloride", 4.12, repeat=P3),
    Material("CsBr", "cesiumchloride", 4.29, repeat=P3),
    Material("SiC", "zincblende", 4.36),
    Material("BN", "zincblende", 3.615),
    Material("C", "diamond", 3.567),
    Material("LiF", "rocksalt", 4.03),
    Material("NaF", "rocksalt", 4.63),
    Material("MgO", "rocksalt", 4.21),
    Material("CaO", "rocksalt", 4.81),
    Material("CaF2", "fluorite", 5.46, repeat=P3, primitive=True),
    Material("KMgF3", "perovskite", 3.99),
    Material("NaMgF3", "perovskite", 3.93),
    Material("SrTiO3", "perovskite", 3.905),
    Material("MgF2", "rutile", 4.62, 3.05, repeat=(2, 2, 3)),
    Material("SiO2", "rutile", 4.18, 2.67, repeat=(2, 2, 3)),
    Material("TiO2", "rutile", 4.59, 2.96, repeat=(2, 2, 3)),
    Material("SnO2", "rutile", 4.74, 3.19, repeat=(2, 2, 3)),
    Material("BeO", "wurtzite", 2.70, 4.38, repeat=(3, 3, 2)),
    Material("AlN", "wurtzite", 3.11, 4.98, repeat=(3, 3, 2)),
)
"""Candidates, the likeliest to pass the test first; most fail it (see the module's text)."""
_RUTILE: Sites = (
    (0, 0, 0),
    (0.5, 0.5, 0.5),
    (0.305, 0.305, 0),
    (0.695, 0.695, 0),
    (0.805, 0.195, 0.5),
    (0.195, 0.805, 0.5),
)
_PEROVSKITE: Sites = ((0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))


def supercell(material: Material) -> Atoms:
    """The ideal supercell of ``material``."""
    from ase import Atoms
    from ase.build import bulk
    from ase.formula import Formula

    a, c = material.a, material.c
    if material.prototype in ("rutile", "perovskite"):
        kinds = list(Formula(material.formula).count())
        if material.prototype == "rutile":
            symbols, sites, cell = [kinds[0]] * 2 + [kinds[1]] * 4, _RUTILE, (a, a, c)
        else:
            symbols, sites, cell = [kinds[0], kinds[1]] + [kinds[2]] * 3, _PEROVSKITE, (a, a, a)
        atoms = Atoms(symbols, scaled_positions=sites, cell=cell, pbc=True)
    else:
        cubic = material.prototype != "wurtzite" and not material.primitive
        atoms = bulk(material.formula, material.prototype, a=a, c=c, cubic=cubic)
    return atoms * material.repeat


def _label(atoms: Atoms) -> Label:
    return label(atoms.numbers, atoms.positions, method="GFN1-xTB", cell=atoms.cell.array)


def heights(cell: np.ndarray) -> np.ndarray:
    """``[3]`` distances between opposite faces of the cell, in angstrom."""
    return 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def doubling_test(material: Material, rng: np.random.Generator) -> dict[str, Any]:
    """Label a rattled supercell and its double along the shortest height; the numbers and ``passed``."""
    atoms = supercell(material)
    deform(atoms, rng, (1.0, 1.0), 0.0, (0.06, 0.06))
    height = heights(atoms.cell.array)
    test: dict[str, Any] = {
        "group": material.group, "atoms": len(atoms), "heights_A": [round(float(h), 2) for h in height], "passed": False,
    }  # fmt: skip
    try:
        one = _label(atoms)
        test["gap_eV"] = round(one.gap, 3)
        if one.gap <= MIN_GAP:
            return test
        doubled = atoms.repeat(tuple(2 if axis == height.argmin() else 1 for axis in range(3)))
        two = _label(doubled)
    except NotConverged as error:
        return test | {"error": str(error)[:200]}
    energy = abs(two.energy / len(doubled) - one.energy / len(atoms))
    force = float(abs(two.forces - np.tile(one.forces, (2, 1))).max())
    test |= {
        "doubled_gap_eV": round(two.gap, 3),
        "energy_change_eV_per_atom": energy,
        "force_change_eV_per_A": force,
    }
    test["passed"] = bool(two.gap > MIN_GAP and energy < MAX_ENERGY_CHANGE and force < MAX_FORCE_CHANGE)
    return test


def label_material(job: tuple[Material, int]) -> tuple[list[Graph], dict[str, Any]]:
    """Test one material and, if it passes, label its frames: volumes of +-3 % in length, sheared, rattled 0.03-0.1 A."""
    material, frames = job
    rng = np.random.default_rng([SEED, crc32(material.group.encode())])
    started = time.perf_counter()
    test = doubling_test(material, rng)
    graphs: list[Graph] = []
    dropped: Counter[str] = Counter()
    for k in range(frames if test["passed"] else 0):
        atoms = supercell(material)
        if k == 0:
            snap(atoms)
        else:
            deform(atoms, rng, (0.97**3, 1.03**3), 0.015, (0.03, 0.1))
        try:
            found = _label(atoms)
        except NotConverged:
            dropped["not converged"] += 1
            continue
        if found.gap <= MIN_GAP:
            dropped["small gap"] += 1
            continue
        graphs.append(labelled(atoms, found.energy, found.forces, found.stress, LEVEL, material.group))
    return graphs, test | {
        "frames": len(graphs), "dropped": dict(dropped), "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def insulators(
    *, scale: float = 1.0, jobs: int = 1, progress: bool = True
) -> tuple[list[Graph], dict[str, Any]]:
    """About ``120 * scale`` insulators and a report with every doubling test. ``jobs`` is the number of processes.

    ``scale`` below 1 takes fewer materials first and then fewer frames. Raises ``InputError`` if tblite is missing.
    """
    version = require_tblite()
    chosen = MATERIALS[: max(1, round(len(MATERIALS) * min(1.0, scale)))]
    frames = max(1, round(FRAMES * scale))
    todo = [(material, frames) for material in chosen]
    graphs: list[Graph] = []
    tests: list[dict[str, Any]] = []
    started = time.perf_counter()
    for found, test in each(label_material, todo, num_processes=jobs, title="insulators", progress=progress):
        graphs += found
        tests.append(test)
    dropped = Counter[str]()
    for test in tests:
        dropped.update(test["dropped"])
    report = {
        "levels": {LEVEL: len(graphs)}, "groups": len({g.group for g in graphs}),
        "prototypes": {LEVEL: dict(Counter(g.group.split("-", 1)[1] for g in graphs))},
        "mean_atoms": {LEVEL: float(np.mean([g.num_nodes for g in graphs])) if graphs else 0.0},
        "dropped": {LEVEL: {"materials": sum(not t["passed"] for t in tests), "frames": dict(dropped)}},
        "seconds": {LEVEL: time.perf_counter() - started}, "versions": {"tblite": version}, "doubling_tests": tests,
    }  # fmt: skip
    return graphs, report
