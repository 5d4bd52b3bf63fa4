"""From the keys of a file to quantities and conditions: mapping, units, shapes, and what to say when a key is missing."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from atomfield.data.errors import InputError, NoLabelError, Provenance
from atomfield.data.quantities import CONDITIONS, FIELD_INPUTS, PER_ATOM, VOCABULARY, Quantity, suggestions
from atomfield.data.units import component_order, factor, split_order

from .options import ReadOptions

logger = logging.getLogger("atomfield")

_RIVALS = {
    "energy": ("REF_energy", "dft_energy", "total_energy", "Energy"),
    "forces": ("REF_forces", "dft_forces", "force", "Forces"),
    "stress": ("REF_stress", "dft_stress"),
    "dipole": ("REF_dipole", "dipole_moment"),
}
"""Keys that mean the very quantity. Not ``free_energy``, which electrons at a temperature lower, nor ``U0``, which has the
zero-point energy."""
_VIRIALS = ("virial", "virials", "ref_virial", "ref_virials", "dft_virial")
"""Keys of minus the stress times the volume, eV (small letters)."""
SYMMETRIC = ("0e+2e", "2x0e+2x2e+4e")
"""Irreps whose values are symmetric matrices."""
BOOLEANS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
MISSING = {"", "nan", "na", "n/a", "none", "null", "-", "?"}


@dataclass
class Labels:
    """What one record is labelled with."""

    quantities: dict[str, torch.Tensor] = field(default_factory=dict)
    properties: dict[str, Quantity] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)


def labels_of(
    values: Mapping[str, Any],
    options: ReadOptions,
    num_nodes: int,
    where: Provenance,
    volume: float | None = None,
) -> Labels:
    """Everything in ``values`` that is asked for or that the vocabulary trusts, of atoms. A column that nobody asked for and that
    has the name of a vector or of a quantity per atom, but one number, is another thing (the length of a dipole) and not read.

    A target without a value in this record is left out if another target has one; if none has, raises ``NoLabelError`` that
    lists the keys that are there, and ``InputError`` when a mapped key is not there at all. ``volume`` of the cell (angstrom^3)
    is needed to turn a virial into a stress.
    """
    labels = Labels()
    rivals: dict[str, tuple[str, str]] = {}
    for name in _wanted(values, options):
        key = options.key(name)
        if key not in values:
            continue
        q = options.definition(name)
        if name in options.classes:
            number = _class_of(values[key], options.classes[name], key, where)
        else:
            value = values[key]
            if q.components > 1 and isinstance(value, str) and name not in VOCABULARY:
                value = re.split(r"[\s,;]+", value.strip().strip("[]()").strip()) if value.strip() else None
            gaps = name not in VOCABULARY and (
                q.support == "node" or not q.shape
            )  # an array may turn out to be of atoms
            number = _array(value, name, key, where, gaps)
        if number is None:
            continue
        if (
            number.ndim == 0
            and (q.shape or q.support == "node")
            and num_nodes > 1
            and not _asked(name, options)
        ):
            _say_other(where.file, key, name)
            continue
        if not options.said(name) and (rival := _rival(name, key, number, values)):
            rivals[name] = (key, rival)
        unit = options.units.get(name)
        if name == "stress" and key.lower() in _VIRIALS and not unit:
            raise InputError(
                f"{key!r} is read as a stress and no unit is given, expected --units stress=virial (eV, -stress x volume), "
                "stress=-virial (its negative) or, for a stress by this name, stress=eV/angstrom^3",
                where,
            )
        plain, order = split_order(unit) if unit else ("", "")
        number = _shaped(number, q, num_nodes, key, where, order)
        if unit:
            number = number * factor(name, unit)
            if name == "stress" and plain.lstrip("-").lower() == "virial":
                if not volume:
                    raise InputError(
                        "a virial is given, but the record has no periodic cell with a volume", where
                    )
                number = number / volume
        labels.quantities[name] = torch.from_numpy(np.array(number, dtype=np.float64))
        if name not in VOCABULARY:
            labels.properties[name] = q
    if rivals:
        raise InputError(_which(rivals, values), where)
    if options.targets and not any(t in labels.quantities for t in options.targets):
        raise no_label(values, options, where)
    _conditions(values, options, labels, where)
    return labels


def _rival(name: str, own: str, number: np.ndarray, values: Mapping[str, Any]) -> str:
    """Another key of the record that means the quantity and says something else; empty if there is none."""
    others = (k for k in (name, *_RIVALS.get(name, ())) if k != own and k in values)
    return next((key for key in others if differ(number, values[key])), "")


def _which(rivals: Mapping[str, tuple[str, str]], values: Mapping[str, Any]) -> str:
    name, (own, other) = next(iter(rivals.items()))
    a, b = (_short(values[key]) for key in (own, other))
    first, second = (",".join(f"{n}={pair[k]}" for n, pair in rivals.items()) for k in (1, 0))
    more = f" (and so do those of {', '.join(list(rivals)[1:])})" if len(rivals) > 1 else ""
    return f"{own!r} and {other!r} are both {name} and differ: {a} and {b}{more}; say which: --map {first} or --map {second}"


def differ(first: Any, second: Any) -> bool:
    """Whether both are numbers of one shape that are not equal to six digits."""
    try:
        a, b = (np.asarray(x, dtype=np.float64) for x in (first, second))
    except (TypeError, ValueError):
        return False
    return a.shape == b.shape and not np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)


def _short(value: Any) -> str:
    array = np.asarray(value, dtype=np.float64)
    return f"{float(array):.8g}" if array.ndim == 0 else f"{array.reshape(-1)[0]:.6g}, ..."


def _asked(name: str, options: ReadOptions) -> bool:
    return name in options.targets or name in options.map


@lru_cache(maxsize=1000)
def _say_other(file: str, key: str, name: str) -> None:
    logger.warning(
        "%s: %r is one number and not the %s of the vocabulary, so it is not read; if wanted: --target NAME --map NAME=%s",
        file, key, name, key,
    )  # fmt: skip


def _wanted(values: Mapping[str, Any], options: ReadOptions) -> list[str]:
    """Names to be read. A density or a temperature beside atoms is a property of somebody's, not the state of a field."""
    mapped = [n for n in options.map if n in VOCABULARY]
    taken = set(options.map.values())
    trusted = [
        q.name
        for q in VOCABULARY.values()
        if q.name in values and q.name in q.trusted and q.name not in taken
        and q.name not in options.map and q.name not in FIELD_INPUTS
    ]  # fmt: skip
    return list(dict.fromkeys([*options.targets, *mapped, *trusted]))


def _class_of(value: Any, classes: tuple[str, ...], key: str, where: Provenance) -> np.ndarray | None:
    """The number of a class by its name, or None where the cell of a table is empty."""
    text = str(value).strip()
    if text.lower() in MISSING:
        return None
    if text not in classes and re.fullmatch(r"-?\d+\.0*", text):
        text = text.split(".")[0]  # a column of whole numbers with gaps is read as 1.0
    if text not in classes:
        raise InputError(f"{key!r} is {text[:40]!r}, expected one of the classes {', '.join(classes)}", where)
    return np.array(float(classes.index(text)))


def _array(value: Any, name: str, key: str, where: Provenance, gaps: bool = False) -> np.ndarray | None:
    """Numbers, or None where the cell of a table is empty. ``gaps``: NaN is what an atom has no value of."""
    if value is None:
        return None
    if isinstance(value, (str, bytes, bool, np.bool_)):
        text = str(value).strip()
        if text.lower() in MISSING:
            return None
        if text.lower() in BOOLEANS:
            return np.array(BOOLEANS[text.lower()])
        try:
            value = float(text)
        except ValueError:
            hint = ""
            if text[:1].isalpha() and name not in VOCABULARY and name not in CONDITIONS:
                hint = (
                    "; a finetuning takes names as classes: of few kinds from the file itself, others by --set "
                    f"classes.{name}=[a,b,c]"
                )
            raise InputError(
                f"{key!r} is {text[:40]!r}, expected a number, true or false (or nothing){hint}", where
            ) from None
        if not np.isfinite(value):
            raise InputError(
                f"{key!r} is {text}, expected a finite number; leave the cell empty if unknown", where
            )
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{key!r} is {str(value)[:40]!r}, expected numbers", where) from None
    if array.ndim == 0 and np.isnan(array):
        return None
    if gaps and np.isnan(array).all():
        return None
    bad = np.argwhere(np.isinf(array) if gaps else ~np.isfinite(array))
    if len(bad):
        place = f" of atom {bad[0][0]}" if array.ndim else ""
        raise InputError(f"{key!r} has a value{place} that is not finite, expected numbers", where)
    return array


def full_tensor(six: np.ndarray, order: str = "") -> np.ndarray:
    """``[3, 3]`` of the six components of a symmetric tensor; ``order`` as in :mod:`atomfield.data.units`, default ASE's."""
    full = np.zeros((3, 3))
    for value, (i, j) in zip(six.reshape(-1), component_order(order), strict=True):
        full[i, j] = full[j, i] = value
    return full


@lru_cache(maxsize=1000)
def _say_order(file: str, key: str, name: str) -> None:
    logger.warning(
        "%s: the six numbers of %r are read in ASE's order xx, yy, zz, yz, xz, xy; another (VASP's, say) by --units "
        "%s=UNIT:xx-yy-zz-xy-yz-zx", file, key, name,
    )  # fmt: skip


def _shaped(
    array: np.ndarray, q: Quantity, num_nodes: int, key: str, where: Provenance, order: str
) -> np.ndarray:
    expected = (num_nodes, *q.shape) if q.support == "node" else q.shape
    if q.irreps == "0e+2e" and q.support == "graph" and array.size == 6:
        if not order:
            _say_order(where.file, key, q.name)
        array = full_tensor(array, order)
    if array.size != int(np.prod(expected)) or (
        q.support == "node" and array.ndim and array.shape[0] != num_nodes
    ):
        raise InputError(
            f"{key!r} has shape {list(array.shape)}, expected {list(expected)} for {q.name}"
            f"{_declare(array, q, num_nodes) or _own_name(array, q, key)}",
            where,
        )
    array = array.reshape(expected)
    if q.irreps in SYMMETRIC:
        turned = np.swapaxes(array, -1, -2)
        skew = np.abs(array - turned).max()
        if skew > 1e-2 * max(float(np.abs(array).max()), 1e-3):
            raise InputError(
                f"{key!r} is not symmetric (differs by {skew:.3g}), expected a symmetric {q.name}", where
            )
        array = (array + turned) / 2
    return array


def _declare(array: np.ndarray, q: Quantity, num_nodes: int) -> str:
    """What to say where a user's scalar turns out to be more than one number."""
    if q.name in VOCABULARY or q.shape or q.support == "node":
        return ""
    shape, tail = list(array.shape), ""
    if (len(shape) > 1 and shape[0] == num_nodes) or shape == [num_nodes]:
        shape, tail = shape[1:], PER_ATOM
    guess = {(): "0e", (3,): "1o", (3, 3): "0e+2e", (9,): "0e+1e+2e", (6, 6): "2x0e+2x2e+4e"}.get(
        tuple(shape)
    )
    guess = guess or (f"{shape[0]}x0e" if len(shape) == 1 else "")
    return f"; say what it is: --target-irreps {q.name}={guess}{tail}" if guess else ""


def _own_name(array: np.ndarray, q: Quantity, key: str) -> str:
    """What to say where a number per structure has the name of something else."""
    if array.ndim or q.name not in VOCABULARY:
        return ""
    what = (
        "a field"
        if q.name in FIELD_INPUTS
        else "a value per atom"
        if q.support == "node"
        else "a vector or tensor"
    )
    return f"; {q.name} is {what} here: give the number a name of its own, --target my_{q.name} --map my_{q.name}={key}"


def _conditions(values: Mapping[str, Any], options: ReadOptions, labels: Labels, where: Provenance) -> None:
    """``charge`` and ``spin`` (unpaired electrons) are trusted, ``multiplicity`` (2S+1) becomes spin; others by ``map``."""
    for name in CONDITIONS:
        key = options.map.get(name)
        if key is not None and key not in values:
            raise InputError(f"key {key!r} (for {name}) is not in the record; {_held(values)}", where)
        key = key or (name if name in ("charge", "spin") else None)
        number = None if key is None or key not in values else _array(values[key], name, key, where)
        if number is not None and number.ndim == 0:
            if name == "spin":
                _refuse_below(0, float(number), key or name, where)
            labels.conditions[name] = float(number)
    if "multiplicity" in values:
        multiplicity = _array(values["multiplicity"], "spin", "multiplicity", where)
        if multiplicity is not None and multiplicity.ndim == 0:
            _refuse_below(1, float(multiplicity), "multiplicity", where)
            labels.conditions.setdefault("spin", float(multiplicity) - 1.0)


def _refuse_below(least: int, number: float, key: str, where: Provenance) -> None:
    if number < least:
        raise InputError(
            f"{key!r} is {number:g}, expected at least {least}; spin counts unpaired electrons, multiplicity is one more",
            where,
        )


def group_of(values: Mapping[str, Any], options: ReadOptions, where: Provenance) -> str:
    """The group that a record names where ``--map group=KEY`` asks for it, else empty. Raises ``InputError`` for a record without
    the key: records that should stay together would be parted."""
    key = options.map.get("group")
    if key is None:
        return ""
    if key not in values:
        raise InputError(f"key {key!r} (for group) is not in the record; {_held(values)}", where)
    return "" if values[key] is None else str(values[key])


def _held(values: Iterable[str]) -> str:
    keys = [str(k) for k in values]
    return (
        f"keys found: {', '.join(keys[:30])}{' ...' if len(keys) > 30 else ''}"
        if keys
        else "it has no keys at all"
    )


def no_label(values: Iterable[str], options: ReadOptions, where: Provenance) -> NoLabelError:
    """The error of a record that has no label of any target."""
    keys = list(values)
    absent = not any(options.key(t) in keys for t in options.targets)
    return NoLabelError(missing_target(options.targets, keys, options), where, absent)


def missing_target(targets: Iterable[str], keys: Iterable[str], options: ReadOptions) -> str:
    """``target 'energy' is not in the file; keys found: ...; did you mean --map energy=REF_energy?``"""
    keys = [str(k) for k in keys]
    named = []
    hints = []
    for target in targets:
        key = options.key(target)
        named.append(repr(target) if key == target else f"{target!r} (key {key!r})")
        if key in keys:
            continue
        virial = next((k for k in keys if k.lower() in _VIRIALS), "") if target == "stress" else ""
        if virial:
            hints.append(f"--map stress={virial} --units stress=virial")
            continue
        near = [k for k in keys if target in suggestions(k)]
        near += difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
        if near:
            hints.append(f"--map {target}={near[0]}" if target in VOCABULARY else _as_target(near[0]))
    if all(options.key(t) in keys for t in targets):
        return f"target {', '.join(named)} has no value"
    hint = f"; did you mean {' '.join(hints)}?" if hints else ""
    return f"target {', '.join(named)} is not in the file; {_held(keys)}{hint}"


def _as_target(key: str) -> str:
    """The key as it is given to ``--target``, where commas part names."""
    if "," not in key:
        return repr(key)
    written = key.replace(",", "\\,")
    return f"--target '{written}' (a comma within a name is written \\,)"


def _meant(key: str) -> list[str]:
    """Quantities that a key stands for beyond doubt: a synonym, or a name among its words (``dft_energy``)."""
    words = set(re.split(r"[^a-z]+", key.lower()))
    known = [
        n
        for n in suggestions(key)
        if key.lower() in {s.lower() for s in VOCABULARY[n].synonyms if len(s) > 1}
    ]
    return known + [n for n in VOCABULARY if n in words and len(words) <= 3]


def warn_unread(keys: Iterable[str], options: ReadOptions, file: str, read: Iterable[str] = ()) -> None:
    """One line if keys look like quantities of the vocabulary and nobody asked for them."""
    keys = list(keys)
    taken = {*options.map.values(), *(options.key(t) for t in options.targets)}
    have = {*read, *options.map, *options.targets}
    unread: dict[str, str] = {}
    for key in keys:
        if key in VOCABULARY or key in CONDITIONS or key in taken:
            continue
        near = [name for name in _meant(key) if name not in have]
        if near:
            unread.setdefault(near[0], key)
        elif key.lower() in _VIRIALS and "stress" not in {*read, *options.map, *keys, *unread}:
            logger.warning(
                "%s: %r not read; if wanted: --map stress=%s --units stress=virial", file, key, key
            )
    if unread:
        hint = ",".join(f"{name}={key}" for name, key in unread.items())
        logger.warning(
            "%s: %s not read; if wanted: --map %s", file, ", ".join(map(repr, unread.values())), hint
        )


def say_no_label(keys: Iterable[str], options: ReadOptions, file: str, read: Iterable[str] = ()) -> None:
    """One line with the keys of a file of which nobody asked for any and none is read by itself."""
    taken = {*VOCABULARY, *CONDITIONS, *options.map.values(), "multiplicity"}
    others = [k for k in keys if k not in taken and k.lower() not in _VIRIALS]
    if others and not (set(read) or options.targets or options.map.keys() & set(VOCABULARY)):
        names = ", ".join(others[:20])
        logger.info(
            "%s: no label is read; there are %s: name those to be read with --target, or --map energy=KEY",
            file,
            names,
        )
