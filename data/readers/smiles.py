"""SMILES to geometry: RDKit's ETKDGv3, relaxed with all hydrogens by MMFF94 (UFF where that has no parameters).

Heavy atoms are embedded first and hydrogens set beside them: three times faster, with half the failures, and after relaxation
0.8 +- 0.4 kcal/mol a molecule above what is embedded with its hydrogens, of which another seed is 0.3 +- 0.3 below
(``benchmarks/results/embedding.md``). What neither force field knows, and what fails so, is embedded with its hydrogens.

The seed of a molecule follows from the run's seed and its canonical SMILES: it has the same conformers in every file,
order and number of threads. Stereo centres that the SMILES leaves open are set by the seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .atoms import atoms_graph
from .labels import logger
from .molecule_bonds import bonds_of
from .options import ReadOptions
from .rdkit_log import route_rdkit, silent_rdkit

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_RELAX_STEPS = 200
_ATTEMPTS = 10
_STRATEGIES = ((_ATTEMPTS, False, True), (4, True, True), (4, True, False))
"""Attempts, random starting coordinates, keep to the stereochemistry. An attempt with random coordinates takes seconds
for a hundred atoms."""
_MOST_ATOMS = 300
"""Hydrogens included; beyond it the distance geometry of one molecule takes from ten seconds to hours."""
_GAP = 2.5
"""Between the fragments of a salt before they are relaxed, angstrom."""


def embed_smiles(
    smiles: str,
    *,
    conformers: int = 1,
    seed: int = 0,
    where: Provenance | None = None,
    values: dict[str, object] | None = None,
    options: ReadOptions | None = None,
    group: str = "",
) -> list[Graph]:
    """Up to ``conformers`` graphs of one molecule, at least one; all of the group of its canonical SMILES.

    The conditions ``charge`` (formal) and ``spin`` (radical electrons) are known from the SMILES. ``values`` are the
    record's labels, which every conformer gets. Raises ``InputError`` with RDKit's own reason.
    """
    where = where or Provenance("<SMILES>")
    molecule = parse_smiles(smiles, where)
    return embed_molecule(molecule, conformers, seed, where, values or {}, options or ReadOptions(), group)


def parse_smiles(smiles: str, where: Provenance) -> Mol:
    """The sanitized molecule, hydrogens implicit."""
    from rdkit import Chem

    text = smiles.strip()
    if not text:
        raise InputError("the SMILES is empty, expected a molecule", where)
    with silent_rdkit():
        molecule = Chem.MolFromSmiles(text)
    if molecule is None:
        raise InputError(f"SMILES {_short(text)!r} does not parse: {_reason(text)}", where)
    if molecule.GetNumAtoms() == 0:
        raise InputError(f"SMILES {_short(text)!r} has no atoms", where)
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0:
            raise InputError(
                f"SMILES {_short(text)!r} has a wildcard atom ({atom.GetSymbol()}), expected elements only",
                where,
            )
    return molecule


def canonical_smiles(molecule: Mol) -> str:
    """The split key of a molecule: canonical, with stereochemistry, hydrogens implicit where RDKit leaves them so."""
    from rdkit import Chem

    with silent_rdkit():
        return Chem.MolToSmiles(Chem.RemoveHs(molecule))


def _reason(smiles: str) -> str:
    """RDKit's own words: its list of chemical problems, or what its parser prints."""
    from rdkit import Chem, rdBase

    with silent_rdkit():
        raw = Chem.MolFromSmiles(smiles, sanitize=False)
        if raw is not None:
            problems = [p.Message() for p in Chem.DetectChemistryProblems(raw)]
            return "; ".join(problems[:3]) or "it cannot be sanitized"
    caught = io.StringIO()
    with (
        silent_rdkit(),
        contextlib.redirect_stderr(caught),
    ):  # what other threads say meanwhile goes there too
        rdBase.LogToPythonStderr()
        rdBase.EnableLog("rdApp.error")
        try:
            Chem.MolFromSmiles(smiles)
        finally:
            route_rdkit()
    for line in caught.getvalue().splitlines():
        text = line.split("] ", 1)[-1].strip().removeprefix("SMILES Parse Error: ")
        if "UFFTYPER" in line or "explicit Hs" in line:
            continue  # another thread's
        if text and not text.startswith(("Failed", "check for mistakes")) and set(text) - set("~^- "):
            return text.split(" while parsing")[0].split(" for input")[0].rstrip(":")
    return "syntax error"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def embed_molecule(
    molecule: Mol,
    conformers: int,
    seed: int,
    where: Provenance,
    values: dict[str, object],
    options: ReadOptions,
    group: str = "",
) -> list[Graph]:
    """Like :func:`embed_smiles`, from a parsed molecule."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers  # noqa: F401 (their import switches the log on)

    name = canonical_smiles(molecule)
    with silent_rdkit():
        number = _number(seed, name)
        full = _from_heavy_atoms(molecule, conformers, number, where)
        if full is None or not _relax(full):
            full = Chem.AddHs(molecule)
            _embed(full, conformers, number, where)
            _relax(full)
        ids = [conformer.GetId() for conformer in full.GetConformers()]
    numbers = np.array([a.GetAtomicNum() for a in full.GetAtoms()], dtype=np.int64)
    conditions = {
        "charge": float(Chem.GetFormalCharge(full)),
        "spin": float(sum(a.GetNumRadicalElectrons() for a in full.GetAtoms())),
    }
    bonds = bonds_of(full)
    return [
        atoms_graph(
            numbers, full.GetConformer(i).GetPositions(), None, (False, False, False), values, options, where,
            group=group or name, conditions=conditions, bonds=bonds,
        )
        for i in ids
    ]  # fmt: skip


def _number(seed: int, name: str) -> int:
    """RDKit's seed of a molecule."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:4], "big") & 0x7FFFFFFF


def _parameters(number: int, attempts: int) -> Any:
    from rdkit.Chem import rdDistGeom

    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed, parameters.maxIterations = number, attempts
    return parameters


def _from_heavy_atoms(molecule: Mol, conformers: int, number: int, where: Provenance) -> Mol | None:
    """The molecule with conformers of all atoms, or None where its heavy atoms alone cannot be embedded."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    full = Chem.AddHs(molecule)
    _refuse_large(full, where)
    heavy = Chem.Mol(molecule)
    if heavy.GetNumAtoms() < 2:
        return None
    try:
        rdDistGeom.EmbedMultipleConfs(heavy, conformers, _parameters(number, _ATTEMPTS))
    except RuntimeError:  # RDKit's line search failed
        return None
    if not heavy.GetNumConformers():
        return None
    full = Chem.AddHs(heavy, addCoords=True)
    _part_fragments(full)
    return full


def _refuse_large(full: Mol, where: Provenance) -> None:
    if full.GetNumAtoms() > _MOST_ATOMS:
        raise InputError(
            f"the molecule has {full.GetNumAtoms()} atoms with its hydrogens, and a geometry is made from SMILES up to "
            f"{_MOST_ATOMS}; give one as SDF, PDB or xyz",
            where,
        )


def _embed(full: Mol, conformers: int, number: int, where: Provenance) -> None:
    from rdkit.Chem import rdDistGeom

    if full.GetNumAtoms() == 1:  # distance geometry refuses what has no distances
        from rdkit.Chem import Conformer

        full.RemoveAllConformers()
        full.AddConformer(Conformer(1), assignId=True)
        return
    _refuse_large(full, where)
    for attempts, random_coordinates, chiral in _STRATEGIES:
        parameters = _parameters(number, attempts)
        parameters.useRandomCoords, parameters.enforceChirality = random_coordinates, chiral
        with contextlib.suppress(RuntimeError):  # RDKit's line search failed: try the next way
            if rdDistGeom.EmbedMultipleConfs(full, conformers, parameters):
                if not chiral:
                    logger.warning(
                        "%s: no geometry with its stereochemistry was found, one without is taken", where
                    )
                _part_fragments(full)
                return
    name = canonical_smiles(full)
    raise InputError(f"RDKit finds no geometry for {_short(name)!r}; give one as SDF or xyz", where)


def _part_fragments(full: Mol) -> None:
    """Fragments of a salt are embedded on top of each other: move each along x until it is ``_GAP`` beyond the last."""
    from rdkit import Chem

    fragments = Chem.GetMolFrags(full)
    if len(fragments) == 1:
        return
    for conformer in full.GetConformers():
        positions = np.array(conformer.GetPositions())
        edge = 0.0
        for atoms in map(list, fragments):
            positions[atoms] += [edge - positions[atoms, 0].min(), *(-positions[atoms, 1:].mean(axis=0))]
            edge = positions[atoms, 0].max() + _GAP
        conformer.SetPositions(positions)


def _relax(full: Mol) -> bool:
    """MMFF94, else UFF, else as embedded, which is False: as good as the force fields know the elements."""
    from rdkit.Chem import rdForceFieldHelpers as fields

    if full.GetNumAtoms() == 1:
        return False
    with contextlib.suppress(RuntimeError):
        if fields.MMFFHasAllMoleculeParams(full):
            fields.MMFFOptimizeMoleculeConfs(full, maxIters=_RELAX_STEPS)
            return True
        if fields.UFFHasAllMoleculeParams(full):
            fields.UFFOptimizeMoleculeConfs(full, maxIters=_RELAX_STEPS)
            return True
    return False
