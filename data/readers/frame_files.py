"""npz, HDF5 and ``.mat`` files of molecules and crystals: whose layout it is, and the units that go with it.

========================  =====================================================  ==========================================
layout                    told by                                                units (unless the file or ``--units`` says)
========================  =====================================================  ==========================================
sGDML, MD17               ``R``, ``z``, ``E``, ``F``                             kcal/mol, angstrom, or ``e_unit``, ``r_unit``
revised MD17              ``coords``, ``nuclear_charges``, ``energies``          kcal/mol, angstrom
ANI-1, ANI-1ccx, ANI-2x   ``coordinates``, ``species``, ``energies``             hartree, angstrom
ANI-1x                    ``coordinates``, ``atomic_numbers``, ``*.energy``      hartree, angstrom
SPICE                     ``conformations``, ``dft_total_energy``, ``.._gradient``  hartree, bohr; forces are -gradient
QM7                       ``R``, ``Z``, ``T`` in a ``.mat``                      bohr; ``T``: atomization energies, kcal/mol
========================  =====================================================  ==========================================

References: http://www.sgdml.org (format of npz); Christensen and von Lilienfeld 2020 (rMD17, doi:10.6084/m9.figshare.12672038);
Smith et al. 2017 (ANI-1, doi:10.1038/sdata.2017.193) and 2020 (ANI-1x, doi:10.1038/s41597-020-0473-z); Eastman et al. 2023
(SPICE, doi:10.1038/s41597-022-01882-6); Rupp et al. 2012 (QM7, http://quantum-machine.org/datasets).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.quantities import VOCABULARY

from .conventions import assumed, declared_unit, undeclared
from .frames import NUMBERS, POSITIONS, Layout, layout_of, read_frames
from .labels import logger, missing_target, warn_unread
from .options import Outcomes, ReadOptions

_SERIES = {"energies": "energy", "Energies": "energy", "E": "energy", "F": "forces", "D": "dipole"}
_LOOKED_AT = 8
_HARTREE = {"energy": "hartree", "forces": "hartree/angstrom"}


@dataclass(frozen=True)
class Convention:
    """Whose layout: ``keys`` our name -> the file's, ``units`` our name -> unit."""

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


def read_array_frames(arrays: Mapping[str, Any], path: Path, options: ReadOptions) -> Outcomes:
    """All structures of the arrays of one file; ``layout_of(arrays, options)`` is not None."""
    yield from _read([("", lambda: arrays)], path, options)


def hdf5_frames(file: Any, options: ReadOptions) -> list[str]:
    """Names of the groups that hold structures, in the order of the file; empty if none does."""
    import h5py

    found: list[str] = []

    def look(name: str, group: Any) -> None:
        if not isinstance(group, h5py.Group):
            return
        wanted = {*POSITIONS, *NUMBERS, *options.map.values()}
        arrays = {k: v for k in group if k in wanted for v in [group.get(k)] if isinstance(v, h5py.Dataset)}
        if arrays and layout_of(arrays, options) is not None:
            found.append(name)

    look("", file)
    file.visititems(look)
    return found


def read_hdf5_frames(file: Any, names: list[str], path: Path, options: ReadOptions) -> Outcomes:
    """All structures of the groups, one group after the other; only one group is open at a time."""
    import h5py

    def arrays_of(name: str) -> dict[str, Any]:
        group = file[name] if name else file
        return {k: v for k in group for v in [group.get(k)] if isinstance(v, h5py.Dataset)}

    yield from _read([(name, partial(arrays_of, name)) for name in names], path, options)


def read_mat_frames(arrays: Mapping[str, Any], path: Path, options: ReadOptions) -> Outcomes:
    """QM7's ``.mat``: ``T`` is called ``heat_of_atomization``; Coulomb matrices ``X`` and folds ``P`` are not read."""
    own = dict(arrays)
    if "T" in own and "energy" not in options.map:
        own["heat_of_atomization"] = np.asarray(own.pop("T")).reshape(-1)
        own = {k: v for k, v in own.items() if k not in ("X", "P")}
        logger.warning(
            "%s: T is read as heat_of_atomization in kcal/mol (QM7 convention; --target heat_of_atomization); Coulomb matrices X "
            "and folds P are not read", path,
        )  # fmt: skip
        options = assumed(options, path, {"positions": "bohr"}, "QM7 convention")
    yield from _read([("", lambda: own)], path, options)


Groups = list[tuple[str, Callable[[], Mapping[str, Any]]]]
"""Name of a part of the file, and what gives its arrays."""


def _read(groups: Groups, path: Path, options: ReadOptions) -> Outcomes:
    """The layout, its convention and the labels are told by the first groups; each group is then read by itself."""
    first = [arrays() for _, arrays in groups[:_LOOKED_AT]]
    keys = list(dict.fromkeys(k for arrays in first for k in arrays))
    convention = _convention(first[0], keys, options, path)
    said = assumed(options, path, convention.units, convention.name, convention.keys)
    said = _say_declared(said, options, keys, first, path)
    missing = [t for t in said.targets if said.key(t) not in keys]
    if missing and len(missing) == len(said.targets):
        raise InputError(missing_target(missing, keys, said), str(path))
    layout = layout_of(first[0], said)
    used = layout.keys if layout else set()
    read = [n for n in VOCABULARY if said.key(n) in keys]
    undeclared(said, [n for n in read if _taken(n, said)], path)
    warn_unread([k for k in keys if k not in used], said, str(path), read)
    _say_others(keys, used, said, path)
    count = 0
    for part, arrays_of in groups:
        arrays = arrays_of()
        layout = layout_of(arrays, said)
        if layout is None:
            raise InputError(
                f"group {part!r} has no positions and numbers as the groups before it have", str(path)
            )
        for outcome in read_frames(arrays, layout, said, path, first=count, part=part):
            count += 1
            yield outcome


def _taken(name: str, options: ReadOptions) -> bool:
    return name in options.map or name in options.targets or name in VOCABULARY[name].trusted


def _convention(arrays: Mapping[str, Any], keys: list[str], options: ReadOptions, path: Path) -> Convention:
    """Told by the names of the arrays, see the table above."""
    have = set(keys)
    by_level = [k for k in keys if k.endswith((".energy", ".energies"))]
    if "coordinates" in have and by_level:
        return _ani1x(by_level, keys, options, path)
    if "conformations" in have and "dft_total_energy" in have:
        own = {"energy": "dft_total_energy", "forces": "dft_total_gradient", "dipole": "scf_dipole"}
        units = {"energy": "hartree", "forces": "-hartree/bohr", "positions": "bohr", "dipole": "au"}
        own = {n: k for n, k in own.items() if k in have}
        return Convention(
            "SPICE convention", own, {n: u for n, u in units.items() if n in own or n == "positions"}
        )
    short = _short(keys, options, path)
    if "coordinates" in have and "species" in have and "energies" in have:
        return Convention("ANI convention", short, {n: u for n, u in _HARTREE.items() if n in short})
    md17 = {"R", "E"} <= have and have & {"z", "Z"}
    if md17 or {"coords", "nuclear_charges", "energies"} <= have:
        return Convention("MD17/sGDML convention", short, _md17_units(arrays, short, path))
    return Convention("the array of that meaning", short)


def _short(keys: list[str], options: ReadOptions, path: Path) -> dict[str, str]:
    """Quantity -> key by the usual short names. Two keys for one quantity are an error."""
    out: dict[str, str] = {}
    for name in ("energy", "forces", "dipole"):
        held = [k for k in keys if k == name or _SERIES.get(k) == name]
        if len(held) > 1 and name not in options.map:
            raise InputError(
                f"{' and '.join(map(repr, held))} may both be {name}; say which: --map {name}={held[0]}",
                str(path),
            )
        if held:
            out[name] = held[0]
    return out


def _md17_units(arrays: Mapping[str, Any], own: dict[str, str], path: Path) -> dict[str, str]:
    energy = declared_unit("energy", _text(arrays, "e_unit") or "kcal/mol", "e_unit", path)
    length = declared_unit("positions", _text(arrays, "r_unit") or "angstrom", "r_unit", path)
    units = {"energy": energy, "forces": f"{energy}/{length}", "positions": length}
    return {n: u for n, u in units.items() if n in own or n == "positions"}


def _text(arrays: Mapping[str, Any], key: str) -> str:
    if key not in arrays:
        return ""
    value = np.asarray(arrays[key][()]).reshape(-1)
    item = value[0] if value.size else ""
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def _ani1x(energies: list[str], keys: list[str], options: ReadOptions, path: Path) -> Convention:
    """Several levels of theory lie side by side: one must be chosen."""
    chosen = options.map.get("energy") or (energies[0] if len(energies) == 1 else "")
    if not chosen and "forces" in options.map:
        chosen = options.map["forces"].rsplit(".", 1)[0] + ".energy"
    if chosen not in energies:
        level = next((k for k in energies if k.rsplit(".", 1)[0] + ".forces" in keys), energies[0]).rsplit(
            ".", 1
        )[0]
        raise InputError(
            f"energies of {len(energies)} levels of theory: {', '.join(energies)}; choose one, e.g. --map "
            f"energy={level}.energy" + (f",forces={level}.forces" if f"{level}.forces" in keys else ""),
            str(path),
        )
    level = chosen.rsplit(".", 1)[0]
    own = {n: f"{level}.{n}" for n in ("energy", "forces", "dipole") if f"{level}.{n}" in keys}
    return Convention(
        f"ANI-1x convention, level {level}", own, {n: u for n, u in _HARTREE.items() if n in own}
    )


def _say_declared(
    said: ReadOptions, options: ReadOptions, keys: list[str], first: list[Mapping[str, Any]], path: Path
) -> ReadOptions:
    """Units from the attributes ``units`` or ``unit`` of HDF5 arrays, which go before a convention and after ``--units``."""
    arrays = {k: v for group in reversed(first) for k, v in group.items()}
    layout = layout_of(arrays, said)
    declared: dict[str, str] = {}
    for name in ("positions", *VOCABULARY):
        key = layout.positions if name == "positions" and layout else said.key(name)
        attributes = getattr(arrays.get(key), "attrs", {})
        text = attributes.get("units", attributes.get("unit"))
        if text is None or name in options.units or key not in keys:
            continue
        text = text.decode() if isinstance(text, bytes) else str(text)
        unit = declared_unit(name, text, key, path)
        sign = "-" if name == "forces" and "gradient" in key.lower() and unit[0] != "-" else ""
        declared[name] = sign + unit
    if all(said.units.get(name) == unit for name, unit in declared.items()):
        return said
    plain = replace(said, units={k: v for k, v in said.units.items() if k not in declared})
    return assumed(plain, path, declared, "declared in the file")


def _say_others(keys: list[str], used: set[str], options: ReadOptions, path: Path) -> None:
    """Which arrays nobody asked for: not read, and not silently so."""
    taken = (
        used | {options.key(n) for n in (*VOCABULARY, *options.targets)} | {"charge", "spin", "multiplicity"}
    )
    others = [k for k in keys if k not in taken and k not in options.map.values()]
    if others:
        logger.info(
            "%s: arrays not read: %s; name those to be read with --target", path, ", ".join(others[:20])
        )


def is_frames(arrays: Mapping[str, Any], options: ReadOptions) -> bool:
    """Whether the arrays are structures of atoms."""
    layout: Layout | None = layout_of(arrays, options)
    return layout is not None
