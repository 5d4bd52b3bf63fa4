"""Geometries from SMILES: heavy atoms embedded first, as the reader does it, against embedding with all hydrogens.

Run: python benchmarks/embedding.py TABLE.csv... [--molecules 200] [--out PAGE.md]

Molecules are drawn from tables with a column ``smiles``. Both ways get ETKDGv3 with ten attempts and 200 steps of MMFF94; a
second seed of the old way shows how much two conformers of one molecule differ anyway. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ATTEMPTS, STEPS = 10, 200


def molecules(tables: list[Path], count: int) -> list[Any]:
    """Parsed molecules of 2 to 70 heavy atoms, as many of each table."""
    from rdkit import Chem

    rng = random.Random(0)
    found = []
    for table in tables:
        with gzip.open(table, "rt") if table.suffix == ".gz" else open(table) as file:
            rows = [row["smiles"] for row in csv.DictReader(file)]
        for smiles in rng.sample(rows, min(len(rows), count // len(tables))):
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is not None and 2 <= molecule.GetNumAtoms() <= 70:
                found.append(molecule)
    return found


def embedded(molecule: Any, seed: int, hydrogens_first: bool) -> tuple[Any | None, float]:
    """All atoms with one conformer, or None; and seconds."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed, parameters.maxIterations = seed, ATTEMPTS
    begun = time.process_time()
    made = Chem.AddHs(molecule) if hydrogens_first else Chem.Mol(molecule)
    failed = rdDistGeom.EmbedMolecule(made, parameters) < 0
    if not failed and not hydrogens_first:
        made = Chem.AddHs(made, addCoords=True)
    return (None if failed else made), time.process_time() - begun


def relaxed(molecule: Any) -> tuple[float, float]:
    """MMFF94 energy in kcal/mol after relaxation, and seconds."""
    from rdkit.Chem import rdForceFieldHelpers as fields

    begun = time.process_time()
    fields.MMFFOptimizeMoleculeConfs(molecule, maxIters=STEPS)
    seconds = time.process_time() - begun
    return fields.MMFFGetMoleculeForceField(
        molecule, fields.MMFFGetMoleculeProperties(molecule)
    ).CalcEnergy(), seconds


def keeps_stereochemistry(made: Any, molecule: Any) -> bool:
    from rdkit import Chem

    read = Chem.Mol(made)
    Chem.AssignStereochemistryFrom3D(read)
    return Chem.RemoveHs(read).HasSubstructMatch(molecule, useChirality=True)


def main() -> int:
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers as fields

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--molecules", type=int, default=200)
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    rdBase.DisableLog("rdApp.*")
    known = molecules(options.tables, options.molecules)
    ways = {
        "with hydrogens": (5, True),
        "with hydrogens, other seed": (6, True),
        "heavy atoms first": (5, False),
    }
    seconds, failed, lost = (dict.fromkeys(ways, 0.0) for _ in range(3))
    energies: list[list[float]] = []
    for molecule in known:
        made = {}
        for way, given in ways.items():
            made[way], spent = embedded(molecule, *given)
            seconds[way] += spent
            failed[way] += made[way] is None
        if any(one is None or not fields.MMFFHasAllMoleculeParams(one) for one in made.values()):
            continue
        energies.append([relaxed(one)[0] for one in made.values()])
        for way, one in made.items():
            lost[way] += not keeps_stereochemistry(one, molecule)
    table = np.array(energies)
    rows = []
    for k, way in enumerate(ways):
        difference = table[:, k] - table[:, 0]
        error = difference.std() / len(difference) ** 0.5
        rows.append(
            f"| {way} | {1e3 * seconds[way] / len(known):.1f} | {failed[way]:.0f} | {lost[way]:.0f} "
            f"| {difference.mean():+.2f} +- {error:.2f} | {np.median(difference):+.3f} |"
        )
    names = " ".join(table.name for table in options.tables)
    page = f"""# Geometries from SMILES

`python benchmarks/embedding.py {names} --molecules {options.molecules}`, {time.strftime("%d %B %Y")}, one core shared with
other work. {len(known)} molecules, {len(table)} of them embedded by all ways and known to MMFF94. The energy (kcal/mol) is that
after relaxation minus the first row's.

| embedding | ms of the processor | failed | stereochemistry lost | energy: mean | median |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    print(page)
    if options.out:
        options.out.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
