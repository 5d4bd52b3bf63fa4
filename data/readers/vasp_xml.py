"""The ionic steps of a ``vasprun.xml``, while the file is being parsed. See :mod:`.vasp` for what the numbers mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

import numpy as np

from atomfield.data.errors import InputError, Provenance

from .labels import logger
from .parsing import atomic_number
from .text import open_text
from .vasp import Run, Step

_CHUNK = 1 << 16


def read_steps(path: Path) -> Iterator[tuple[Run, Step]]:
    """``(run, step)`` for each ``<calculation>``. A file that stops in the middle gives its whole steps, and this is said."""
    numbers: np.ndarray | None = None
    nelm = 0
    done = 0
    try:
        for element in _elements(path):
            match element.tag:
                case "incar" | "parameters":
                    nelm = _nelm(element) or nelm
                case "atominfo":
                    numbers = _numbers(element, path)
                case "calculation":
                    where = Provenance(str(path), done)
                    if numbers is None:
                        raise InputError(
                            "a calculation comes before <atominfo>, expected the elements first", where
                        )
                    yield Run(numbers, nelm), _step(element, where)
                    done += 1
                    element.clear()
    except ParseError as error:
        line = error.position[0]
        if not done:
            raise InputError(f"is not whole XML ({error})", f"{path}:{line}") from None
        logger.warning(
            "%s:%d: the file ends in the middle of a step (%s); the %d steps before it are read",
            path,
            line,
            error,
            done,
        )
    else:
        if numbers is None:
            raise InputError("has no <atominfo>, expected VASP's vasprun.xml", str(path))


def _elements(path: Path) -> Iterator[Element]:
    """Elements of interest as they end. Entities are refused: a few lines of them can fill the memory."""
    parser: XMLPullParser = XMLPullParser(["end"])
    with open_text(path, encoding="latin-1") as file:
        while chunk := file.read(_CHUNK):
            if "<!ENTITY" in chunk or "<!DOCTYPE" in chunk:
                raise InputError(
                    "has a document type or entities, expected plain XML as VASP writes it", str(path)
                )
            parser.feed(chunk)
            yield from (e for _, e in parser.read_events())  # type: ignore[misc]
        parser.close()
        yield from (e for _, e in parser.read_events())  # type: ignore[misc]


def _nelm(element: Element) -> int:
    for item in element.iter("i"):
        if item.get("name") == "NELM" and (item.text or "").strip().isdigit():
            return int(item.text or 0)
    return 0


def _numbers(element: Element, path: Path) -> np.ndarray:
    rows = element.findall("array[@name='atoms']/set/rc")
    symbols = [(row.findtext("c") or "").strip() for row in rows]
    if not symbols:
        raise InputError("<atominfo> has no atoms, expected one row per ion", str(path))
    # VASP cuts "Zr" to "r" in some versions: the type's pseudopotential has the whole symbol
    types = [[(c.text or "").strip() for c in r] for r in element.findall("array[@name='atomtypes']/set/rc")]
    for i, symbol in enumerate(symbols):
        kind = (rows[i].findall("c")[1].text or "").strip() if len(rows[i].findall("c")) > 1 else ""
        row = types[int(kind) - 1] if kind.isdigit() and 0 < int(kind) <= len(types) else []
        if symbol in ("r", "X") and row:
            words = row[-1].split()
            symbols[i] = words[1].split("_")[0] if len(words) > 1 else symbol
    return np.array([atomic_number(s, i, Provenance(str(path))) for i, s in enumerate(symbols)])


def _step(calculation: Element, where: Provenance) -> Step:
    structure = calculation.find("structure")
    cell = (
        None
        if structure is None
        else _array(structure.find("crystal/varray[@name='basis']"), "the cell", where)
    )
    positions = (
        None if structure is None else _array(structure.find("varray[@name='positions']"), "positions", where)
    )
    values: dict[str, Any] = {}
    for name in ("forces", "stress"):
        array = _array(calculation.find(f"varray[@name='{name}']"), name, where)
        if array is not None:
            values[name] = array
    loops = calculation.findall("scstep")
    values.update(_energies(calculation.find("energy"), loops[-1].find("energy") if loops else None))
    return Step(cell, positions, True, values, len(loops))


def _array(element: Element | None, what: str, where: Provenance) -> np.ndarray | None:
    """``[rows, 3]``. What cannot be read makes a record of NaN, which is then refused with its number."""
    if element is None:
        return None
    rows = [(v.text or "").split() for v in element.findall("v")]
    if any(len(row) != 3 for row in rows) or not rows:
        return np.full((max(len(rows), 1), 3), np.nan)
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError:  # the stars of an overflown field
        return np.full((len(rows), 3), np.nan)


def _energies(last: Element | None, inner: Element | None) -> dict[str, float]:
    """``e_fr_energy``, ``e_wo_entrp``, ``e_0_energy`` of the step.

    VASP 5 writes a zero or wrong ``e_0_energy`` after the loop; its distance from the free energy is that of the last
    electronic step, and the free energy after the loop has what is added there (dispersion).
    """
    outer, loop = _numbers_of(last), _numbers_of(inner)
    free = outer.get("e_fr_energy", loop.get("e_fr_energy"))
    if free is None:
        return {}
    energies = {"e_fr_energy": free}
    for name in ("e_wo_entrp", "e_0_energy"):
        if name in loop and "e_fr_energy" in loop:
            energies[name] = free + loop[name] - loop["e_fr_energy"]
        elif name in outer:
            energies[name] = outer[name]
    return energies


def _numbers_of(energy: Element | None) -> dict[str, float]:
    numbers = {}
    for item in [] if energy is None else energy.findall("i"):
        try:
            numbers[str(item.get("name"))] = float((item.text or "").strip())
        except ValueError:
            numbers[str(item.get("name"))] = float("nan")
    return numbers
