"""How near experiment are the solvation energies of ``corpus/molecule_properties``, and what is in such a store?

    python benchmarks/solvation_check.py [--freesolv database.txt] [--store STORE]

Free energies of hydration in kcal/mol are those of FreeSolv (Mobley and Guthrie, J. Comput. Aided Mol. Des. 28, 711 (2014); its
``database.txt`` at github.com/MobleyLab/FreeSolv, version 0.31 or later), at equal concentrations in gas and water as the labels
are; a few are given below. Geometries are embedded by RDKit and relaxed by GFN2-xTB, one conformer of each. ``--store`` prints
the ranges of all labels of a store.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase.units import kcal, mol
from rdkit import Chem

from atomfield.data.generate.frames import Recipe, labelled_frames
from atomfield.data.generate.molecule_properties import PROPERTIES
from atomfield.data.generate.species import Species
from atomfield.data.generate.xtb import NotConverged, closed_shell
from atomfield.data.store import Store

FEW = {
    "O": -6.32, "C": 2.00, "CC": 1.83, "CCCCCC": 2.48, "c1ccccc1": -0.90, "ClC(Cl)Cl": -1.08, "CO": -5.10, "CCO": -5.00,
    "Oc1ccccc1": -6.60, "CC(C)=O": -3.80, "CC(=O)O": -6.69, "CC(N)=O": -9.71, "CC#N": -3.88, "N": -4.29, "Nc1ccccc1": -5.49,
}  # fmt: skip
"""Free energies of hydration, kcal/mol: FreeSolv; of water: Ben-Naim and Marcus, J. Chem. Phys. 81, 2016 (1984)."""


def solvation(smiles: str, solvents: tuple[str, ...]) -> list[float] | None:
    """Free energies of solvation, kcal/mol, of one relaxed conformer; None if it has none."""
    num_atoms = Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()
    recipe = Recipe((Species(smiles, 0, 0, num_atoms),), 1, "GFN2-xTB", relax_steps=30)
    frames = labelled_frames(recipe)[1]
    if not frames:
        return None
    numbers, positions = frames[0].numbers, frames[0].positions
    try:
        gas = closed_shell(numbers, positions).energy
        dissolved = [closed_shell(numbers, positions, solvent=s).energy for s in solvents]
    except NotConverged:
        return None
    return [(energy - gas) / (kcal / mol) for energy in dissolved]


def agreement(name: str, found: np.ndarray, experiment: np.ndarray) -> str:
    """One line of errors, arrays ``[K]`` in kcal/mol."""
    error = found - experiment
    line = np.polyfit(found, experiment, 1)
    left = np.abs(np.polyval(line, found) - experiment).mean()
    return (
        f"{name}: {len(found)} molecules, MAE {np.abs(error).mean():.2f} kcal/mol, mean error {error.mean():+.2f}, "
        f"correlation {np.corrcoef(found, experiment)[0, 1]:.3f}; after a straight line MAE {left:.2f}; "
        f"experiment has a standard deviation of {experiment.std():.2f}"
    )


def few() -> None:
    """The molecules of the table below, one by one."""
    rows = []
    for smiles, experiment in FEW.items():
        found = solvation(smiles, ("water", "octanol"))
        assert found is not None, smiles
        rows.append((found[0], experiment))
        print(
            f"{smiles:12s} water {found[0]:6.2f} (experiment {experiment:6.2f})  octanol {found[1]:6.2f} kcal/mol"
        )
    print(agreement("water, listed above", *np.array(rows).T))


def freesolv(path: Path) -> None:
    """All molecules of FreeSolv."""
    rows, left_out = [], 0
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        fields = [f.strip() for f in line.split(";")]
        found = solvation(fields[1], ("water",))
        if found is None:
            left_out += 1
        else:
            rows.append((found[0], float(fields[3])))
    print(agreement("water, FreeSolv", *np.array(rows).T) + f"; {left_out} without a label")


def ranges(folder: Path) -> None:
    """Each label of a store as a row of a Markdown table."""
    store = Store(folder)
    print("| label, eV | records | mean | standard deviation | smallest | 5 % | 95 % | largest |")
    print("|---|---|---|---|---|---|---|---|")
    for name in PROPERTIES:
        values = store.values(name)
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, [5, 95])
        print(
            f"| `{name}` | {len(values):,} | {values.mean():.3f} | {values.std():.3f} | {values.min():.3f} | {low:.3f} | "
            f"{high:.3f} | {values.max():.3f} |"
        )
    water, octanol = store.values("solvation_energy_water"), store.values("solvation_energy_octanol")
    both = np.isfinite(water) & np.isfinite(octanol)
    log_p = (water - octanol)[both] / (kcal / mol) / (1.987204e-3 * 298.15 * np.log(10))
    print(f"log P of them: mean {log_p.mean():.2f}, standard deviation {log_p.std():.2f}; correlation of the two "
          f"{np.corrcoef(water[both], octanol[both])[0, 1]:.3f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--freesolv", type=Path)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    few()
    if options.freesolv:
        freesolv(options.freesolv)
    if options.store:
        ranges(options.store)


if __name__ == "__main__":
    main()
