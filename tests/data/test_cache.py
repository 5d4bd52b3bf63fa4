"""Large files become a store once, and another one when anything about them is different."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from atomfield.data import cache
from atomfield.data.errors import InputError
from atomfield.data.journal import Journal
from atomfield.data.readers import BadRecord, ReadOptions, read
from atomfield.data.source import open_source
from atomfield.data.store import Store

from .test_prepare import SKIP, frames
from .test_store import assert_equal


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache; every file is large."""
    monkeypatch.setenv("ATOMFIELD_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "LARGE", 1)
    return tmp_path / "kept"


def test_found_again_by_content(tmp_path: Path, kept: Path) -> None:
    source = frames(tmp_path / "a.xyz", 20, bad=(4,))
    bad: list[BadRecord] = []
    first = open_source(source, SKIP, bad)
    assert isinstance(first, Store)
    for a, b in zip(read(source, SKIP, []), first, strict=True):
        assert_equal(a, b)
    again: list[BadRecord] = []
    os.utime(source, (1, 1))
    second = open_source(source, SKIP, again)
    assert isinstance(second, Store)
    assert second.path == first.path
    assert [(str(b.where), b.message) for b in bad] == [(str(b.where), b.message) for b in again]
    assert len(bad) == 1
    assert len(list(kept.iterdir())) == 1


def test_anything_else_is_another_store(tmp_path: Path, kept: Path) -> None:
    source = frames(tmp_path / "a.xyz", 5)
    paths = set()
    stat = source.stat()
    for options in (
        ReadOptions(),
        ReadOptions(level="x"),
        ReadOptions(on_bad="skip"),
        ReadOptions(units={"energy": "kcal/mol"}),
    ):
        store = open_source(source, options)
        assert isinstance(store, Store)
        paths.add(store.path)
    text = source.read_text()
    at = text.index("energy=") + 9
    source.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the same name, size and time; other content
    store = open_source(source)
    assert isinstance(store, Store)
    assert len({*paths, store.path}) == 5
    assert_equal(next(iter(read(source))), store[0])


@pytest.mark.parametrize("name", ["field.zarr", "system"])
def test_what_lies_in_folders_of_a_source_counts(tmp_path: Path, name: str) -> None:
    inner = tmp_path / name / "set.000"
    inner.mkdir(parents=True)
    (tmp_path / name / "type.raw").write_text("0")
    keys = set()
    for content in ("1", "2"):
        (inner / "coord.npy").write_text(content)
        keys |= {cache._key(tmp_path / name, ReadOptions()), cache._key(tmp_path, ReadOptions())}
    assert len(keys) == 4


def test_off_and_small(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = frames(tmp_path / "a.xyz", 5)
    monkeypatch.setenv("ATOMFIELD_CACHE", "off")
    assert isinstance(open_source(source), list)
    monkeypatch.setenv("ATOMFIELD_CACHE", str(kept))
    monkeypatch.setattr(cache, "LARGE", 10**9)
    assert isinstance(open_source(source), list)
    assert not kept.exists()


def test_errors_are_those_of_reading(tmp_path: Path, kept: Path) -> None:
    source = frames(tmp_path / "a.xyz", 20, bad=(4,))
    for _ in range(2):
        with pytest.raises(InputError, match=r"a.xyz:\d+ \(record 4\)"):
            open_source(source)
    with pytest.raises(InputError, match="no such file"):
        open_source(tmp_path / "none.xyz")


def test_waits_for_another_process(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")
    source = frames(tmp_path / "a.xyz", 5)
    key = cache._key(source, ReadOptions())
    journal = Journal(kept / f".{key}.partial", "of another")
    threading.Timer(0.3, journal.close).start()
    begun = time.monotonic()
    assert len(open_source(source)) == 5
    assert time.monotonic() - begun > 0.3


def test_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATOMFIELD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.cache_folder() == Path("/x/atomfield")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "atomfield"
