"""Which molecules the starter corpus holds: scaffolds times substituents, small inorganic ones, ions and radicals, as SMILES."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np

MAX_ATOMS = 22

SMALL = """
    [H][H] O N F Cl Br I [SiH4] P S B FB(F)F ClB(Cl)Cl BrB(Br)Br F[Si](F)(F)F Cl[Si](Cl)(Cl)Cl FP(F)F ClP(Cl)Cl
    BrP(Br)Br O=S=O O=C=O N#N [C-]#[O+] C C=C C#C CC C#N C=O O=S(=O)=O FF ClCl BrBr II FCl FBr FI ClBr ClI BrI OO NN
    NO S=C=S O=C=S C=S P#P N#[N+][O-] N=O N=N O=NO O[N+](=O)[O-] FN(F)F ClN(Cl)Cl FOF ClOCl OCl OBr OI OF SS ClSCl
    ClSSCl FSF FS(F)(F)F FS(F)(F)(F)(F)F FP(F)(F)(F)F O=P(F)(F)F O=P(Cl)(Cl)Cl O=P(O)(O)O O=S(=O)(O)O O=S(Cl)Cl
    O=S(=O)(Cl)Cl O=S(=O)(F)F O=C(Cl)Cl O=C(F)F [SiH3][SiH3] PP OB(O)O OBO O=BO C#P CP C[SiH3] CB CI CBr CCl CF CS
    FC(F)(F)F ClC(Cl)(Cl)Cl BrC(Br)Br IC(I)I ICI [SiH3]Cl [SiH3]Br [SiH3]I [SiH3]F [SiH2]=O C=[SiH2] [SiH3]O [SiH3]N
    [SiH3]P [SiH3]S NB OB SB BrP(I)I PI PBr IP(I)I IB(I)I NI NBr NCl NF SI SBr SCl FS(=O)F N#CC#N O=C=C=C=O N#CI N#CBr
    N#CCl N#CF N=C=O N=C=S C=C=O C=C=C C#CI C#CBr N=[N+]=[N-] C=[N+]=[N-] O=NCl O=NBr I[Si](I)(I)I Br[Si](Br)(Br)Br
    NB(N)N O1BNB1 N1BNBNB1 S1SS1 O=S=S O=[N+]([O-])[N+](=O)[O-] O=I(=O)O O=Br(=O)O OCl(=O)(=O)=O
""".split()

ONE_SITE = """
    C{a} CC{a} CCC{a} CC(C){a} CC(C)(C){a} C=C{a} C#C{a} CC=C{a} C1CC1{a} C1CCC1{a} C1CO1{a} c1ccccc1{a} c1ccoc1{a}
    c1ccsc1{a} c1ccncc1{a} c1ncncc1{a} c1cc[nH]c1{a} c1ncc[nH]1{a} c1cnoc1{a} c1nccs1{a} C1CCN1{a} C1CCO1{a} C1CSC1{a}
    CC(=O){a} NC(=O){a} COC(=O){a} CN{a} CO{a} CS{a} C[SiH2]{a} CB{a} CP{a} CS(=O){a} CS(=O)(=O){a} FC(F)(F){a}
    CP(=O)(C){a} OC{a} NC{a} N#CC{a} CC#C{a} O=C1CC1{a} O=C1NC=C1{a} C1=CC=CC1{a} O=C(F){a} O=C(Cl){a} COC{a} CSC{a}
    C1OCO1{a} c1nnc[nH]1{a} c1cscn1{a} C1CCPC1{a} C[Si](C)(C){a}
""".split()

TWO_SITES = """
    {a}C{b} {a}CC{b} {a}C=C{b} {a}C#C{b} {a}C(=O){b} {a}N{b} {a}O{b} {a}S{b} {a}[SiH2]{b} {a}P{b} {a}B{b}
    {a}S(=O)(=O){b} {a}C(C){b} {a}C(F){b} {a}C(Cl){b} {a}C(=C){b} {a}C(=N){b} {a}CCC{b} {a}c1ccc({b})cc1
    {a}c1ccc({b})o1 {a}c1ccc({b})s1 {a}c1cnc({b})nc1 {a}C1CC1{b} {a}[SiH](C){b} {a}P(C){b} {a}B(C){b} {a}N(C){b}
    {a}[Si](F)(F){b} {a}P(=O)(O){b} {a}C(Br){b} {a}C(I){b} {a}B(O){b} {a}C=N{b}
""".split()

SUBSTITUENTS = """
    [H] C CC C=C C#C C#N O OC N NC F Cl Br I S SC C=O C(=O)O C(=O)N C(=O)C [N+](=O)[O-] B(O)O B(C)C BF B [SiH3]
    [SiH2]C [SiH2]Cl [SiH2]F [SiH2]Br P PC PCl P(C)C P(=O)(O)O P(=O)(C)C S(=O)C S(=O)(=O)N S(=O)(=O)O C(F)(F)F C(F)F
    CF CCl CBr CI CO CN CS CP C[SiH3] N=C=O N=[N+]=[N-] N=O OC=O C1CC1 C(Cl)Cl SI OB OP O[SiH3] NB N[SiH3] NS SP
    S[SiH3] OI OBr SCl PBr PI [SiH2]I BI BBr BCl
""".split()

ION_TEMPLATES = """
    [NH3+]{a} C[NH2+]{a} [O-]C(=O){a} [O-]{a} [S-]{a} [OH2+]{a} [PH3+]{a} [SH2+]{a} N#[N+]{a} [O-]S(=O)(=O){a}
    [O-]P(=O)(O){a} [O-]C{a} [O-]CC{a} C[NH+](C){a} [NH3+]C{a} [NH3+]CC{a} [S-]C{a} C=[OH+]{a} C=[NH+]{a}
    [O-]c1ccc({a})cc1 [nH+]1ccc({a})cc1 F[B-](F)(F){a} [BH3-]{a} C[PH2+]{a} [NH-]{a} [C-]#C{a} [O-][Si](C)(C){a}
    [O-]B(O){a} C[S+](C){a} NC(=[NH2+]){a}
""".split()
ION_SUBSTITUENTS = (
    "[H] C CC C=C F Cl Br I O N S C#N CF CCl CBr CI [SiH3] [SiH2]C P B(O)O SC OC C(=O)N".split()
)
SMALL_IONS = """
    [NH4+] [OH3+] [SH3+] [PH4+] [OH-] [SH-] [NH2-] [C-]#N [F-] [Cl-] [Br-] [I-] [BH4-] F[B-](F)(F)F F[P-](F)(F)(F)(F)F
    [N-]=[N+]=[N-] [CH3-] [SiH3-] [PH2-] O=[N+]([O-])[O-] O=N[O-] C#[O+] [O-]Cl [O-]Br [O-]I [FH2+] [ClH2+] [BrH2+]
    [IH2+] N#[O+] [O-]C#N [S-]C#N I[I-]I Cl[I-]Cl F[Si-](F)(F)(F)F Cl[B-](Cl)(Cl)Cl Br[B-](Br)(Br)Br F[H-]F O=[N+]=O
""".split()

# SMILES and number of unpaired electrons: always with spin polarisation.
RADICALS = {
    1: """
    [CH3] [OH] [NH2] [N]=O C[CH2] C[CH]C C[C](C)C C=[CH] C#[C] [CH2]C=C C[O] CC[O] C[NH] C[S] O[O] CO[O] [CH2]O [CH2]N
    [CH2]F [CH2]Cl [CH2]Br [CH2]I [CH](F)F F[C](F)F Cl[C](Cl)Cl [SiH3] C[SiH2] F[Si](F)F Cl[Si](Cl)Cl [PH2] C[PH]
    O=[P] [SH] S[S] [BH2] C[BH] F[B]F Cl[B]Cl O=[B] [C]#N [CH]=O C[C]=O O[C]=O [CH2]C#N [CH2]C=O O=[N][O] F[O] Cl[O]
    Br[O] I[O] O=Cl[O] [NH]C=O N[NH] [O]N=O C[N]C [CH2]S [CH2]P [CH2][SiH3] [CH2]B [c]1ccccc1 C1C[CH]1 [CH2]c1ccco1
    [S]Cl [S]Br [O]B=O [NH]F [NH]Cl [PH]Cl [PH]Br [SiH2]Br [SiH2]I [SiH2]Cl Br[C](Br)Br [SH]=O [S]C=C
    [O]c1ccccc1 [CH2]N=O F[P]F Br[P]Br I[P]I [SiH] [CH] C=C[O] [N+]#N [OH2+] [NH3+] [O-][O] [SH2+] [ClH+]
    [BrH+] [IH+] [PH3+] Cl[Cl+] Br[Br+] I[I-]
""".split(),
    2: "[O][O] [NH] [CH2] [PH] O=[S] S=[S] C[N] [CH]F [CH]C [N]F [N]Cl [P]F [CH]C#N [SiH2] [BH] [N]Br [N]I [P]Cl".split(),
}
# Isolated atoms and atomic ions: symbol, charge, unpaired electrons (Hund's ground state).
ATOMS = (
    ("H", 0, 1), ("B", 0, 1), ("C", 0, 2), ("N", 0, 3), ("O", 0, 2), ("F", 0, 1), ("Si", 0, 2), ("P", 0, 3), ("S", 0, 2),
    ("Cl", 0, 1), ("Br", 0, 1), ("I", 0, 1), ("C", 1, 1), ("N", 1, 2), ("O", 1, 3), ("F", 1, 2), ("Si", 1, 1), ("P", 1, 2),
    ("S", 1, 3), ("Cl", 1, 2), ("Br", 1, 2), ("I", 1, 2), ("C", -1, 3), ("O", -1, 1), ("S", -1, 1), ("P", -1, 2), ("Si", -1, 3),
)  # fmt: skip

TASK = """
    CCO COC CC=O CNC CCN CC#N CN=C CC(=O)O COC=O NC=O CNC=O CC(N)=O C=CO C=CC=O C=CC#N C#CCO C#CCN C#CC=O OCCO NCCO
    NCCN COCO C1CO1 C1CN1 O=CC=O O=CC#N NCC#N OCC#N OCC=O NCC=O C1=CO1 c1cocn1 c1cnco1 c1c[nH]cn1 c1ccoc1 c1cc[nH]c1
    C=CC=C CC=C CC#C C1=CC1 CON CNO NC(N)=O OC(=O)C=O NC(=O)C=O CN=C=O CC=NO C=NN CC(C)=O COC=C CCC=O
""".split()

RARE = {"B": 0.3, "F": 1.0, "Si": 0.3, "P": 0.3, "S": 0.2, "Cl": 1.0, "Br": 1.2, "I": 0.8}
"""How much each element adds to the weight of a molecule in the draw."""


@dataclass(frozen=True)
class Species:
    """One molecule: canonical SMILES, charge, unpaired electrons (closed shell: 0), number of atoms with hydrogens."""

    smiles: str
    charge: int
    unpaired: int
    num_atoms: int


def species_of(smiles: str, unpaired: int = 0, most_atoms: int = MAX_ATOMS) -> Species | None:
    """The molecule of one SMILES, canonical.

    None if RDKit refuses it, if it falls into parts, has more than ``most_atoms`` or cannot have so many unpaired electrons.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or "." in smiles:
        return None
    if unpaired == 0 and any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return None
    whole = Chem.AddHs(molecule)
    charge = Chem.GetFormalCharge(molecule)
    num_electrons = sum(atom.GetAtomicNum() for atom in whole.GetAtoms()) - charge
    if (num_electrons - unpaired) % 2 or whole.GetNumAtoms() > most_atoms:
        return None
    return Species(Chem.MolToSmiles(molecule), charge, unpaired, whole.GetNumAtoms())


def task_species() -> list[Species]:
    """Small C, H, N, O molecules that are held out of pretraining."""
    return _distinct(TASK, set())


def small_species() -> list[Species]:
    """Inorganic and other tiny closed-shell molecules and ions."""
    return _distinct([*SMALL, *SMALL_IONS], _held_out())


def radical_species() -> list[Species]:
    """Molecules with unpaired electrons."""
    out = [species_of(smiles, unpaired) for unpaired, listed in RADICALS.items() for smiles in listed]
    return list(dict.fromkeys(s for s in out if s is not None and s.num_atoms > 1))


@cache
def combined_species(
    num_neutral: int, num_ions: int, seed: int
) -> tuple[tuple[Species, ...], tuple[Species, ...]]:
    """Neutral molecules and ions out of scaffolds times substituents; without those of :func:`small_species` and the task.

    Weighted sampling without replacement (Efraimidis and Spirakis 2006), favouring rare elements and about 17 atoms. A smaller
    number gives a prefix of a larger one.
    """
    known = _held_out() | {s.smiles for s in small_species()}
    one = [t.format(a=a) for t in ONE_SITE for a in SUBSTITUENTS]
    two = [
        t.format(a=a, b=b) for t in TWO_SITES for a, b in combinations_with_replacement(SUBSTITUENTS[1:], 2)
    ]
    rng = np.random.default_rng(seed)
    two = [two[i] for i in rng.permutation(len(two))[:9000]]
    neutral = [s for s in _distinct(one + two, known) if s.charge == 0]
    ions = [
        s
        for s in _distinct([t.format(a=a) for t in ION_TEMPLATES for a in ION_SUBSTITUENTS], known)
        if abs(s.charge) == 1
    ]
    return _draw(neutral, num_neutral, rng), _draw(ions, num_ions, rng)


def _draw(pool: list[Species], number: int, rng: np.random.Generator) -> tuple[Species, ...]:
    weights = np.array([_weight(s) for s in pool])
    keys = np.log(rng.random(len(pool))) / weights
    return tuple(pool[i] for i in np.argsort(-keys)[:number])


def _weight(species: Species) -> float:
    from rdkit import Chem

    symbols = {atom.GetSymbol() for atom in Chem.MolFromSmiles(species.smiles).GetAtoms()}
    rare = sum(RARE.get(symbol, 0.0) for symbol in sorted(symbols))
    return (1 + rare) * math.exp(-0.5 * ((species.num_atoms - 17) / 4.5) ** 2)


def _held_out() -> set[str]:
    return {s.smiles for s in task_species()}


def _distinct(smiles: list[str], known: set[str]) -> list[Species]:
    out = {
        s.smiles: s for s in map(species_of, dict.fromkeys(smiles)) if s is not None and s.smiles not in known
    }
    return list(out.values())
