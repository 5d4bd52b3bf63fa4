"""Good files of every format, small, made by the libraries that others write them with."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from tests.fuzz.mutate import as_hdf5, as_npz


@dataclass(frozen=True)
class Seed:
    """One good file: its name, bytes, what ``read`` has to be told, and its arrays where it is a container of arrays."""

    name: str
    content: bytes
    map: dict[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] | None = None
    container: Literal["", "npz", "hdf5"] = ""


def water(shift: float = 0.0):
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms("OH2", [[0, 0, 0], [0.96 + shift, 0, 0], [-0.24, 0.93, 0]])
    rng = np.random.default_rng(int(1000 * shift))
    atoms.calc = SinglePointCalculator(atoms, energy=-14.2 + shift, forces=rng.normal(size=(3, 3)))
    return atoms


def salt():
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.rattle(0.05, seed=1)
    stress = np.array([0.01, 0.02, 0.03, 0.001, 0.002, 0.003])
    atoms.calc = SinglePointCalculator(atoms, energy=-7.1, forces=np.ones((2, 3)) * 0.1, stress=stress)
    return atoms


def _ase(atoms, form: str, **options) -> bytes:
    import ase.io

    if form in ("cif", "traj"):
        sink = io.BytesIO()
        ase.io.write(sink, atoms, format=form, **options)
        return sink.getvalue()
    text = io.StringIO()
    ase.io.write(text, atoms, format=form, **options)
    return text.getvalue().encode()


def _rdkit(smiles: str, name: str) -> str:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=7)
    molecule.SetProp("_Name", name)
    return Chem.MolToMolBlock(molecule)


def _frames() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    z = np.array([8, 1, 1])
    base = water().positions
    return {
        "R": base + 0.02 * rng.normal(size=(4, 3, 3)),
        "z": z,
        "E": rng.normal(size=(4, 1)) - 14,
        "F": rng.normal(size=(4, 3, 3)),
    }


def _grid() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x": np.linspace(0, 1, 6),
        "y": np.linspace(0, 1, 5),
        "time": np.arange(3) * 0.1,
        "velocity": rng.normal(size=(3, 6, 5, 2)),
        "pressure": rng.normal(size=(3, 6, 5)),
    }


def _netcdf(folder: Path) -> bytes:
    import netCDF4

    path = folder / "seed.nc"
    with netCDF4.Dataset(path, "w") as data:
        for name, size in (("time", 3), ("x", 6), ("y", 5)):
            data.createDimension(name, size)
            data.createVariable(name, "f8", (name,))[:] = np.arange(size) * 0.1
        for name, values in (("pressure", 0.0), ("temperature", 300.0)):
            variable = data.createVariable(name, "f4", ("time", "x", "y"))
            variable[:] = np.random.default_rng(0).normal(size=(3, 6, 5)) + values
            variable.units = "Pa" if name == "pressure" else "K"
    return path.read_bytes()


def _mesh(folder: Path, suffix: str, **options) -> bytes:
    import meshio

    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.5, 0.4, 0]], dtype=float)
    cells = [("triangle", np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]]))]
    rng = np.random.default_rng(0)
    mesh = meshio.Mesh(
        points, cells, point_data={"pressure": rng.normal(size=5), "velocity": rng.normal(size=(5, 3))}
    )
    path = folder / f"seed{suffix}"
    meshio.write(path, mesh, **options)
    return path.read_bytes()


def seeds(folder: Path) -> list[Seed]:
    """All seeds; ``folder`` is for libraries that only write to disk."""
    from pymatgen.core import Lattice, Structure

    frames, grid = _frames(), _grid()
    crystal = Structure(
        Lattice.from_parameters(4, 5, 6, 80, 95, 110), ["Si", "O"], [[0, 0, 0], [0.4, 0.5, 0.6]]
    )
    extxyz = _ase([water(), water(0.05), salt()], "extxyz")
    sdf = "".join(
        f"{_rdkit(s, s)}> <logP>\n{v}\n\n> <energy>\n{-v}\n\n$$$$\n"
        for s, v in (("CCO", 0.1), ("c1ccccc1O", 1.5))
    )
    matbench = {
        "columns": ["structure", "gap"],
        "index": [0, 1],
        "data": [[crystal.as_dict(), 1.1], [crystal.as_dict(), 0.2]],
    }
    found = [
        Seed("frames.extxyz", extxyz),
        Seed("frames.xyz.gz", gzip.compress(extxyz, mtime=0)),
        Seed("plain.xyz", _ase(water(), "xyz")),
        Seed(
            "table.csv", b"smiles,logS,id\nCCO,-0.77,a\nc1ccccc1,-1.64,b\nCC(=O)O,1.22,c\n", targets=("logS",)
        ),
        Seed("table.tsv", b"name\tSMILES\ty\nx1\tCCO\t1\nx2\t[NH4+].[Cl-]\t0\n", targets=("y",)),
        Seed("list.smi", b"CCO ethanol\nC1CC1 ring\nN#N nitrogen\n"),
        Seed("molecules.sdf", sdf.encode(), targets=("logP",)),
        Seed("one.mol", _rdkit("CC=O", "acetaldehyde").encode()),
        Seed("cell.cif", crystal.to(fmt="cif").encode()),
        Seed("ase.cif", _ase(salt(), "cif")),
        Seed("POSCAR", crystal.to(fmt="poscar").encode()),
        Seed("direct.vasp", _ase(salt(), "vasp", direct=True)),
        Seed("one.json", json.dumps(crystal.as_dict()).encode()),
        Seed("matbench.json", json.dumps(matbench).encode(), targets=("gap",)),
        Seed("jarvis.json", json.dumps([_jarvis(), _jarvis()]).encode(), targets=("Tc",)),
        Seed("grid.npz", as_npz(grid), arrays=grid, container="npz"),
        Seed("grid.h5", as_hdf5(grid), arrays=grid, container="hdf5"),
        Seed("grid.nc", _netcdf(folder)),
        Seed("mesh.vtu", _mesh(folder, ".vtu", binary=False)),
        Seed("binary.vtu", _mesh(folder, ".vtu")),
        Seed("mesh.vtk", _mesh(folder, ".vtk", binary=False)),
        Seed("md17.npz", as_npz(frames), arrays=frames, container="npz", units={"energy": "kcal/mol"}),
        Seed("frames.h5", as_hdf5(_spice()), arrays=_spice(), container="hdf5"),
        Seed("mesh.xdmf", _xdmf()),
        Seed("mesh.msh", _mesh(folder, ".msh", file_format="gmsh22", binary=True)),
        Seed("water.mol2", _MOL2),
        Seed("peptide.pdb", _pdb()),
        Seed("frames.traj", _ase([water(), salt()], "traj")),
        Seed("vasprun.xml", _vasprun()),
    ]
    return found + _tables(folder) + _databases(folder)


def _jarvis() -> dict[str, object]:
    lattice = [[4.0, 0, 0], [0, 4.1, 0], [0, 0, 4.2]]
    atoms = {
        "lattice_mat": lattice,
        "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "elements": ["Na", "Cl"],
        "abc": [4.0, 4.1, 4.2],
        "angles": [90, 90, 90],
        "cartesian": False,
        "props": ["", ""],
    }
    return {"jid": "JVASP-1", "atoms": atoms, "Tc": 1.5}


def _spice() -> dict[str, np.ndarray]:
    frames = _frames()
    return {
        "water/atomic_numbers": frames["z"],
        "water/conformations": frames["R"] / 0.529177,
        "water/dft_total_energy": frames["E"][:, 0] / 27.2114,
        "water/dft_total_gradient": frames["F"] / 51.4221,
    }


def _tables(folder: Path) -> list[Seed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"smiles": ["CCO", "CCN", "C1CC1"], "logS": [0.1, 0.2, 0.3]})
    pq.write_table(table, folder / "seed.parquet")
    with pa.ipc.new_file(str(folder / "seed.arrow"), table.schema) as writer:
        writer.write_table(table)
    return [
        Seed("table.parquet", (folder / "seed.parquet").read_bytes(), targets=("logS",)),
        Seed("table.arrow", (folder / "seed.arrow").read_bytes(), targets=("logS",)),
    ]


def _databases(folder: Path) -> list[Seed]:
    from ase.db import connect

    path = folder / "seed.db"
    path.unlink(missing_ok=True)
    with connect(path) as db:
        for atoms in (water(), salt()):
            db.write(atoms)
    return [Seed("structures.db", path.read_bytes())]


def _pdb() -> bytes:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSequence("GA"))
    AllChem.EmbedMolecule(molecule, randomSeed=7)
    return Chem.MolToPDBBlock(molecule).encode()


def _vasprun() -> bytes:
    rows = lambda tag, values: "".join(f"<{tag}>{' '.join(map(str, v))}</{tag}>" for v in values)  # noqa: E731
    cell = rows("v", [[4, 0, 0], [0, 4, 0], [0, 0, 4]])
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.0</i></generator>
 <atominfo><atoms>2</atoms><types>2</types>
  <array name="atoms"><set><rc><c>Na</c><c>1</c></rc><rc><c>Cl</c><c>2</c></rc></set></array></atominfo>
 <calculation>
  <scstep><energy><i name="e_fr_energy">-7.1</i><i name="e_wo_entrp">-7.1</i><i name="e_0_energy">-7.1</i></energy></scstep>
  <structure><crystal><varray name="basis">{cell}</varray></crystal>
   <varray name="positions">{rows("v", [[0, 0, 0], [0.5, 0.5, 0.51]])}</varray></structure>
  <varray name="forces">{rows("v", [[0, 0, 0.1], [0, 0, -0.1]])}</varray>
  <varray name="stress">{rows("v", [[1, 0, 0], [0, 2, 0], [0, 0, 3]])}</varray>
  <energy><i name="e_fr_energy">-7.1</i><i name="e_wo_entrp">-7.1</i><i name="e_0_energy">-7.1</i></energy>
 </calculation>
</modeling>
""".encode()


def _xdmf() -> bytes:
    return b"""<?xml version="1.0"?>
<Xdmf Version="3.0"><Domain><Grid Name="mesh" GridType="Uniform">
<Geometry GeometryType="XYZ"><DataItem DataType="Float" Dimensions="4 3" Format="XML" Precision="8">
0 0 0 1 0 0 0 1 0 1 1 0</DataItem></Geometry>
<Topology TopologyType="Triangle" NumberOfElements="2"><DataItem DataType="Int" Dimensions="2 3" Format="XML" Precision="8">
0 1 2 1 3 2</DataItem></Topology>
<Attribute Name="pressure" AttributeType="Scalar" Center="Node">
<DataItem DataType="Float" Dimensions="4" Format="XML" Precision="8">1.0 2.0 3.0 4.0</DataItem></Attribute>
</Grid></Domain></Xdmf>
"""


_MOL2 = b"""@<TRIPOS>MOLECULE
water
 3 2 0 0 0
SMALL
NO_CHARGES

@<TRIPOS>ATOM
      1 O1          0.0000    0.0000    0.0000 O.3     1  UNL1        0.0000
      2 H1          0.9600    0.0000    0.0000 H       1  UNL1        0.0000
      3 H2         -0.2400    0.9300    0.0000 H       1  UNL1        0.0000
@<TRIPOS>BOND
     1     1     2    1
     2     1     3    1
"""
