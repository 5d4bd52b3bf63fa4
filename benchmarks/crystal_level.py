"""NaCl at a level of theory that can be asked: records with strained cells, and finite differences of the level itself.

    python benchmarks/crystal_level.py --work runs/crystals/nacl-xtb         records and level without any potential
    python benchmarks/crystal_level.py --shears 5.462                        how far its shear stress is linear

The level is the insulators' of the corpus, periodic GFN1-xTB by tblite at the Gamma point (``data/generate/insulators.py``, whose
test of doubled cells is made here again at this lattice constant). **Records**: the cubic cell of 64 atoms, its volume changed by
up to 3 % in length, strained by a symmetric matrix (standard deviation 1.5 % along the axes before the trace is taken off, 1.1 %
off them) and rattled by 0 to 0.08 angstrom; one chunk each, so a kill loses one. **The level**: the functions that the commands
call for a potential (``equation_of_state``, ``phonons`` in 2 x 2 x 2 cells) and ``second_differences.py``, with energies, forces
and stress of tblite. Smaller cells are repeated until 10 angstrom are between opposite faces, so everything is asked of the same
64 atoms that the records have; what another cell would say is asked of 216. Each single point is kept in a file.

The Gamma point of 64 atoms is sampled in every strained cell, and that is part of this level: the records have the same cell, so
potential and level can be compared. Both differ from the method's limit of large cells, and from experiment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import second_differences
from ase.calculators.calculator import Calculator, all_changes
from crystal_cases import POINTS

from atomfield.data.generate.chunked import Made, build_store
from atomfield.data.generate.insulators import LEVEL, MIN_GAP, Material, doubling_test, heights, supercell
from atomfield.data.generate.lattices import deform, labelled
from atomfield.data.generate.xtb import Label, NotConverged, label, require_tblite

if TYPE_CHECKING:
    from ase import Atoms

MATERIAL = Material("NaCl", "rocksalt", 5.47)
"""At the level's lattice constant, to 0.5 %."""
LEAST_HEIGHT = 10.0
"""angstrom between opposite faces of the cells that are labelled, as of the corpus."""
SEED = 2026
PARTS = {"train": 66, "test": 20}
"""Records; a tenth of those to train on is held out for validation by ``atomfield finetune``."""
VOLUME, STRAIN, RATTLE = (0.97**3, 1.03**3), 0.015, (0.0, 0.08)
"""As in ``lattices.deform``."""
LARGER = (3, 3, 3)
SIZES = (-0.04, -0.02, 0.02, 0.04)
"""Strains of the differences of stress, and of energies: they share single points. The level's stress scatters by some
0.01 GPa from strain to strain, so 0.5 and 1 % gave a C44 of 3.2 GPa where 2 to 8 % agree on 5.7 to 6.0."""
Ask = Callable[["Atoms"], Label]


def gfn1(atoms: Atoms) -> Label:
    """One single point of the cell as it is. Raises ``NotConverged``, also where the gap is too small for the Gamma point."""
    found = label(atoms.numbers, atoms.positions, method="GFN1-xTB", cell=atoms.cell.array)
    if found.gap <= MIN_GAP:
        raise NotConverged(f"the gap is {found.gap:.2f} eV, expected more than {MIN_GAP} eV")
    return found


# ---------------------------------------------------------------------- records
@dataclass(frozen=True)
class Frame:
    """Record ``number`` of a part."""

    part: str
    number: int


def frame_of(frame: Frame) -> Atoms:
    """The structure of a record, not labelled."""
    rng = np.random.default_rng([SEED, list(PARTS).index(frame.part), frame.number])
    atoms = supercell(MATERIAL)
    deform(atoms, rng, VOLUME, STRAIN, RATTLE)
    return atoms


def record(frame: Frame, ask: Ask = gfn1) -> Made:
    """One labelled record, or none and why. Each is a group of its own: they are drawn independently."""
    atoms = frame_of(frame)
    try:
        found = ask(atoms)
    except NotConverged:
        return Made([], {"dropped": {"not converged or a small gap": 1}})
    group = f"{MATERIAL.group}-{frame.part}-{frame.number}"
    return Made(
        [labelled(atoms, found.energy, found.forces, found.stress, LEVEL, group, "benchmarks/crystal_level")]
    )


def stores(folder: Path) -> tuple[Path, Path]:
    """The stores to train and to test on; what is there is not made again. Raises ``InputError`` where tblite is missing."""
    recipe = [SEED, MATERIAL.a, VOLUME, STRAIN, RATTLE, require_tblite()]
    for part, count in PARTS.items():
        frames = [Frame(part, number) for number in range(count)]
        build_store(
            folder / part, frames, record, recipe=recipe, source=f"benchmarks/crystal_level/{part}", num_processes=0,
            report={"level": LEVEL, "tblite": require_tblite(), "seed": SEED},
        )  # fmt: skip
    return folder / "train", folder / "test"


# ---------------------------------------------------------------------- the level
class Level(Calculator):
    """``ask`` as a calculator of ASE; answers are kept in ``folder``, one file per structure.

    A cell with less than ``LEAST_HEIGHT`` between opposite faces is repeated first; energy and forces are those of one copy."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]  # type: ignore[misc]

    def __init__(self, folder: Path, ask: Ask = gfn1) -> None:
        super().__init__()
        self.folder, self.ask = folder, ask
        folder.mkdir(parents=True, exist_ok=True)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        times = np.ceil(LEAST_HEIGHT / heights(self.atoms.cell.array) - 1e-9).astype(int)
        whole = self.atoms.repeat(tuple(times))
        content = np.concatenate([whole.cell.array, whole.positions]).round(8) + 0.0  # -0.0 is 0.0
        key = hashlib.sha256(whole.numbers.astype("<i8").tobytes() + content.tobytes()).hexdigest()
        file = self.folder / f"{key[:24]}.json"
        if not file.exists():
            found = self.ask(whole)
            kept = {"energy": found.energy, "forces": found.forces.tolist(), "stress": found.stress.tolist()}
            draft = file.with_suffix(".tmp")
            draft.write_text(json.dumps(kept))
            os.replace(draft, file)
        kept = json.loads(file.read_text())
        self.results = {
            "energy": kept["energy"] / times.prod(),
            "forces": np.array(kept["forces"])[: len(self.atoms)],
            "stress": np.array(kept["stress"])[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }


def by_stress(atoms: Atoms, sizes: tuple[float, ...] = SIZES) -> dict[str, float]:
    """``C11 C12 C44`` in GPa from the stress under ``sizes`` (-2h, -h, h, 2h or -h, h) of a cubic crystal with its axes along x,
    y, z, and the largest force that any strain leaves, eV/angstrom. Atoms are clamped."""
    from ase import units

    from atomfield.inference.elastic import strained

    slopes, left = [], 0.0
    weights = {2: (-1 / 2, 1 / 2), 4: (1 / 12, -2 / 3, 2 / 3, -1 / 12)}[len(sizes)]
    for component in (0, 3):
        total = np.zeros(6)
        for weight, size in zip(weights, sizes, strict=True):
            one = strained(atoms, component, size)
            total += weight * one.get_stress()
            left = max(left, float(np.abs(one.get_forces()).max()))
        slopes.append(total / sizes[-len(sizes) // 2] / units.GPa)
    along, shear = slopes
    return {"C11": along[0], "C12": (along[1] + along[2]) / 2, "C44": shear[3], "largest_force": left}


def shear_by_shear(
    atoms: Atoms, sizes: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04, 0.08)
) -> dict[str, float]:
    """Shear stress over the shear in GPa, of a cubic crystal with its axes along x, y, z: C44 where it is small and exact."""
    from ase import units

    from atomfield.inference.elastic import strained

    return {f"{size:g}": strained(atoms, 3, size).get_stress()[3] / size / units.GPa for size in sizes}


def level_values(calculator: Calculator, save: Path) -> dict[str, Any]:
    """Lattice constant (angstrom), elastic constants, bulk moduli (GPa) and frequencies (THz) of ``calculator``; ``save``:
    phonopy's file of it. Clamped ions: a strained rock salt keeps its centres of inversion, so nothing would relax."""
    from ase.build import bulk

    from atomfield.inference.equation_of_state import equation_of_state
    from atomfield.inference.phonons import phonons

    unit = bulk(MATERIAL.formula, MATERIAL.prototype, a=MATERIAL.a, cubic=True)
    unit.calc = calculator
    state = equation_of_state(unit)
    a = round(state.volume ** (1 / 3), 5)
    unit.set_cell(3 * [a], scale_atoms=True)
    found = second_differences.elastic_constants(unit, relax=False, strain=SIZES[2])
    engine = phonons(unit, supercell=(2, 2, 2), points=2, mesh=5.0).phonopy
    engine.save(save, settings={"force_constants": True})
    frequencies = {name: engine.run_qpoints([q]).frequencies[0].tolist() for name, q in POINTS.items()}
    return {
        "a": a, **found, "bulk_elastic": (found["C11"] + 2 * found["C12"]) / 3, "bulk_eos": state.bulk_modulus,
        "bulk_eos_derivative": state.derivative, "eos_rms_meV_per_atom": state.rms, "remarks": list(state.remarks),
        "by_stress": by_stress(unit), "frequencies": frequencies,
    }  # fmt: skip


def larger_cell(calculator: Calculator, a: float) -> dict[str, Any]:
    """Pressure and elastic constants (GPa) at lattice constant ``a`` in the records' cell and in ``LARGER`` cubic ones, both from
    the stress under the largest of ``SIZES``."""
    from ase import units
    from ase.build import bulk

    found: dict[str, Any] = {}
    for name, times in (("64 atoms", (2, 2, 2)), (f"{8 * int(np.prod(LARGER))} atoms", LARGER)):
        atoms = bulk(MATERIAL.formula, MATERIAL.prototype, a=a, cubic=True).repeat(times)
        atoms.calc = calculator
        found[name] = by_stress(atoms, (SIZES[0], SIZES[-1]))
        found[name]["pressure"] = -float(atoms.get_stress()[:3].mean()) / units.GPa
    return found


def doubled() -> dict[str, Any]:
    """The corpus's test of the size of the cell, at ``MATERIAL.a``."""
    return doubling_test(MATERIAL, np.random.default_rng([SEED, len(PARTS)]))


def kept(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The content of ``file``, made where it is not there."""
    if not file.exists():
        text = json.dumps(make(), indent=1, default=float) + "\n"
        draft = file.with_suffix(".tmp")
        draft.write_text(text)
        os.replace(draft, file)
    return json.loads(file.read_text())


def of_the_level(folder: Path, larger: bool = False) -> dict[str, Any]:
    """What is asked of the level, kept in ``folder``; larger: 216 atoms too, which take longer than all else."""
    calculator = Level(folder / "single_points")
    found = level_values(calculator, folder / "level_phonopy.yaml")
    found["doubling_test"] = kept(folder / "doubling_test.json", doubled)
    if larger:
        found["cells"] = larger_cell(calculator, found["a"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/crystals/nacl-xtb"))
    parser.add_argument("--larger", action="store_true", help="ask the level in 216 atoms too")
    parser.add_argument(
        "--shears",
        type=float,
        metavar="A",
        help="only the level's shear stress over several shears, at A angstrom",
    )
    options = parser.parse_args()
    if options.shears:
        from ase.build import bulk

        unit = bulk(MATERIAL.formula, MATERIAL.prototype, a=options.shears, cubic=True)
        unit.calc = Level(options.work / "single_points")
        print(json.dumps(shear_by_shear(unit), indent=1))
        return
    print(*stores(options.work))
    print(json.dumps(of_the_level(options.work, options.larger), indent=1, default=float))


if __name__ == "__main__":
    main()
