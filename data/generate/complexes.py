"""Which molecules stand together in the pretraining corpus: dimers, clusters, metal ions with ligands, proton transfers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .corpus_species import pool
from .left_out import LeftOut
from .species import Species, species_of

COMMON = """
    O O O O O N F Cl S [HH] C#N CO C=O O=CO CN NC=O N#N O=C=O C#C C=C C CF CCl CS CBr CI P [SiH4] OO NO O=S=O Br I B(O)(O)O
    OB(O)O FC(F)F CC COC CC=O NC(N)=O C=CO c1cc[nH]c1 c1ccncc1 c1ccccc1 c1c[nH]cn1 O=P(O)(O)O O=S(=O)(O)O [SeH2] C[SiH3] CP
    N=C=O
""".split()
"""Small molecules that meet others more often than the rest; those that a source has are left out like all."""
COMMON_IONS = """
    [NH4+] [OH3+] [OH-] [F-] [Cl-] [Br-] [I-] [C-]#N [SH-] O=C[O-] C[NH3+] [Na+] [K+] [Li+] O=[N+]([O-])[O-] C[N+](C)(C)C
    [BH4-] F[B-](F)(F)F [N-]=[N+]=[N-] [O-]S(=O)(=O)O [O-]P(=O)(O)O C[O-] C[S-] [NH2-] C[OH2+] NC(N)=[NH2+] CC(=O)[O-] [S-]C#N
""".split()
METAL_IONS = ("[Li+]", "[Na+]", "[K+]", "[Mg+2]", "[Ca+2]", "[Zn+2]")
LIGANDS = """
    O O O O N C#N CO C=O NC=O O=CO CN S CS COC C1CCOC1 c1ccncc1 c1c[nH]cn1 OCCO NCCN O=S=O P CC#N CC(C)=O O=CN(C)C
""".split()
LIGAND_IONS = "[OH-] [F-] [Cl-] [Br-] O=C[O-] [C-]#N [SH-] C[O-] C[S-] [NH2-] CC(=O)[O-] O=[N+]([O-])[O-] NCC(=O)[O-]".split()
DONORS = """
    O N F Cl S CO CN O=CO NC=O C=NO OO NO [NH4+] [OH3+] C[NH3+] C[OH2+] c1cc[nH]c1 c1ccc(O)cc1 OS(=O)(=O)O OP(=O)(O)O CS C#N
    CC(=O)O CNC C[NH2+]C c1cc[nH+]cc1 NC(N)=O NN O=C(O)C(F)(F)F Br OB(O)O OCl C=[OH+] C=[NH2+] [SH3+] NC(N)=[NH2+]
""".split()
TAKERS = """
    O N CO CN C=O NC=O O=C[O-] [OH-] [F-] [Cl-] [SH-] COC CNC c1ccncc1 c1c[nH]cn1 CN(C)C C=N CC(=O)[O-] C[O-] C[S-] S CSC
    [C-]#N [NH2-] P CP NN NO N#CC O=S=O O=P(O)(O)[O-] [Br-] C1CO1 C1CCN1 C1COC1 CS OCCO NCCO C=NC NC(N)=N O=N C1CCNC1
""".split()
Complex = tuple[Species, ...]
"""The molecules and ions of one record."""


def complexes(sort: str, number: int, most_atoms: int, seed: int, excluded: LeftOut) -> list[Complex]:
    """``number`` different complexes of at most ``most_atoms`` of one sort; none with a molecule that ``excluded`` has."""
    rng = np.random.default_rng([seed, 77, len(sort)])

    def known(listed: list[str]) -> list[Species]:
        """Repeats stay: they are weights."""
        kept = {
            s: species
            for s in dict.fromkeys(listed)
            if (species := species_of(s)) and not excluded.has(species)
        }
        return [kept[s] for s in listed if s in kept]

    def drawn(listed: list[Species]) -> Species:
        return listed[rng.integers(len(listed))]

    def others(name: str, count: int, most: int) -> list[Species]:
        return excluded.kept(pool(name, count, seed, most), beside=True)

    common, common_ions = known(COMMON), known(COMMON_IONS)
    draw: Callable[[], Complex]
    match sort:
        case "dimers":
            organic = [
                *others("fragments", 900, 16),
                *others("small", 300, 12),
                *others("bases", 60, 18),
                *others("elements", 300, 14),
            ]
            organic += others("heavy", 80, 12)
            charged = [*common_ions, *others("ions", 200, 14)]

            def draw() -> Complex:
                first = drawn(common) if rng.random() < 0.5 else drawn(organic)
                second = (
                    drawn(charged)
                    if rng.random() < 0.25
                    else drawn(organic)
                    if rng.random() < 0.6
                    else drawn(common)
                )
                if rng.random() < 0.06:
                    first, second = drawn(charged), drawn(charged)
                return first, second
        case "clusters":
            organic = [*others("fragments", 500, 12), *others("small", 200, 10), *others("sugars", 40, 16)]
            water = known(["O"])

            def draw() -> Complex:
                count = int(rng.choice([2, 3, 4, 5], p=[0.25, 0.35, 0.25, 0.15]))
                of = water if water and rng.random() < 0.12 else common
                parts = [drawn(of) for _ in range(count)]
                if rng.random() < 0.35:
                    parts[0] = drawn(organic)
                if rng.random() < 0.3:
                    parts[-1] = drawn(common_ions)
                return tuple(parts)
        case "metals":
            ligands, anions, metals = known(LIGANDS), known(LIGAND_IONS), known(list(METAL_IONS))

            def draw() -> Complex:
                metal = drawn(metals)
                parts = [metal, *(drawn(ligands) for _ in range(int(rng.integers(1, 4))))]
                for k in range(1, len(parts)):
                    if k <= metal.charge and rng.random() < 0.5:
                        parts[k] = drawn(anions)
                return tuple(parts)
        case "transfers":
            donors, takers = known(DONORS), known(TAKERS)
            donors += [s for s in others("fragments", 200, 12) if "O" in s.smiles or "N" in s.smiles]

            def draw() -> Complex:
                return drawn(donors), drawn(takers)
        case _:
            raise AssertionError(sort)
    found: dict[tuple[str, ...], Complex] = {}
    for _ in range(40 * number):
        if len(found) >= number:
            break
        parts = draw()
        charges = [s.charge for s in parts]
        same_sign = sum(c > 0 for c in charges) > 1 or sum(c < 0 for c in charges) > 2
        if same_sign or abs(sum(charges)) > 2 or sum(s.num_atoms for s in parts) > most_atoms:
            continue
        ordered = parts if sort == "transfers" else (parts[0], *sorted(parts[1:], key=lambda s: s.smiles))
        found.setdefault(tuple(s.smiles for s in ordered), ordered)
    return list(found.values())
