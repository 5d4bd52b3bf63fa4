"""Ways to spoil a file: flipped bytes, cut ends, swapped words, odd numbers, renamed keys, arrays of another shape or kind.

``mutant(content, arrays, rng)`` depends on its arguments alone: a case is repeated from its seed.
"""

from __future__ import annotations

import io
import re

import h5py
import numpy as np

NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9]*")
ODD_NUMBERS = [
    b"nan", b"-inf", b"1e400", b"-1", b"0", b"1", b"2147483648", b"-9223372036854775809", b"99999999", b"1e-320", b"0.0", b"-0",
    b"1.5.2", b"1,5", b"0x10", b"1_000", b"\xd9\xa3", b"1d3", b"", b"1e5", b"1e-9", b"***", b"True", b"7" * 40,
]  # fmt: skip
ODD_WORDS = [
    b"",
    b"X",
    b"energy",
    b"forces",
    b"pbc",
    b"Lattice",
    b"Properties",
    b"nan",
    b"\xc3\xa9",
    b"'",
    b'"',
    b"{",
    b"a" * 300,
]


def mutant(content: bytes, rng: np.random.Generator) -> bytes:
    """``content`` with one to three things changed."""
    text = _is_text(content)
    for _ in range(int(rng.integers(1, 4))):
        ways = TEXT_WAYS if text and rng.random() < 0.8 else BYTE_WAYS
        content = ways[rng.integers(len(ways))](content, rng)
    return content


def _is_text(content: bytes) -> bool:
    return b"\0" not in content and sum(c > 126 for c in content[:2000]) < 20


# ---------------------------------------------------------------------- bytes
def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        if data:
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def replaced(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    if data:
        data[rng.integers(len(data))] = int(rng.integers(256))
    return bytes(data)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def removed(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    return content[:start] + content[start + int(rng.integers(1, 40)) :]


def repeated(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    piece = content[start : start + int(rng.integers(1, 200))]
    return content[:start] + piece * int(rng.integers(2, 4)) + content[start + len(piece) :]


def inserted(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    return content[:start] + rng.bytes(int(rng.integers(1, 6))) + content[start:]


def blanked(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(content) + 1))
    size = min(int(rng.integers(1, 64)), len(content) - start)
    return content[:start] + b"\0" * size + content[start + size :]


BYTE_WAYS = (flipped, replaced, cut, removed, repeated, inserted, blanked)


# ---------------------------------------------------------------------- text
def _swap_match(
    pattern: re.Pattern[bytes], content: bytes, rng: np.random.Generator, choices: list[bytes]
) -> bytes:
    found = list(pattern.finditer(content))
    if not found:
        return flipped(content, rng)
    chosen = found[rng.integers(len(found))]
    return content[: chosen.start()] + choices[rng.integers(len(choices))] + content[chosen.end() :]


def odd_number(content: bytes, rng: np.random.Generator) -> bytes:
    return _swap_match(NUMBER, content, rng, ODD_NUMBERS)


def other_number(content: bytes, rng: np.random.Generator) -> bytes:
    """Another number of the file in the place of one."""
    found = list(NUMBER.finditer(content))
    return _swap_match(NUMBER, content, rng, [m.group() for m in found] or [b"1"])


def renamed(content: bytes, rng: np.random.Generator) -> bytes:
    return _swap_match(WORD, content, rng, ODD_WORDS)


def swapped(content: bytes, rng: np.random.Generator) -> bytes:
    """Two words change places."""
    found = list(re.finditer(rb"\S+", content))
    if len(found) < 2:
        return flipped(content, rng)
    a, b = sorted(rng.choice(len(found), 2, replace=False).tolist())
    a, b = found[a], found[b]
    return content[: a.start()] + b.group() + content[a.end() : b.start()] + a.group() + content[b.end() :]


def lines_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """A line is dropped, doubled, emptied or moved."""
    lines = content.split(b"\n")
    i, j = (int(rng.integers(len(lines))) for _ in range(2))
    match int(rng.integers(4)):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i] = b""
        case _:
            lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def newlines(content: bytes, rng: np.random.Generator) -> bytes:
    ends = [b"\r\n", b"\r", b"\n\n", b" ", b"\n\x0c", "\u2028".encode()]
    return content.replace(b"\n", ends[rng.integers(len(ends))])


def marked(content: bytes, rng: np.random.Generator) -> bytes:
    """A byte order mark, or another encoding."""
    if rng.random() < 0.5:
        return b"\xef\xbb\xbf" + content
    return content.decode("latin-1").encode(("utf-16", "utf-32")[int(rng.integers(2))])


TEXT_WAYS = (
    odd_number,
    odd_number,
    other_number,
    renamed,
    renamed,
    swapped,
    lines_changed,
    lines_changed,
    newlines,
    marked,
)


# ---------------------------------------------------------------------- arrays
def mutant_arrays(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays of a file with one of them changed in value, shape, kind or name, or left out."""
    arrays = dict(arrays)
    names = list(arrays)
    name = names[rng.integers(len(names))]
    value = np.asarray(arrays.pop(name))
    match int(rng.integers(12)):
        case 0:
            return arrays
        case 1:
            arrays["Z" + name[1:]] = value
        case 2:
            other = names[rng.integers(len(names))]
            if other in arrays:
                arrays[name], arrays[other] = arrays[other], value
            else:
                arrays[name] = value.T
        case 3:
            arrays[name] = value[..., None]
        case 4:
            arrays[name] = value[:0] if value.ndim else value[None]
        case 5:
            arrays[name] = value[:-1] if value.ndim else np.array([1.0, 2.0])
        case 6:
            arrays[name] = value.T if value.ndim > 1 else np.stack([value, value])
        case 7:
            arrays[name] = value.astype("S8") if value.dtype.kind in "iuf" else np.arange(3.0)
        case 8:
            arrays[name] = (value.astype(complex) + 1j) if value.dtype.kind in "iuf" else np.array([True])
        case 9:
            arrays[name] = np.array(b"text")
        case _:
            changed = np.array(value, dtype=np.float64 if value.dtype.kind in "iuf" else value.dtype)
            if changed.size and changed.dtype.kind == "f":
                odd = [np.nan, np.inf, -1.0, 0.0, 1e300, 1e-300, 0.5, 1e9, 119.0]
                changed.reshape(-1)[rng.integers(changed.size)] = odd[rng.integers(len(odd))]
            arrays[name] = changed
    return arrays


def as_npz(arrays: dict[str, np.ndarray]) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **{k.replace("/", "_"): v for k, v in arrays.items()})
    return sink.getvalue()


def as_hdf5(arrays: dict[str, np.ndarray]) -> bytes:
    sink = io.BytesIO()
    with h5py.File(sink, "w") as file:
        for name, value in arrays.items():
            file[name] = value
    return sink.getvalue()
