"""Opening text files, compressed or not, with an error that names the file."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from atomfield.data.errors import InputError

COMPRESSED = (".gz", ".zip")


def plain_suffix(path: Path) -> str:
    """The suffix without a compression, in small letters: ``.json`` for ``data.json.gz``."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes = suffixes[:-1]
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_text(path: Path, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
    """The file as text (UTF-8 by default); ``.gz`` and ``.zip`` (of one file) are unpacked on the way.

    Raises ``InputError`` for a file that is empty, cut short, or no text, also while it is being read.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError("the file is empty", str(path))
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rt", encoding=encoding) as file:
                yield file
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [
                    n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")
                ]
                if len(names) != 1:
                    raise InputError(
                        f"the archive holds {len(names)} files, expected one; unpack it first", str(path)
                    )
                with archive.open(names[0]) as raw:
                    yield io.TextIOWrapper(raw, encoding=encoding)
        else:
            with open(path, encoding=encoding, newline="") as file:
                yield file
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not a text file in UTF-8 ({error.reason} at byte {error.start})", str(path)
        ) from None
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot be unpacked ({error}); is it whole?", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", str(path)) from None


def read_text(path: Path) -> str:
    """All of the file's text."""
    with open_text(path) as file:
        return file.read()
