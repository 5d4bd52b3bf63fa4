"""Structures of the crystal corpus, one random record at a time: what is built (``ideal_...``), how it is disturbed.

``most``: atoms of a solid solution. The corpus of minima takes the ideal ones, small, and relaxes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .crystals import HELD_OUT_PAIRS
from .lattices import FCC_VOLUMES, PROTOTYPES, build, closest, deform, snap
from .oxides import build as build_oxide
from .potential_constants import HALIDES, METALS, OXIDES, RARE_GASES
from .potentials import Potential, label_all, relax

if TYPE_CHECKING:
    from ase import Atoms

BCC = ("Fe", "Mo", "Ta", "W")
METAL_VOLUMES: dict[str, float] = {
    s: (4 / 27**0.5 if s in BCC else 0.5**0.5) * c[0] ** 3 for s, c in METALS.items()
}
"""angstrom^3 per atom, from the nearest-neighbour distance of the potential."""
IONIC_RADII = {
    "Li": 0.76, "Na": 1.02, "K": 1.38, "Rb": 1.52, "Cs": 1.67, "F": 1.33, "Cl": 1.81, "Br": 1.96, "I": 2.20,
}  # fmt: skip
"""Shannon, Acta Cryst. A 32, 751 (1976), six neighbours, angstrom."""
COVALENT_RADII = {"Zn": 1.31, "Cd": 1.48, "Hg": 1.48, "S": 1.04, "Se": 1.14, "Te": 1.32}
"""Tetrahedral (Phillips), angstrom."""
ATOMIC_SPACING = {"Ar": 3.71, "Kr": 3.98, "Xe": 4.35}
"""Nearest neighbours of the solids, angstrom."""
LIKE = (
    ("Mg", "Mn", "Co", "Ni", "Zn"), ("Ca", "Sr", "Ba"), ("Al", "Cr", "Fe"), ("Sc", "Er", "Gd", "Nd"),
    ("Ti", "Sn", "Ge", "Zr"), ("Si", "Ge"), ("Cu", "Ag"),
)  # fmt: skip
"""Cations of one charge that replace each other in oxides."""
MAX_ATOMS = 32
"""Of a supercell before it is disturbed."""


def shortest_bond(atoms: Atoms, family: str) -> float:
    """An ideal nearest-neighbour distance of the elements in a crystal, angstrom."""
    symbols = set(atoms.get_chemical_symbols())
    match family:
        case "metals" | "emt":
            return min((FCC_VOLUMES if family == "emt" else METAL_VOLUMES)[s] for s in symbols) ** (
                1 / 3
            ) * 2 ** (1 / 6)
        case "halides":
            ions = [[IONIC_RADII[s] for s in symbols if HALIDES[s][0] * sign > 0] for sign in (1, -1)]
            return min(ions[0], default=1.0) + min(ions[1], default=1.5)
        case "chalcogenides":
            return min(COVALENT_RADII[s] for s in symbols) * 2
        case "rare-gases":
            return min(ATOMIC_SPACING[s] for s in symbols)
        case _:
            return 1.6 if symbols & {"Si", "P", "Be"} else 1.8


# ---------------------------------------------------------------------- metals
def metal(rng: np.random.Generator, volumes: dict[str, float]) -> tuple[str, Atoms]:
    """A disturbed supercell of :func:`ideal_metal`."""
    name, atoms = ideal_metal(rng, volumes)
    return name, disturbed_metal(atoms, rng, volumes)


def ideal_metal(
    rng: np.random.Generator, volumes: dict[str, float], most: int = MAX_ATOMS, repeat: bool = True
) -> tuple[str, Atoms]:
    """An element (1 in 6), an ordered compound (1 in 3) or a random solid solution of two to five elements; the first two are
    supercells if ``repeat``."""
    kind = rng.random()
    elements = list(volumes)
    if kind < 1 / 6:
        name = str(rng.choice(["fcc", "bcc", "hcp", "sc", "diamond"]))
        atoms = build(name, (str(rng.choice(elements)),), volumes)
    elif kind < 1 / 2:
        name = str(rng.choice([p for p, (letters, *_) in PROTOTYPES.items() if "B" in letters]))
        count = len(set(PROTOTYPES[name][0]))
        atoms = build(name, tuple(map(str, rng.choice(elements, count, replace=False))), volumes)
    else:
        chosen = list(map(str, rng.choice(elements, int(rng.integers(2, 6)), replace=False)))
        return ideal_solution(rng, volumes, chosen, most)
    return name, repeated(rng, atoms, most=most) if repeat else atoms


def emt_alloy(rng: np.random.Generator) -> tuple[str, Atoms]:
    """A solid solution of the elements of effective medium theory; of two elements only pairs that the held-out task lacks."""
    while True:
        chosen = list(map(str, rng.choice(list(FCC_VOLUMES), int(rng.integers(2, 5)), replace=False)))
        name, atoms = solution(rng, FCC_VOLUMES, chosen)
        if frozenset(atoms.get_chemical_symbols()) not in HELD_OUT_PAIRS:
            return name, atoms


def solution(rng: np.random.Generator, volumes: dict[str, float], elements: list[str]) -> tuple[str, Atoms]:
    """A disturbed :func:`ideal_solution`."""
    name, atoms = ideal_solution(rng, volumes, elements)
    return name, disturbed_metal(atoms, rng, volumes)


def ideal_solution(
    rng: np.random.Generator, volumes: dict[str, float], elements: list[str], most: int = MAX_ATOMS
) -> tuple[str, Atoms]:
    """Random shares of ``elements`` on the sites of fcc, bcc or hcp; a part in blocks, as if it had separated."""
    name = str(rng.choice(["fcc", "bcc", "hcp"]))
    atoms = repeated(rng, build(name, (elements[0],), volumes), least=8, most=most)
    shares = rng.dirichlet(np.full(len(elements), 0.8))
    counts = rng.multinomial(len(atoms), shares)
    symbols = [s for s, n in zip(elements, counts, strict=True) for _ in range(n)]
    if rng.random() < 0.2:
        order = np.argsort(atoms.get_scaled_positions()[:, int(rng.integers(3))], kind="stable")
    else:
        order = rng.permutation(len(atoms))
    shuffled = np.array(symbols, dtype=object)[np.argsort(order)]
    atoms.set_chemical_symbols(list(map(str, shuffled)))
    swelling = PROTOTYPES[name][3]
    volume = swelling * sum(volumes[s] for s in symbols)
    atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return f"{name}-solution", atoms


def disturbed_metal(atoms: Atoms, rng: np.random.Generator, volumes: dict[str, float]) -> Atoms:
    """Volume, shear and rattling; now and then vacancies, an interstitial, a surface."""
    if rng.random() < 0.05:
        deform(atoms, rng, (0.97, 1.03), 0.0, (0.0, 0.02))
        return atoms
    if len(atoms) >= 12 and rng.random() < 0.25:
        keep = len(atoms) - int(rng.integers(1, 4))
        atoms = atoms[sorted(rng.choice(len(atoms), keep, replace=False))]
    if len(atoms) >= 8 and rng.random() < 0.06:
        atoms = _with_interstitial(atoms, rng)
    deform(atoms, rng, (0.86, 1.18), float(rng.uniform(0, 0.05)), (0.02, 0.3))
    if rng.random() < 0.1:
        _open_surface(atoms, rng)
    return atoms


def _with_interstitial(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """One more atom at the point, of twenty random ones, that is farthest from all others."""
    from ase import Atom
    from ase.geometry import get_distances

    points = rng.random((20, 3)) @ atoms.cell.array
    apart = get_distances(points, atoms.positions, cell=atoms.cell, pbc=True)[1].min(axis=1)
    atoms = atoms.copy()
    atoms.append(Atom(atoms[int(rng.integers(len(atoms)))].symbol, points[int(apart.argmax())]))
    return atoms


def _open_surface(atoms: Atoms, rng: np.random.Generator) -> None:
    """3 to 8 angstrom of vacuum across one lattice vector, in place."""
    axis = int(rng.integers(3))
    cell = atoms.cell.array.copy()
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    normal /= np.linalg.norm(normal)
    atoms.wrap()
    cell[axis] += normal * np.sign(normal @ cell[axis]) * rng.uniform(3, 8)
    atoms.set_cell(cell)
    snap(atoms)


# ---------------------------------------------------------------------- ions, bonds, rare gases
def halide(rng: np.random.Generator) -> tuple[str, Atoms]:
    """A disturbed :func:`ideal_halide`, also with vacancies."""
    name, atoms = ideal_halide(rng)
    if len(atoms) >= 12 and rng.random() < 0.2:  # a pair of vacancies
        plus = [k for k, s in enumerate(atoms.get_chemical_symbols()) if HALIDES[s][0] > 0]
        minus = [k for k in range(len(atoms)) if k not in plus]
        gone = {int(rng.choice(plus)), int(rng.choice(minus))}
        atoms = atoms[[k for k in range(len(atoms)) if k not in gone]]
    return name, _shaken(atoms, rng, (0.86, 1.2), (0.03, 0.3))


def ideal_halide(rng: np.random.Generator, most: int = MAX_ATOMS) -> tuple[str, Atoms]:
    """Alkali halides, most of them solid solutions, on the sites of rock salt, caesium chloride and less common structures."""
    name = str(
        rng.choice(["rocksalt", "B2", "zincblende", "wurtzite", "nickeline"], p=[0.5, 0.25, 0.1, 0.08, 0.07])
    )
    sides = []
    for sign in (1, -1):
        ions = [s for s in IONIC_RADII if HALIDES[s][0] * sign > 0]
        sides.append(list(map(str, rng.choice(ions, int(rng.integers(1, 4)), replace=False))))
    shrink = {"rocksalt": 1.0, "B2": 1.03, "nickeline": 1.0}.get(name, 0.94)
    return name, _binary(rng, name, sides, IONIC_RADII, shrink, most)


def chalcogenide(rng: np.random.Generator) -> tuple[str, Atoms]:
    """A disturbed :func:`ideal_chalcogenide`, also with vacancies."""
    name, atoms = ideal_chalcogenide(rng)
    if len(atoms) >= 12 and rng.random() < 0.2:
        keep = len(atoms) - int(rng.integers(1, 3))
        atoms = atoms[sorted(rng.choice(len(atoms), keep, replace=False))]
    return name, _shaken(atoms, rng, (0.88, 1.15), (0.02, 0.25))


def ideal_chalcogenide(rng: np.random.Generator, most: int = MAX_ATOMS) -> tuple[str, Atoms]:
    """Zn, Cd, Hg with S, Se, Te: solid solutions in zincblende and wurtzite."""
    name = str(rng.choice(["zincblende", "wurtzite"], p=[0.7, 0.3]))
    sides = [
        list(map(str, rng.choice(list(side), int(rng.integers(1, 4)), replace=False)))
        for side in (("Zn", "Cd", "Hg"), ("S", "Se", "Te"))
    ]
    return name, _binary(rng, name, sides, COVALENT_RADII, 1.0, most)


def rare_gas(rng: np.random.Generator) -> tuple[str, Atoms]:
    """A disturbed :func:`ideal_rare_gas`."""
    name, atoms = ideal_rare_gas(rng)
    return name, _shaken(atoms, rng, (0.85, 1.25), (0.03, 0.3))


def ideal_rare_gas(rng: np.random.Generator, most: int = MAX_ATOMS) -> tuple[str, Atoms]:
    """Argon, krypton, xenon and their mixtures, close-packed."""
    gases = [s for s in RARE_GASES if s in ATOMIC_SPACING]
    chosen = list(map(str, rng.choice(gases, int(rng.integers(1, 4)), replace=False)))
    volumes = {s: d**3 * 0.5**0.5 for s, d in ATOMIC_SPACING.items()}
    name = str(rng.choice(["fcc", "hcp"]))
    atoms = repeated(rng, build(name, (chosen[0],), volumes), least=2, most=most)
    symbols = list(map(str, rng.choice(chosen, len(atoms))))
    atoms.set_chemical_symbols(symbols)
    volume = sum(volumes[s] for s in symbols)
    atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return name, atoms


def _binary(
    rng: np.random.Generator,
    name: str,
    sides: list[list[str]],
    radii: dict[str, float],
    shrink: float,
    most: int,
) -> Atoms:
    """A supercell of a structure of two sublattices, each filled at random from one of ``sides``; the bond is the sum of the
    mean radii times ``shrink``."""
    from ase.build import bulk

    mean = [np.mean([radii[s] for s in side]) for side in sides]
    bond = float(sum(mean)) * shrink
    match name:
        case "rocksalt" | "zincblende":
            a = bond * (2.0 if name == "rocksalt" else 4 / 3**0.5)
            atoms = bulk("NaCl", name, a=a, cubic=bool(rng.random() < 0.5))
        case "B2":
            atoms = bulk("NaCl", "cesiumchloride", a=bond * 2 / 3**0.5)
        case "wurtzite":
            atoms = bulk("NaCl", "wurtzite", a=bond * (8 / 3) ** 0.5)
        case _:  # nickel arsenide
            from ase import Atoms as Structure

            a = bond * 2**0.5
            cell = np.array([[a, 0, 0], [-a / 2, a * 0.75**0.5, 0], [0, 0, a * (8 / 3) ** 0.5]])
            sites = [(0, 0, 0), (0, 0, 0.5), (1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)]
            atoms = Structure("NaNaClCl", scaled_positions=sites, cell=cell, pbc=True)
    atoms = repeated(rng, atoms, least=4, most=most)
    first = np.array([s == "Na" for s in atoms.get_chemical_symbols()])
    symbols = np.empty(len(atoms), dtype=object)
    for mask, side in ((first, sides[0]), (~first, sides[1])):
        symbols[mask] = rng.choice(side, int(mask.sum()), p=rng.dirichlet(np.full(len(side), 1.0)))
    atoms.set_chemical_symbols(list(map(str, symbols)))
    found = [np.mean([radii[s] for s in symbols[mask]]) for mask in (first, ~first)]
    scale = float(sum(found) / sum(mean))
    atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
    return atoms


# ---------------------------------------------------------------------- oxides
def relaxed_oxide(name: str, elements: tuple[str, ...], chosen: Potential) -> Atoms | None:
    """The primitive cell relaxed in the potential, its size first; None where forces stay large or it collapses."""
    from scipy.optimize import minimize_scalar

    atoms = build_oxide(name, elements)

    def energy(factor: float) -> float:
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * factor, scale_atoms=True)
        return label_all(chosen, [scaled])[0].energy

    factor = minimize_scalar(energy, bounds=(0.85, 1.4), method="bounded", options={"xatol": 3e-3}).x
    atoms.set_cell(atoms.cell.array * factor, scale_atoms=True)
    before = atoms.get_volume()
    if not relax(atoms, chosen) or not 0.75 < atoms.get_volume() / before < 1.35 or closest(atoms) < 1.4:
        return None
    return atoms


def oxide(relaxed: Atoms, rng: np.random.Generator, perfect: bool) -> Atoms:
    """A disturbed supercell, often with some cations replaced by like ones, now and then without one formula unit's ions."""
    if perfect:
        atoms = relaxed.copy()
        snap(atoms)
        return atoms
    atoms = repeated(rng, relaxed, least=4)
    if rng.random() < 0.6:
        replace_cations(atoms, rng)
    if len(atoms) >= 14 and rng.random() < 0.2:
        atoms = _without_unit(atoms, rng)
    return _shaken(atoms, rng, (0.88, 1.15), (0.02, 0.22))


def replace_cations(atoms: Atoms, rng: np.random.Generator) -> None:
    """Some cations of an oxide become like ones, and the cell takes their size, in place."""
    share = rng.uniform(0.1, 0.7)
    symbols = [_like(s, rng) if rng.random() < share else s for s in atoms.get_chemical_symbols()]
    before = sum(OXIDES[s][3] for s in atoms.get_chemical_symbols() if s != "O")
    after = sum(OXIDES[s][3] for s in symbols if s != "O")
    atoms.set_chemical_symbols(symbols)
    atoms.set_cell(atoms.cell.array * (1 + 0.5 * (after / before - 1)), scale_atoms=True)


def _like(symbol: str, rng: np.random.Generator) -> str:
    others = [group for group in LIKE if symbol in group]
    return str(rng.choice(others[int(rng.integers(len(others)))])) if others else symbol


def _without_unit(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Without as few cations of one kind and oxygens as are neutral together."""
    symbols = np.array(atoms.get_chemical_symbols())
    cation = str(rng.choice([s for s in symbols if s != "O"]))
    charge = round(OXIDES[cation][0] / 0.6)  # of 1, 2, 3, 4, 5; that of oxygen is 2
    cations, oxygens = (1, charge // 2) if charge % 2 == 0 else (2, charge)
    where = np.flatnonzero(symbols == cation), np.flatnonzero(symbols == "O")
    if len(where[0]) <= cations or len(where[1]) <= oxygens:
        return atoms
    gone = {*rng.choice(where[0], cations, replace=False), *rng.choice(where[1], oxygens, replace=False)}
    return atoms[[k for k in range(len(atoms)) if k not in gone]]


# ---------------------------------------------------------------------- what they share
def repeated(rng: np.random.Generator, atoms: Atoms, least: int = 1, most: int = MAX_ATOMS) -> Atoms:
    """A random supercell of ``least`` to ``most`` atoms (or the cell itself), atoms in random order."""
    options = [
        (i, j, k)
        for i in (1, 2, 3, 4) for j in (1, 2, 3, 4) for k in (1, 2, 3, 4)
        if least <= i * j * k * len(atoms) <= most
    ]  # fmt: skip
    atoms = atoms * options[int(rng.integers(len(options)))] if options else atoms.copy()
    return atoms[rng.permutation(len(atoms))]


def _shaken(
    atoms: Atoms, rng: np.random.Generator, volume: tuple[float, float], rattle: tuple[float, float]
) -> Atoms:
    """Volume, shear and rattling; every twentieth hardly."""
    if rng.random() < 0.05:
        deform(atoms, rng, (0.98, 1.02), 0.0, (0.0, 0.02))
    else:
        deform(atoms, rng, volume, float(rng.uniform(0, 0.04)), rattle)
    return atoms
