"""The comment line of an extended xyz frame: ``key=value`` pairs, as ASE reads them, and faster where they are plain.

Lines of plain pairs (``energy=-1.5 pbc="T T F"``) are most of those there are, and taken apart here by one regular expression.
Anything else (brackets, escapes, JSON, numbers such as ``nan`` or ``1_000``, words without ``=``) is ASE's.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_PAIR = re.compile(r"""([A-Za-z_][A-Za-z0-9_-]*)=(?:"([^"\\]*)"|([^\s"'{}\[\]\\=]+))(?:\s+|\Z)""")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}|[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WORD = re.compile(r"[A-HJ-MO-Za-hj-mo-z]")
"""How a word begins that is no number in Python (``nan`` and ``inf`` are): one is enough to make a text of all."""
_BOOLEANS = {word: word[0] in "Tt" for word in ("T", "true", "True", "TRUE", "F", "false", "False", "FALSE")}
_TENSORS = ("Lattice", "virial", "stress")


def pairs_of(comment: str) -> dict[str, Any]:
    """Key -> number, array of numbers, truth or truths, text; the tensors as ASE turns them. Raises what ASE's parser raises."""
    plain = _plain(comment) if comment.isascii() else None
    if plain is not None:
        return plain
    from ase.io.extxyz import key_val_str_to_dict

    return key_val_str_to_dict(comment)


def _plain(comment: str) -> dict[str, Any] | None:
    """None where a pair is not of the kinds that are read here."""
    text = comment.strip()
    place, found = 0, {}
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            return None
        place = pair.end()
        key, quoted, bare = pair.groups()
        value = _value(bare if quoted is None else quoted)
        if value is None or key.lower() == "uid":
            return None
        if key in _TENSORS:
            if not isinstance(value, np.ndarray) or value.shape != (9,):
                return None
            value = value.reshape((3, 3), order="F")
        found[key] = value
    return found or None


def _value(text: str) -> Any:
    words = text.replace(",", " ").split()
    if not words:
        return None
    if all(map(_WHOLE.fullmatch, words)):
        whole = np.array([int(w) for w in words])
        return whole if len(words) > 1 else whole[0]
    if all(map(_NUMBER.fullmatch, words)):
        numbers = np.array([float(w) for w in words])
        return numbers if len(words) > 1 else numbers[0]
    if all(w in _BOOLEANS for w in words):
        flags = [_BOOLEANS[w] for w in words]
        return flags if len(words) > 1 else flags[0]
    certain = any(map(_WORD.match, words)) and not text.startswith("_JSON")
    return text if certain else None
