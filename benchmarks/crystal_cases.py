"""The crystals of ``crystals_dynamics.py``: what their potentials are finetuned on, and what is known of them.

**Silicon**: PBE (VASP) energies, forces and stress of the mlearn set (Zuo et al., J. Phys. Chem. A 124, 731 (2020)). What the
level itself says: elastic constants from the stress of that set's own strained cells (atoms are not relaxed in them, so C44 is
that of clamped atoms); frequencies from the forces of phonopy's example ``Si`` (VASP, PBE, 2x2x2 primitive cells;
github.com/phonopy/phonopy, commit 3a3e0f0), read with phonopy 4.10.
**NaCl**: PBEsol (VASP) energies, forces and stress of 100 supercells of 64 atoms, all at one volume, each atom displaced by
0.03 angstrom; 80 train and 20 test (phono3py's example ``NaCl-rd``, github.com/phonopy/phono3py; Togo and Seko, J. Chem. Phys.
160, 211001 (2024)). The level's own phonons are those of the two supercells of 512 atoms in the same example, with its Born
charges, and its elastic constants the slopes of their acoustic branches. No strained cell is among the labels: elastic
constants and bulk modulus are extrapolated.
**NaCl again** (``nacl-xtb``): GFN1-xTB energies, forces and stress of 64 atoms in strained cells, labelled here
(``crystal_level.py``), and finite differences of that level in the same cells. 18 cells of NaCl at this level, around the
measured lattice constant, were among the records that ``atomfield-s`` was pretrained on.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

TRAINED = 80
"""Of the 100 supercells of NaCl."""
WAVE = 0.01
"""1/angstrom: where the slopes of the acoustic branches are taken."""
POINTS = {"Γ": (0.0, 0.0, 0.0), "X": (0.5, 0.0, 0.5), "L": (0.5, 0.5, 0.5)}
"""In the axes of phonopy's primitive cell."""


@dataclass(frozen=True)
class Case:
    """measured: name -> (value, source); bands: the distinct frequencies at a point: (point, numbers from below, name, what
    the level says where it is published as a number, what was measured), THz or None. title: of its section; steps: of the
    finetuning, 0: as long as ``--minutes``; curves: what the level's bands in the picture are, empty: none are drawn."""

    name: str
    formula: str
    prototype: str
    lattice: float
    level: str
    measured: dict[str, tuple[float, str]]
    bands: tuple[tuple[str, tuple[int, ...], str, float | None, float | None], ...]
    bands_source: str
    title: str
    steps: int = 0
    curves: str = ""

    def start(self) -> Atoms:
        """The cubic cell of eight atoms at the measured lattice constant."""
        from ase.build import bulk

        return bulk(self.formula, self.prototype, a=self.lattice, cubic=True)


_MCSKIMIN = "ultrasound, 298 K; McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964)"
_OVERTON = "ultrasound, extrapolated to 0 K; Overton and Swim, Phys. Rev. 84, 758 (1951)"
_KITTEL = "infrared, 300 K: 164 1/cm (Kittel, Introduction to Solid State Physics, table of optical phonons)"
_SALT = {
    "a": (5.640, "X-rays, room temperature"), "C11": (57.5, _OVERTON), "C12": (9.9, _OVERTON), "C44": (13.3, _OVERTON),
}  # fmt: skip
_SALT_BANDS = (
    ("Γ", (4, 5, 6), "TO", None, 4.92), ("X", (1, 2), "TA", None, None), ("X", (3,), "LA", None, None),
    ("X", (4, 5), "TO", None, None), ("X", (6,), "LO", None, None), ("L", (1, 2), "TA", None, None),
    ("L", (3, 4), "TO", None, None), ("L", (5,), "LA", None, None), ("L", (6,), "LO", None, None),
)  # fmt: skip
CASES = {
    "silicon": Case(
        "silicon", "Si", "diamond", 5.431, "pbe",
        {"a": (5.431, "X-rays, room temperature"), "C11": (165.8, _MCSKIMIN), "C12": (63.9, _MCSKIMIN),
         "C44": (79.6, _MCSKIMIN)},
        (("Γ", (4, 5, 6), "LO, TO", 15.11, 15.53), ("X", (1, 2), "TA", 4.39, 4.49), ("X", (3, 4), "LA, LO", 12.06, 12.32),
         ("X", (5, 6), "TO", 13.43, 13.90), ("L", (1, 2), "TA", 3.33, 3.43), ("L", (3,), "LA", 11.14, 11.35),
         ("L", (4,), "LO", 12.02, 12.60), ("L", (5, 6), "TO", 14.33, 14.68)),
        "neutrons, room temperature; Dolling (Inelastic Scattering of Neutrons in Solids and Liquids, IAEA 1963, II, 37) and "
        "Nilsson "
        "and Nelin, Phys. Rev. B 6, 3777 (1972), as they are quoted since Giannozzi et al., Phys. Rev. B 43, 7231 (1991)",
        "Si",
    ),
    "nacl": Case(
        "nacl", "NaCl", "rocksalt", 5.64, "pbesol",
        _SALT, _SALT_BANDS, _KITTEL, "NaCl: public records at one volume",
        curves="the level itself (PBEsol), with its Born charges",
    ),
    "nacl-xtb": Case(
        "nacl-xtb", "NaCl", "rocksalt", 5.64, "gfn1-xtb-pbc",
        _SALT, _SALT_BANDS, _KITTEL, "NaCl: our records with strained cells", 2400,
        "the level itself (GFN1-xTB), in 64 atoms",
    ),
}  # fmt: skip


def training_files(
    case: Case, data: Path | None, nacl: Path | None, folder: Path
) -> tuple[list[str], list[str]]:
    """Arguments of ``atomfield finetune`` for the data of a crystal, and where its records are (train, test)."""
    if case.name == "silicon":
        if data is None:
            raise SystemExit(
                "silicon needs --data DIR, a folder with mlearn/Si_train.xyz and mlearn/Si_test.xyz"
            )
        train, test = data / "mlearn/Si_train.xyz", data / "mlearn/Si_test.xyz"
        keys = "energy=REF_energy,forces=REF_forces,stress=virial_stress_as_published"
        return ["--map", keys, "--units", "stress=vasp"], [str(train), str(test)]
    if nacl is None:
        raise SystemExit("NaCl needs --nacl DIR, the folder example/NaCl-rd of phono3py's repository")
    parts = [folder / "train", folder / "test"]
    if not parts[1].exists():
        with tarfile.open(nacl / "vasprun_xmls.tar.xz") as archive:
            members = sorted((m for m in archive.getmembers() if "vasprun-0" in m.name), key=lambda m: m.name)
            for number, member in enumerate(members):
                part = parts[number >= TRAINED]
                part.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                (part / Path(member.name).name).write_bytes(content.read())
    return [], [str(part) for part in parts]


def nacl_from_forces(nacl: Path, save: Path) -> dict[str, Any]:
    """Frequencies and elastic constants (GPa) of the level by the forces of the supercells of 512 atoms; ``save``: phonopy's
    file of it, with Born charges."""
    import lzma

    import yaml
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    with lzma.open(nacl / "phono3py_params_NaCl.yaml.xz") as file:
        given = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    sites, lattice = given["unit_cell"]["points"], given["unit_cell"]["lattice"]
    unit = PhonopyAtoms(
        symbols=[s["symbol"] for s in sites], cell=lattice, scaled_positions=[s["coordinates"] for s in sites]
    )
    engine: Any = Phonopy(unit, supercell_matrix=given["phonon_supercell_matrix"], primitive_matrix="auto")
    engine.dataset = {key: np.array(given["phonon_dataset"][key]) for key in ("displacements", "forces")}
    engine.produce_force_constants(fc_calculator="symfc", calculate_full_force_constants=False)
    engine.symmetrize_force_constants()
    frequencies = {name: engine.run_qpoints([q]).frequencies[0].tolist() for name, q in POINTS.items()}
    nac = given["nac"]
    engine.nac_params = {
        "born": np.array(nac["born_effective_charge"]), "dielectric": np.array(nac["dielectric_constant"]),
        "factor": nac["unit_conversion_factor"],
    }  # fmt: skip
    engine.save(save, settings={"force_constants": True})
    (_, shear, along), (_, tilted, _) = (
        acoustic_moduli(engine, np.array(d)) for d in ((1.0, 0, 0), (1.0, 1.0, 0))
    )
    between = along - 2 * tilted
    return {
        "a": float(lattice[0][0]), "C11": along, "C12": between, "C44": shear, "bulk_elastic": (along + 2 * between) / 3,
        "frequencies": frequencies, "LO at Γ": float(engine.run_qpoints([(1e-3, 0, 1e-3)]).frequencies[0][-1]),
    }  # fmt: skip


def acoustic_moduli(engine: Any, direction: np.ndarray) -> tuple[float, float, float]:
    """rho v^2 (GPa) of the three acoustic branches along a Cartesian direction, from below: along [100] C44 twice and C11;
    along [110] C44, (C11 - C12) / 2 and (C11 + C12 + 2 C44) / 2."""
    wave = WAVE * direction / np.linalg.norm(direction)
    frequency = engine.run_qpoints([engine.primitive.cell @ wave]).frequencies[0][:3]
    density = (
        engine.primitive.masses.sum() * 1.66053907e-27 / (abs(np.linalg.det(engine.primitive.cell)) * 1e-30)
    )
    low, middle, high = density * (frequency * 1e12 / (WAVE * 1e10)) ** 2 / 1e9
    return float(low), float(middle), float(high)


def silicon_from_labels(data: Path) -> dict[str, Any]:
    """Lattice constant and elastic constants (GPa, atoms clamped) of the labels: the stress of the mlearn set's strained perfect
    cells as a polynomial of fourth degree in the strain."""
    import ase.io

    uniaxial: list[tuple[float, float, float]] = []
    shear: list[tuple[float, float]] = []
    frames = [f for part in ("train", "test") for f in ase.io.read(data / f"mlearn/Si_{part}.xyz", ":")]
    frames = [f for f in frames if f.info["group"] == "Elastic"]
    rest = float(np.median([np.linalg.norm(f.cell.array, axis=1) for f in frames]))
    for frame in frames:
        xx, yy, zz, xy, yz, zx = -0.1 * np.array(
            frame.info["virial_stress_as_published"]
        )  # kbar, VASP's sign
        lengths = np.linalg.norm(frame.cell.array, axis=1)
        angles = np.cos(np.radians(frame.cell.angles()))  # of yz, zx, xy
        if np.abs(angles).max() < 1e-6:
            along = int(np.abs(lengths - rest).argmax())
            normal = np.array([xx, yy, zz])
            across = float(np.delete(normal, along).mean())
            uniaxial.append((lengths[along] / rest - 1, normal[along], across))
        else:
            which = int(np.abs(angles).argmax())
            angle = np.arcsin(angles[which])
            shear.append((np.tan(angle), (yz, zx, xy)[which]))
    e, normal, across = np.array(uniaxial).T
    gamma, tau = np.array(shear).T
    slope = lambda x, y: np.polynomial.Polynomial.fit(x, y, 4).convert()  # noqa: E731
    along, beside = slope(e, normal), slope(e, across)
    found = {
        "C11": float(along.coef[1]),
        "C12": float(beside.coef[1]),
        "C44_clamped": float(slope(gamma, tau).coef[1]),
    }
    pressure = -(along.coef[0] + 2 * beside.coef[0]) / 3
    bulk_modulus = (found["C11"] + 2 * found["C12"]) / 3
    return {"a": float(rest) / 2 * (1 + pressure / bulk_modulus / 3), **found, "bulk_elastic": bulk_modulus}
