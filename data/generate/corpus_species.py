"""Which molecules the pretraining corpus holds: our own templates of rings, linkers, substituents, residues, bases and sugars,
as SMILES. Substituents stand in branches, ``c1({a})ccc({b})cc1``, so that their first atom is the one that binds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from .species import (
    ION_SUBSTITUENTS,
    ION_TEMPLATES,
    ONE_SITE,
    RADICALS,
    SMALL,
    SMALL_IONS,
    SUBSTITUENTS,
    TWO_SITES,
    Species,
    species_of,
)

RINGS = """
    c1({a})ccc({b})cc1 c1({a})cccc({b})c1 c1({a})ccccc1({b}) c1({a})ccc({b})nc1 c1({a})ccnc({b})c1 c1({a})cncc({b})c1
    c1({a})cnc({b})nc1 c1({a})ccnc({b})n1 c1({a})nccc({b})n1 c1({a})cnc({b})cn1 c1({a})ccc({b})nn1 c1({a})nc({b})ncn1
    c1({a})ccc({b})o1 c1({a})coc({b})c1 c1({a})ccc({b})s1 c1({a})csc({b})c1 c1({a})ccc({b})[nH]1 n1({a})ccc({b})c1
    c1({a})cnc({b})[nH]1 n1({a})cnc({b})c1 n1({a})ncc({b})c1 c1({a})cc({b})[nH]n1 c1({a})coc({b})n1 c1({a})cnc({b})o1
    c1({a})csc({b})n1 c1({a})cnc({b})s1 c1({a})cc({b})no1 c1({a})cc({b})ns1 c1({a})nnc({b})o1 c1({a})nnc({b})s1
    c1({a})noc({b})n1 c1({a})nc({b})n[nH]1 n1({a})cc({b})nn1 n1({a})nnc({b})n1 c1({a})nsc({b})n1 c1({a})nonc1({b})
    C1({a})CC1({b}) C1({a})CC({b})C1 C1({a})CCC({b})C1 C1({a})CCC({b})CC1 C1({a})=CCC({b})C1 C1({a})=CCCC({b})C1
    N1({a})CC({b})C1 N1({a})CCC({b})C1 C1({a})CCC({b})N1 N1({a})CCC({b})CC1 C1({a})CCNC({b})C1 N1({a})CCN({b})CC1
    N1({a})CCOC({b})C1 C1({a})OC1({b}) C1({a})CNC1({b}) N1({a})CCSC({b})C1 C1({a})COC1({b}) C1({a})CCOC1({b})
    C1({a})OCC({b})C1 C1({a})CCOC({b})C1 C1({a})OCC({b})O1 C1({a})CSC({b})C1 C1({a})SCC({b})S1 N1({a})CC({b})CC1=O
    C1({a})CC(=O)NC1({b}) N1({a})C(=O)CC({b})C1=O N1({a})CC({b})OC1=O N1({a})CCN({b})C1=O N1({a})C(=O)C=CC({b})=C1
    O=C1C=C({a})C(=O)C=C1({b}) O=C1OC({a})C({b})C1 O=c1cc({a})occ1({b}) C1({a})CS(=O)(=O)CC1({b}) N1({a})N=C({b})CC1=O
    C1({a})=NOC({b})C1 C1({a})CN=C({b})N1 B1({a})OCC({b})O1 c1({a})ccc2[nH]cc({b})c2c1 c1({a})ccc2ncn({b})c2c1
    c1({a})ccc2occ({b})c2c1 c1({a})cc2ccc({b})cc2o1 c1({a})nc2ccccc2n1({b}) c1({a})nc2ccc({b})cc2s1 c1({a})ccc2ncccc2c1({b})
    c1({a})cn2ccc({b})nc2n1 c1({a})ccc2OCOc2c1({b}) c1({a})nn2cccc({b})c2n1 C1({a})C2CC({b})C2C1 C1({a})CC2CCC1({b})C2
    N1({a})CC2CC1CC2({b}) C12CC({a})C1C({b})C2 C1({a})(C2)CC2({b})C1
""".split()
"""Rings with two sites."""

CHAINS = """
    C({a}){b} C({a})C{b} C({a})CC{b} C({a})(C)C{b} C({a})C(C){b} C({a})(C)(C){b} C({a})=C{b} C({a})=CC{b} C({a})#C{b}
    C({a})C#C{b} C(=O)({a}){b} C({a})C(=O){b} C(=O)({a})N{b} C(=O)({a})O{b} C(=O)({a})C(=O){b} C({a})O{b} C({a})OC{b}
    C({a})N{b} C({a})NC{b} N({a})(C){b} C({a})S{b} C({a})SC{b} C({a})S(=O){b} S(=O)(=O)({a}){b} S(=O)(=O)({a})N{b} C({a})=N{b}
    C({a})=NO{b} C({a})=NN{b} N({a})C(=O)N{b} N({a})C(=S)N{b} N({a})C(=O)O{b} C({a})(O)C{b} C({a})(N)C{b} C({a})(F)C{b}
    C({a})(F)(F){b} C({a})(O)C(=O){b} C({a})(N)C(=O){b} C({a})CC(=O){b} C({a})=CC(=O){b} N({a})=N{b} C({a})OCC{b}
    C({a})(=C){b} C({a})C(O)C{b} OP(=O)({a})O{b} [Si](C)({a})(C){b} [Si]({a})(C)O{b} P(=O)({a})(C){b} P({a})(C){b} N({a})N{b}
    O{a} S({a}){b} SS{a} C({a})(Cl)C{b} C({a})(Br)C{b} C(=S)({a})N{b} C(=O)({a})S{b} C({a})(=N)N{b} C({a})C(=C){b}
    C({a})C(=O)C{b} C({a})(C#N){b}
""".split()

LINKERS = """
    - C CC O N S C(=O) C(=O)N NC(=O) OC CO NC CN SC CS C=C C#C S(=O)(=O) S(=O)(=O)N NS(=O)(=O) C(=O)O OC(=O) C(C) C(O) C(F)(F)
    CCC OCC N(C) C(=O)C C=N N=N NC(=O)N C(=C) S(=O) C(N) COC C(=O)CC
""".split()
"""Between two rings; ``-`` is a bond."""

GROUPS = """
    [H] [H] C C CC C(C)C C1CC1 C=C C#C CO CN CF CCl CC#N CCO C(C)(C)C O OC OCC N NC N(C)C F F Cl Cl Br I C#N C(F)(F)F C(F)F
    OC(F)F C(=O)N C(=O)NC C(=O)O C(=O)OC C(=O)C C=O S SC S(=O)C S(=O)(=O)C S(=O)(=O)N NC(=O)C NC=O [N+](=O)[O-] N=C=O C=NO
    OC(=O)C B(O)O [Si](C)(C)C P(=O)(C)C OCCO CSC CC=C CC#C C(=N)N NO NN SC#N C1COC1 N1CC1 C1CCC1 S(=O)(=O)F OC(F)(F)F SC(F)F
    C(=S)N
""".split()

HEAVY = """
    [SeH]{a} C[Se]{a} CC[Se]{a} [Se]=C{a} C[Se](=O){a} c1ccc{a}[se]1 c1c{a}cc[se]1 C1CC[Se]C1{a} [Se]1C=CC{a}=C1 C[Se][Se]{a}
    N=C([SeH]){a} [GeH3]{a} C[GeH2]{a} C[Ge](C){a} C[Ge](C)(C){a} C[Ge](F){a} C[Ge](Cl){a} C=C[GeH2]{a} C1CC[GeH2]C1{a}
    O[GeH2]{a} [GeH3]O{a} [AsH2]{a} C[AsH]{a} C[As](C){a} C[As](=O)(C){a} C1CC[AsH]C1{a} c1cc{a}c[as]c1 O[AsH]{a} C[As](O){a}
    Cl[As](Cl){a} F[As](F){a} [AlH2]{a} C[Al](C){a} Cl[Al](Cl){a} F[Al](F){a} C[AlH]{a} O[Al](O){a} CO[Al](C){a} CN[Al](C){a}
""".split()
"""Selenium, germanium, arsenic and aluminium; ``{a}`` is replaced by a group without further ado."""
HEAVY_GROUPS = """
    - C CC C=C C#C C#N O OC N NC F Cl Br I S SC C=O C(=O)O C(=O)N C(=O)C C(F)(F)F C(F)F CF CCl CO CN B(O)O [SiH3] P CC#N C1CC1
""".split()
HEAVY_SMALL = """
    [SeH2] O=[Se]=O [Se]=C=[Se] O=C=[Se] C[SeH] C[Se]C F[Se]F Cl[Se]Cl O[Se](=O)O O=[Se](Cl)Cl F[Se](F)(F)F [SeH-] [C-]#[Se+]
    [GeH4] F[Ge](F)(F)F Cl[Ge](Cl)(Cl)Cl Br[Ge](Br)(Br)Br [GeH3][GeH3] [GeH3]F [GeH3]Cl [GeH3]Br C[GeH3] [GeH2]=O
    [GeH3]O[GeH3] [AsH3] F[As](F)F Cl[As](Cl)Cl Br[As](Br)Br C[AsH2] C[As](C)C O=[As](O)(O)O F[As](F)(F)(F)F [AsH4+]
    [AsH2][AsH2] O[As](O)O [AlH3] F[Al](F)F Cl[Al](Cl)Cl Br[Al](Br)Br C[Al](C)C [AlH4-] F[Al-](F)(F)F Cl[Al-](Cl)(Cl)Cl
    O[Al](O)O C[AlH2] O[Al-](O)(O)O C[Se+](C)C C[AsH3+] C[As+](C)(C)C [GeH3-] [SeH3+]
""".split()

RESIDUES = """
    NCC(=O) N[C@@H](C)C(=O) N[C@@H](CO)C(=O) N[C@@H](CS)C(=O) N[C@@H](C(C)C)C(=O) N[C@@H]([C@H](C)O)C(=O)
    N[C@@H](CC(=O)N)C(=O) N[C@@H](CC(=O)O)C(=O) N1CCC[C@H]1C(=O) NCCC(=O) NC(C)(C)C(=O) CN1CC1C(=O) N[C@@H](CC)C(=O)
    N(C)CC(=O) N[C@@H](C#C)C(=O) N[C@@H](CF)C(=O) NC(=C)C(=O) N[C@@H](CN)C(=O)
""".split()
"""Residues of amino acids, open at both ends."""
FIRST = ["", "O=C", "CC(=O)", "FC(F)C(=O)", "COC(=O)", "CS(=O)(=O)"]
LAST = ["O", "N", "NC", "OC", "N(C)C", "[H]"]

BASES = """
    Nc1ncnc2n({a})cnc12 Nc1nc({b})nc2n({a})cnc12 Nc1ncnc2c1nc({b})n2({a}) O=c1[nH]cnc2n({a})cnc12 Nc1nc2n({a})cnc2c(=O)[nH]1
    Nc1cc({b})n({a})c(=O)n1 Nc1nc(=O)n({a})cc1({b}) CNc1nc(=O)n({a})cc1({b}) O=c1[nH]c(=O)n({a})cc1({b})
    O=c1cc({b})n({a})c(=O)[nH]1 S=c1[nH]c(=O)n({a})cc1({b}) O=c1nc({b})ccn1({a}) O=C1NC(=O)N({a})CC1({b}) Nc1ccnc2n({a})cnc12
    Nc1ncnc2c1cc({b})n2({a}) O=c1[nH]c({b})nc2n({a})cnc12 Cn1c(=O)cc({b})n({a})c1=O Nc1nc({b})nc(=O)n1({a})
    c1c({b})nc2n({a})cnc2n1 Nc1n({a})cnc1C(=O)N
""".split()
BASE_SITES = "[H] C CC C1CCCO1 CO CCO CC=O C1CCC1 CF C=C COC C1CC(O)CO1 C1CC1 CC(=O)O CCl".split()
BASE_GROUPS = "[H] C F Cl Br I O N CO C=O C#N NC OC SC C(F)F C=C".split()

SUGARS = """
    O=CC(O)C{a} O=CC(O)C(O)C{a} O=CC(O)C(O)C(O)C{a} OCC(=O)C{a} OCC(=O)C(O)C{a} OCC(O)C{a} OCC(O)C(O)C{a} OC(C{a})C(=O)O
    OC1CCOC1{a} OC1COC(C1O){a} OC1CC(CO)OC1{a} OC1CCCOC1{a} OC1COC(CC1O){a} OC1COC(C(O)C1O){a} OC1C(CO)OC(C1O){a}
    OCC1OC(CC1O){a} OCC1OC(C=CC1O){a} OC1C(O)C2OC2C1{a} OC1CC(O)C(O)C1{a} OCC1CC(O)C(O1){a} CC1OC(C(O)C1O){a}
    O=C1OC(CO)C(O)C1{a} OP(=O)(O)OCC(O)C{a} OP(=O)(O)OC{a} OP(=O)(OC)OC{a} COP(=O)(O)OC1CCOC1{a} OC1COC(C(=O)O)C1{a}
    NC1COC(CO)C1{a} FC1C(CO)OCC1{a} OS(=O)(=O)OC{a} OC1COC(C1N){a} OC1COCC(O)C1{a}
""".split()
SUGAR_GROUPS = "[H] O OC N F NC(=O)C S C#N OCC Cl NC C(=O)O C OC(=O)C C(=O)N OCF SC".split()

ANIONS = "C(=O)[O-] [O-] S(=O)(=O)[O-] [S-] OP(=O)(O)[O-] [BH3-] N=C=[N-]".split()
CATIONS = "[NH3+] C[NH3+] [NH2+]C [N+](C)(C)C C(=[NH2+])N [SH+]C [PH3+] NC(=[NH2+])N".split()
CHARGED = """
    [NH3+]CC(=O)[O-] [NH3+]C(C)C(=O)[O-] [NH3+]C(CO)C(=O)[O-] [NH3+]CCC(=O)[O-] [NH3+]CCS(=O)(=O)[O-] C[N+](C)(C)CC(=O)[O-]
    [O-]C(=O)C(=O)O [O-]C(=O)CC(=O)O [O-]C(=O)C=CC(=O)O OC(=O)C(O)C(=O)[O-] CC(O)C(=O)[O-] CC(=O)C(=O)[O-] C[n+]1ccn(C)c1
    C[n+]1ccccc1 CC[n+]1ccn(C)c1 C[N+]1(C)CCCC1 C[N+]1(C)CCOCC1 c1c[nH]c[nH+]1 [O-]c1ccccc1 [S-]c1ccccc1 [O-]C1=CC(=O)CC1
    [O-]P(=O)(O)O [O-]S(=O)(=O)O COP(=O)(O)[O-] COS(=O)(=O)[O-] [O-]S(=O)(=O)C(F)(F)F FC(F)(F)C(=O)[O-] [N-](C#N)C#N C[S+](C)C
    O=C[CH-]C=O N#C[CH-]C#N [O-][N+](=O)[CH-]C [cH-]1cccc1 C[C+](C)C c1cc[cH+]ccc1 C[N+]#N C=[N+](C)C CC#[NH+] COC=[O+]C
    [O-]Cl(=O)(=O)=O [O-]C(=O)CCC(=O)[O-] [NH3+]CC[NH3+] C1C[NH2+]CC[NH2+]1 [O-]S(=O)(=O)[O-] [O-]C(=O)C(=O)[O-]
    C[N+](C)(C)CC[N+](C)(C)C [O-]OC [O-]N=O [N-]=C=O [N-]=C=S [O-][n+]1ccccc1 C[N+](C)(C)[O-] [NH3+]O [NH3+]N C[NH2+]O
    OC(=O)[O-] [O-]C=C [S-]C=C
""".split()


ODD = ("[IH]", "[IH2]", "[BrH]", "[ClH]", "[SH](", "[SH3]", "[PH3](")
"""Hypervalent centres with hydrogen, which templates make by accident: left out."""


EVEN_POOLS = ("fragments", "elements", "heavy", "peptides", "bases", "sugars", "ions", "small")
"""Sorts of closed shells that :func:`pool` gives."""


def _shifted(ring: str) -> str:
    """Ring numbers 1 and 2 as 3 and 4, for a ring inside another one."""
    return ring.replace("2", "4").replace("1", "3")


def _joined_rings(rng: np.random.Generator, count: int) -> Iterator[str]:
    for _ in range(count):
        first, second = (RINGS[i] for i in rng.integers(len(RINGS), size=2))
        link = LINKERS[rng.integers(len(LINKERS))].replace("-", "")
        groups = [GROUPS[i] for i in rng.integers(len(GROUPS), size=2)]
        if rng.random() < 0.6:
            groups[0] = "[H]"
        if rng.random() < 0.6:
            groups[1] = "[H]"
        inner = _shifted(second).replace("({a})", "", 1).format(b=groups[1].replace("1", "5"))
        yield first.format(a=groups[0].replace("1", "5"), b=link + inner)


def _filled(templates: list[str], groups: list[str], rng: np.random.Generator, count: int) -> Iterator[str]:
    """Templates with one or two sites, filled at random; rings of a group are numbered apart."""
    for _ in range(count):
        template = templates[rng.integers(len(templates))]
        a, b = (
            groups[i].replace("1", "5").replace("-", "", groups[i] == "-")
            for i in rng.integers(len(groups), size=2)
        )
        yield template.format(a=a, b=b)


def _peptides(rng: np.random.Generator, count: int) -> Iterator[str]:
    for _ in range(count):
        length = int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))
        middle = "".join(
            RESIDUES[i].replace("1", str(k + 1))
            for k, i in enumerate(rng.integers(len(RESIDUES), size=length))
        )
        yield FIRST[rng.integers(len(FIRST))] + middle + LAST[rng.integers(len(LAST))]


def _ions(rng: np.random.Generator, count: int) -> Iterator[str]:
    yield from CHARGED
    charged = [*ANIONS, *CATIONS]
    for _ in range(count):
        group = charged[rng.integers(len(charged))]
        if rng.random() < 0.5:
            yield CHAINS[rng.integers(len(CHAINS))].format(a=group, b=GROUPS[rng.integers(len(GROUPS))])
        else:
            other = GROUPS[rng.integers(len(GROUPS))].replace("1", "5")
            yield RINGS[rng.integers(len(RINGS))].format(a=other, b=group)


def _starter(rng: np.random.Generator, count: int) -> Iterator[str]:
    """The starter corpus' templates, rich in rare elements."""
    for _ in range(count):
        a, b = (SUBSTITUENTS[i] for i in rng.integers(len(SUBSTITUENTS), size=2))
        if rng.random() < 0.3:
            yield ONE_SITE[rng.integers(len(ONE_SITE))].format(a=a)
        else:
            yield TWO_SITES[rng.integers(len(TWO_SITES))].format(a=a, b=b)


def candidates(sort: str, number: int, seed: int) -> Iterable[str]:
    """SMILES of one sort, more than ``number``, some of them twice or refused by RDKit."""
    rng = np.random.default_rng([seed, len(sort), ord(sort[0]), ord(sort[-1])])
    many = 3 * number + 100
    match sort:
        case "fragments":
            return [
                *_filled(RINGS, GROUPS, rng, 2 * many),
                *_filled(CHAINS, GROUPS, rng, many),
                *_joined_rings(rng, many),
            ]
        case "elements":
            return _starter(rng, 2 * many)
        case "heavy":
            return [*HEAVY_SMALL, *_filled(HEAVY, HEAVY_GROUPS, rng, 2 * many)]
        case "peptides":
            return _peptides(rng, 2 * many)
        case "bases":
            return [
                t.format(a=a.replace("1", "5"), b=b) for t in BASES for a in BASE_SITES for b in BASE_GROUPS
            ]
        case "sugars":
            return [t.format(a=a) for t in SUGARS for a in SUGAR_GROUPS]
        case "ions":
            listed = [t.format(a=a) for t in ION_TEMPLATES for a in ION_SUBSTITUENTS]
            return [*listed, *_ions(rng, many)]
        case "small":
            return [*SMALL, *SMALL_IONS, *_filled(CHAINS, "[H] C O N F Cl S Br I".split(), rng, many)]
    raise AssertionError(sort)


@cache
def pool(sort: str, number: int, seed: int, most_atoms: int) -> tuple[Species, ...]:
    """About ``number`` different closed-shell molecules of one sort, in the order of preference (fewer where the
    templates give no more)."""
    found: dict[str, Species] = {}
    for smiles in dict.fromkeys(candidates(sort, number, seed)):
        species = species_of(smiles, most_atoms=most_atoms)
        if species is None or any(group in species.smiles for group in ODD):
            continue
        if species.num_atoms > 1 and (sort == "ions") <= (abs(species.charge) <= 2):
            found.setdefault(species.smiles, species)
    listed = list(found.values())
    if sort == "ions":
        listed = [s for s in listed if s.charge or "+" in s.smiles]
    elif sort not in ("small", "heavy"):
        listed = [s for s in listed if s.charge == 0]
    return tuple(_drawn(listed, number, np.random.default_rng([seed, number]), sort))


def _drawn(listed: list[Species], number: int, rng: np.random.Generator, sort: str) -> list[Species]:
    """Weighted sampling without replacement (Efraimidis and Spirakis 2006): about 15 atoms are preferred."""
    middle, width = {"peptides": (20, 7), "bases": (18, 6), "sugars": (18, 7), "small": (6, 4)}.get(
        sort, (14.5, 4.5)
    )
    weights = np.array([math.exp(-0.5 * ((s.num_atoms - middle) / width) ** 2) for s in listed])
    keys = np.log(rng.random(len(listed))) / np.maximum(weights, 1e-6)
    return [listed[i] for i in np.argsort(-keys, kind="stable")[:number]]


def radicals(number: int, seed: int, most_atoms: int = 16) -> tuple[Species, ...]:
    """Listed radicals and triplets, and small molecules that have lost one hydrogen."""
    from rdkit import Chem

    found: dict[str, Species] = {}
    for unpaired, listed in RADICALS.items():
        for smiles in listed:
            species = species_of(smiles, unpaired)
            if species is not None and species.num_atoms > 1:
                found.setdefault(species.smiles, species)
    rng = np.random.default_rng([seed, 5])
    small = pool("small", 200, seed, 12)
    parents = (*small, *pool("fragments", 2 * number, seed, most_atoms))
    for parent in parents:
        if len(found) >= number:
            break
        molecule = Chem.MolFromSmiles(parent.smiles)
        places = [a.GetIdx() for a in molecule.GetAtoms() if a.GetTotalNumHs()]
        if parent.charge or not places:
            continue
        atom = molecule.GetAtomWithIdx(places[rng.integers(len(places))])
        atom.SetNumExplicitHs(atom.GetTotalNumHs() - 1)
        atom.SetNoImplicit(True)
        atom.SetNumRadicalElectrons(1)
        species = species_of(Chem.MolToSmiles(molecule), 1)
        if species is not None:
            found.setdefault(species.smiles, species)
    return tuple(found.values())[:number]
