"""Large files given to a command: read once into a store that is kept, and found again by the content of the files.

The key is a sha256 over every byte of the source, the options and the version of the program, so what is found is never stale.
The folder is ``$ATOMFIELD_CACHE`` (``off``: keep nothing), else ``$XDG_CACHE_HOME/atomfield``, else ``~/.cache/atomfield``.
Anything in it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .errors import InputError, Provenance
from .journal import Busy
from .readers.deepmd import systems_of
from .readers.options import BadRecord, ReadOptions
from .store import VERSION, Store, is_store

logger = logging.getLogger("atomfield")

LARGE = 256 * 2**20
"""A file or folder of this many bytes is read into a store; what is smaller stays in memory."""


def cache_folder() -> Path | None:
    """Where stores of large files are kept, or None if nothing is to be kept."""
    named = os.environ.get("ATOMFIELD_CACHE", "")
    if named.lower() == "off":
        return None
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "atomfield"


def is_large(source: str | Path) -> bool:
    """Whether a source (no store) is kept as a store when it is read."""
    return sum(file.stat().st_size for file in _files(Path(source)) if file.is_file()) >= LARGE


def cached_store(
    source: str | Path, options: ReadOptions, bad: list[BadRecord] | None = None
) -> Store | None:
    """The records of a large source as a store, made if it is not there yet; None if nothing is to be kept.

    Records that were skipped are appended to ``bad``. Raises ``InputError`` as reading the source does. Processes that ask
    for one source at the same time wait for the first.
    """
    from .prepare import prepare

    folder = cache_folder()
    if folder is None:
        return None
    store = folder / _key(Path(source), options)
    while not is_store(store):
        logger.warning(
            "%s is large: it is read once, into %s (faster with `atomfield prepare --workers N`)",
            source,
            store,
        )
        try:
            prepare([str(source)], store, options)
        except Busy:
            time.sleep(1.0)
    opened = Store(store)
    if bad is not None and opened.index["num_bad_records"]:
        listed = json.loads((store / "bad_records.json").read_text())
        bad += [BadRecord(Provenance(one["where"]), one["message"], one.get("gap", "")) for one in listed]
    return opened


def _files(path: Path) -> list[Path]:
    """The files that reading ``path`` may open: in a folder those directly in it, and those within its Zarr stores and DeePMD
    systems."""
    if not path.is_dir():
        return [path]
    whole = [path] if path.suffix == ".zarr" else [*path.glob("*.zarr"), *systems_of(path)]
    found = {p for folder in whole for p in folder.rglob("*")} | {*path.iterdir()}
    return sorted(p for p in found if p.is_file())


def _key(path: Path, options: ReadOptions) -> str:
    try:
        program = version("atomfield")
    except PackageNotFoundError:
        program = ""
    digest = hashlib.sha256(
        json.dumps([program, VERSION, asdict(options), str(path)], sort_keys=True).encode()
    )
    for file in _files(path):
        digest.update(f"\0{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        try:
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", str(file)) from None
    return digest.hexdigest()[:40]
