"""Is a generated store of molecules sound, and is no molecule of other sets in it? A second opinion beside its own report.

    python benchmarks/corpus_check.py STORE... [--without SRC]... [--out FILE.md]

Prints sizes, energies per atom that a fit of the elements leaves, a histogram of forces, repeated structures; then how many
records and molecules the store shares with each source. It shares no code with the generator's own exclusion: SMILES of groups
and tables are compared by full RDKit InChIKeys (first blocks), records with positions by ``atomfield.data.excluding.identity``
of the labelled geometry itself.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from rdkit import Chem, RDLogger
from rdkit.Chem import inchi

from atomfield.data.checks.fingerprint import same_structure
from atomfield.data.excluding import identity
from atomfield.data.graph import Graph
from atomfield.data.readers import ReadOptions
from atomfield.data.source import open_source

BINS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def key(molecule: Chem.Mol) -> str:
    return inchi.MolToInchiKey(molecule).split("-")[0]


def skeleton(molecule: Chem.Mol) -> str:
    """The formula without hydrogens and charge: molecules of one InChIKey block have the same."""
    return " ".join(sorted(atom.GetSymbol() for atom in molecule.GetAtoms() if atom.GetAtomicNum() > 1))


def composition(graph: Graph) -> tuple[int, ...]:
    return tuple(sorted(graph.species.tolist()))


def smiles_of(path: Path) -> list[str]:
    """The column of a table that is called SMILES in some way."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = list(csv.DictReader(file))
    name = next(n for n in rows[0] if n.lower() == "smiles")
    return [row[name] for row in rows]


def sizes(graphs: list[Graph]) -> list[str]:
    atoms = [g.num_nodes for g in graphs]
    energies, forces = [], []
    lines = [
        f"- {len(graphs)} records of {len({g.group for g in graphs})} molecules, pairs and clusters; "
        f"{np.mean(atoms):.1f} atoms on average, {max(atoms)} at most"
    ]
    for level in sorted({g.level for g in graphs}):
        chosen = [g for g in graphs if g.level == level and g.num_nodes > 1]
        kinds = sorted({z for g in chosen for z in g.species.tolist()})
        counts = np.array([[int((g.species == z).sum()) for z in kinds] for g in chosen], dtype=float)
        energy = np.array([float(g.quantities["energy"]) for g in chosen])
        fit = np.linalg.lstsq(counts, energy, rcond=None)[0]
        left = (energy - counts @ fit) / counts.sum(axis=1)
        energies.append(
            f"- {level}: {len(chosen)} records of more than one atom, {len(kinds)} elements "
            f"({' '.join(chemical_symbols[z] for z in kinds)}); energy per atom beyond a fit of the elements: standard deviation "
            f"{left.std():.3f} eV, {left.min():.2f} to {left.max():.2f}"
        )
    lengths = np.concatenate([g.quantities["forces"].norm(dim=1).numpy() for g in graphs])
    hist = np.histogram(lengths, bins=(*BINS[:-1], np.inf))[0]
    for low, high, number in zip(BINS[:-1], BINS[1:], hist, strict=True):
        share = number / len(lengths)
        forces.append(f"    {low:5.2f} to {high:5.2f} eV/A  {share:6.1%}  {'#' * round(60 * share)}")
    net = max(float(g.quantities["forces"].sum(dim=0).abs().max()) for g in graphs)
    charge = max(abs(float(g.quantities["charges"].sum()) - g.conditions["charge"]) for g in graphs)
    lines += [
        *energies,
        f"- largest net force {net:.1e} eV/A, charges add up to {charge:.1e}; forces on atoms:",
        "",
        *forces,
        "",
    ]
    return lines


def repeated(graphs: list[Graph]) -> str:
    """Records of one composition whose energies agree to 1e-6 eV and whose structures are the same."""
    alike: dict[tuple, list[Graph]] = {}
    for g in graphs:
        if g.num_nodes > 1:
            alike.setdefault((composition(g), g.level, round(float(g.quantities["energy"]), 5)), []).append(g)
    found = sum(
        any(same_structure(first, second) for first in some[:k])
        for some in alike.values()
        for k, second in enumerate(some)
    )
    return f"- {found} records repeat the structure of another"


def shared(graphs: list[Graph], sources: list[str]) -> list[str]:
    parts = {
        part: Chem.MolFromSmiles(part)
        for part in sorted({part for g in graphs for part in g.group.split(".")})
    }
    ours = {part: key(molecule) for part, molecule in parts.items() if molecule is not None}
    skeletons = {skeleton(molecule) for molecule in parts.values() if molecule is not None}
    lines = []
    for source in sources:
        path = Path(source)
        if ".csv" in path.suffixes:
            read = [m for smiles in smiles_of(path) if (m := Chem.MolFromSmiles(smiles)) is not None]
            theirs = {key(m) for m in read if skeleton(m) in skeletons}
            found = sorted(part for part, name in ours.items() if name in theirs)
            whole = sum(g.group in found for g in graphs)
            lines.append(
                f"- {path.name}: {len(read)} molecules; {whole} records are one of them; as a part of others: {found}"
            )
        else:
            records = [g for g in open_source(source, ReadOptions(on_bad="skip"), []) if g.num_nodes > 1]
            compositions = {composition(g) for g in records}
            names = {identity(g) for g in records}
            same = [g for g in graphs if composition(g) in compositions and identity(g) in names]
            listed = sorted({g.group for g in same})
            lines.append(
                f"- {path.name}: {len(names)} bond graphs; {len(same)} records have one of them {listed[:20]}"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    graphs = [g for store in options.stores for g in open_source(store)]
    lines = [*sizes(graphs), repeated(graphs), *shared(graphs, options.without)]
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
