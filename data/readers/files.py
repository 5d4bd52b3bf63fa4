"""Which reader reads what: by suffix, for a file or for all files of a folder."""

from __future__ import annotations

from pathlib import Path

from atomfield.data.errors import InputError

from .options import Outcomes, ReadOptions
from .text import plain_suffix

SUFFIXES: dict[str, str] = {
    ".xyz": "extxyz", ".extxyz": "extxyz",
    ".xml": "vasp", ".outcar": "vasp",
    ".db": "ase_db", ".traj": "traj", ".aselmdb": "aselmdb",
    ".smi": "table", ".smiles": "table", ".csv": "table", ".tsv": "table",
    ".parquet": "columns", ".pq": "columns", ".arrow": "columns", ".feather": "columns",
    ".mol2": "mol2", ".pdb": "macromolecule", ".ent": "macromolecule", ".mmcif": "macromolecule",
    ".sdf": "sdf", ".mol": "sdf", ".sd": "sdf",
    ".cif": "structure", ".vasp": "structure", ".poscar": "structure",
    ".json": "structure_json",
    ".npz": "arrays", ".h5": "arrays", ".hdf5": "arrays", ".nc": "netcdf", ".nc4": "netcdf",
    ".pt": "tensors", ".pth": "tensors", ".mat": "matlab", ".zarr": "zarr",
    ".vtu": "vtk", ".vtk": "vtk", ".pvd": "vtk", ".xdmf": "vtk", ".xmf": "vtk", ".msh": "vtk", ".exo": "vtk",
}  # fmt: skip
"""Suffix (compression taken off) -> reader."""


UNFORESEEN = "the file cannot be read"
"""How a message begins where a library failed in a way that no reader expects."""


def kind_of(path: Path) -> str | None:
    """The reader of a file, by name; None if there is none."""
    if path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "structure"
    if path.name.upper().startswith("OUTCAR"):
        return "vasp"
    return SUFFIXES.get(plain_suffix(path))


def outcomes_of(path: Path, options: ReadOptions) -> Outcomes:
    """Graphs and bad records of a file or folder. Raises ``InputError`` if there is nothing to read."""
    if path.is_dir() and kind_of(path) != "zarr":
        from .folder import read_folder

        return read_folder(path, options)
    if not path.exists():
        near = _near(path)
        raise InputError(f"no such file or folder{near}", str(path))
    return read_file(path, options)


def read_file(path: Path, options: ReadOptions) -> Outcomes:
    """Graphs and bad records of one file.

    What a library throws at a file that is broken inside becomes an ``InputError`` too, with the library's own words.
    """
    try:
        yield from _read_as_its_kind(path, options)
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"{UNFORESEEN} ({type(error).__name__}: {reason}); is it whole, and what its name says?",
            str(path),
        ) from error


def _read_as_its_kind(path: Path, options: ReadOptions) -> Outcomes:
    match kind_of(path):
        case "extxyz":
            from .extxyz import read_extxyz

            return read_extxyz(path, options)
        case "table" if "time" in options.map:
            from .series import read_series

            return read_series(path, options)
        case "table":
            from .table import read_table

            return read_table(path, options)
        case "sdf":
            from .sdf import read_sdf

            return read_sdf(path, options)
        case "columns":
            from .columns import read_columns

            return read_columns(path, options)
        case "mol2":
            from .mol2 import read_mol2

            return read_mol2(path, options)
        case "macromolecule":
            from .macromolecule import read_macromolecule

            return read_macromolecule(path, options)
        case "ase_db":
            from .ase_files import read_ase_db

            return read_ase_db(path, options)
        case "traj":
            from .ase_files import read_traj

            return read_traj(path, options)
        case "aselmdb":
            from .ase_files import read_aselmdb

            return read_aselmdb(path, options)
        case "vasp":
            from .vasp import read_vasp

            return read_vasp(path, options)
        case "structure":
            from .structures import read_structures

            return read_structures(path, options)
        case "structure_json":
            from .structure_json import read_structure_json

            return read_structure_json(path, options)
        case "arrays":
            from .arrays import read_arrays

            return read_arrays(path, options)
        case "netcdf":
            from .netcdf import read_netcdf

            return read_netcdf(path, options)
        case "vtk":
            from .vtk import read_vtk

            return read_vtk([path], options)
        case "tensors":
            from .tensors import read_tensors

            return read_tensors(path, options)
        case "matlab":
            from .matlab import read_matlab

            return read_matlab(path, options)
        case "zarr":
            from .netcdf import read_netcdf

            return read_netcdf(path, options)
    if plain_suffix(path) in (".pkl", ".pickle", ".lmdb"):
        raise InputError(
            "is a pickle, which can run code when opened; convert it to npz or HDF5 first", str(path)
        )
    if plain_suffix(path) in (".xlsx", ".xls", ".ods"):
        raise InputError("is a workbook; save its sheet as .csv", str(path))
    raise InputError(
        f"suffix {path.suffix!r} is not known; supported: {' '.join(SUFFIXES)}, POSCAR, CONTCAR, OUTCAR",
        str(path),
    )


def _near(path: Path) -> str:
    import difflib

    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder} either"
    names = [p.name for p in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {folder / near[0]}?" if near else ""
