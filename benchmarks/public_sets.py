"""Every row of the tables in docs/datasets_atoms.md and docs/datasets_fields.md is made again: prepare, then inspect.

Run: python benchmarks/public_sets.py DATA [--only PART] [--out PAGE.md]

DATA is the folder with the public sets, one folder each, as named below; sets that are not there are left out and named. All
runs are in one process, so that the seconds (of the processor, prepare with its checks) are without the loading of libraries.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MLEARN = "--map energy=REF_energy,forces=REF_forces"
STRESS = f"{MLEARN},stress=virial_stress_as_published --units stress="
NEURALOP = "--map solution=y,viscosity=visc,spacing=0.0625,dt=0.0625,periodic=1"
JARVIS = "dft_3d_Tc_supercon,dft_3d_formation_energy_peratom,dft_3d_bulk_modulus_kv,dft_3d_shear_modulus_gv"
TOX21 = (
    "NR-AR,NR-AR-LBD,NR-AhR,NR-Aromatase,NR-ER,NR-ER-LBD,NR-PPAR-gamma,SR-ARE,SR-ATAD5,SR-HSE,SR-MMP,SR-p53"
)

ATOMS = [
    "3bpa_train/iso_atoms.xyz",
    "3bpa_train/train_300K.xyz",
    "3bpa_train/train_mixedT.xyz",
    "carbon24/carbon24_all_structures_jarvis.json.zip",
    "carbon24/test.csv --target energy_per_atom",
    "carbon24/val.csv --target energy_per_atom",
    *(f"ethanol_botnet/{n}.xyz" for n in ("isolated_atoms", "test_H_removal", "test_MD", "test_dimers", "test_eth_meth",
                                          "test_norm_mode_3005", "test_norm_mode_874", "train", "train_eth_meth")),
    f"jarvis_supercon/jarvis_supercon.csv --target {JARVIS} --on-bad skip --max-bad 0.2",
    "matbench_phonons/matbench_phonons.json.gz --target 'last phdos peak'",
    "md17_ethanol_ccsdt/ethanol_ccsd_t-train.npz",
    f"mlearn/Cu_test.xyz {STRESS}-kbar:xx-yy-zz-xy-xz-yz",
    f"mlearn/Cu_train.xyz {MLEARN}",
    f"mlearn/Li_test.xyz {STRESS}vasp",
    f"mlearn/Li_train.xyz {STRESS}vasp",
    f"mlearn/Ni_test.xyz {STRESS}-kbar:xx-yy-zz-xy-xz-yz",
    f"mlearn/Ni_train.xyz {MLEARN}",
    f"mlearn/Si_test.xyz {STRESS}vasp",
    f"mlearn/Si_train.xyz {STRESS}vasp",
    "moleculenet/esol_rdkit_conformers.npz --target y",
    "moleculenet/lipo_rdkit_conformers.npz --target y --on-bad skip",
    f"nbmotaw/train.xyz {MLEARN},stress=stress_as_published --units stress=vasp",
    "perov5/perov5_all_structures_jarvis.json.zip",
    "perov5/test.csv --target heat_ref,dir_gap",
    "perov5/val.csv --target heat_ref,dir_gap",
    "qm7/qm7.xyz --target hof_pbe0_kcal_mol,hof_dftb3_kcal_mol",
]  # fmt: skip
SMILES = [
    "moleculenet/delaney-processed.csv --target 'measured log solubility in mols per litre' --on-bad skip",
    "moleculenet/qm7_grover.csv --target u0_atom --on-bad skip",
    "moleculenet/BBBP.csv --target p_np --on-bad skip",
    "moleculenet/clintox.csv.gz --target FDA_APPROVED,CT_TOX --on-bad skip",
    "moleculenet/sider.csv.gz --target 'Hepatobiliary disorders' --on-bad skip --max-bad 0.05",
    "moleculenet/Lipophilicity.csv --target exp --on-bad skip",
    f"moleculenet/tox21.csv.gz --target {TOX21} --on-bad skip",
    "moleculenet/qm8_grover.csv --target E1-CC2,E2-CC2,f1-CC2,f2-CC2 --on-bad skip",
    "moleculenet/HIV.csv --target HIV_active --on-bad skip",
]
FIELDS = [
    "neuralop/darcy_train_16.pt --map permeability=x,solution=y,spacing=0.0625+0.0625",
    "neuralop/darcy_test_16.pt --map permeability=x,solution=y,spacing=0.0625+0.0625",
    "neuralop/darcy_test_32.pt --map permeability=x,solution=y,spacing=0.03125+0.03125",
    f"neuralop/burgers_train_16.pt {NEURALOP}",
    f"neuralop/burgers_test_16.pt {NEURALOP}",
    "pinns/burgers_shock.mat --map solution=usol,viscosity=0.0031831",
    "pinns/AC.mat --map solution=uu",
    "pinns/KdV.mat --map solution=uu",
    "pinns/KS.mat --map solution=uu",
    "pinns/cylinder_nektar_t0_vorticity.mat --map vorticity=w",
    "pysindy/burgers.mat --map solution=usol,viscosity=0.1",
    "pysindy/kdv.mat --map solution=usol",
    "pysindy/kuramoto_sivishinky.mat --map solution=uu",
    "cylinder_wake_nek5000/cylinder_re100_pod_mesh.npz --map points=pos,velocity=mean_u,vorticity=mean_vort",
    "cylinder_wake_nek5000/cylinder_re100_full_gll.npz --map points=pos,velocity=snapshot_u_t202p3",
    "climate/A1B_north_america.nc",
    "climate/ostia_monthly.nc",
    "lynx_hare/hudson-bay-lynx-hare.csv --map time=Year",
]


def run(words: list[str]) -> tuple[int, str]:
    """Exit code and what the command said."""
    from atomfield.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(words)
    return code, said.getvalue()


def row(command: str, data: Path, folder: Path) -> str:
    """One line of the table."""
    words = shlex.split(command)
    store = folder / "store"
    begun = time.process_time()
    code, said = run(["prepare", str(data / words[0]), *words[1:], "--out", str(store), "--workers", "1"])
    seconds = time.process_time() - begun
    if code == 0:
        code, more = run(["inspect", str(store)])
        said += more
    if code:
        return f"| `{command}` | FAILED ({code}): {said.strip().splitlines()[-1]} |"
    from atomfield.data.inspect import summarize
    from atomfield.data.store import Store

    opened = Store(store)
    return f"| `{command}` | {described(summarize(opened), opened.index)} | {seconds:.1f} |"


def described(found: dict[str, Any], index: dict[str, Any]) -> str:
    """The cells between the command and its seconds."""
    records = found["records"]
    if "field" in found["worlds"]:
        ranges = [f"{n} ({q['min']:.4g} to {q['max']:.4g})" for n, q in found["quantities"].items()]
        nodes = found["nodes"]
        points = str(nodes["max"]) if nodes["min"] == nodes["max"] else f"{nodes['min']} to {nodes['max']}"
        return f"{records} | {index['num_bad_records']} | {found['times']['max']} | {points} | {', '.join(ranges)}"
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[z] for z in index["elements"]]
    named = " ".join(symbols) if len(symbols) <= 10 else f"{symbols[0]} ... {symbols[-1]}"
    held = []
    for name, q in index["quantities"].items():
        notes = [q["unit"] or "-"] + ([str(q["records"])] if q["records"] < records else [])
        held.append(f"{name} ({' '.join(notes)})")
    return f"{records} | {index['num_bad_records']} | {len(symbols)}: {named} | {', '.join(held)}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default="", help="part of the commands")
    parser.add_argument("--no-smiles", action="store_true", help="leave out the tables of SMILES")
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    first = "| command: `atomfield prepare ...` | records | bad |"
    atoms = f"{first} elements | quantities | s |\n| --- | --- | --- | --- | --- | --- |"
    fields = f"{first} times | points | quantities (range) | s |\n| --- | --- | --- | --- | --- | --- | --- |"
    tables = ((atoms, ATOMS if options.no_smiles else [*ATOMS, *SMILES]), (fields, FIELDS))
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="datasets-") as name:
        for number, (head, commands) in enumerate(tables):
            lines.append(f"\n{head}")
            for place, command in enumerate(commands):
                if options.only not in command:
                    continue
                path = options.data / shlex.split(command)[0]
                folder = Path(name) / f"{number}-{place}"
                lines.append(
                    row(command, options.data, folder) if path.exists() else f"| `{command}` | not there |"
                )
                print(lines[-1], flush=True)
                if options.out:
                    options.out.write_text("\n".join(lines) + "\n")
    return any("FAILED" in line for line in lines)


if __name__ == "__main__":
    sys.exit(main())
