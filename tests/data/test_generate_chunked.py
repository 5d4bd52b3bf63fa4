"""Generated stores: the same bytes after any interruption and for any number of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.generate.chunked import Made, added, build_store
from atomfield.data.graph import Graph
from atomfield.data.store import Store


@dataclass(frozen=True)
class Line:
    """So many atoms in a row; made after a pause in seconds; ``ill`` makes it fail."""

    num_atoms: int
    pause: float = 0.0
    ill: bool = False


def make(line: Line) -> Made:
    time.sleep(line.pause)
    if line.ill:
        raise RuntimeError("ill")
    positions = torch.zeros(line.num_atoms, 3)
    positions[:, 0] = torch.arange(line.num_atoms)
    energy = {"energy": torch.tensor(float(line.num_atoms))}
    graph = Graph(positions, torch.full((line.num_atoms,), 6), "molecule", quantities=energy, level="toy")
    return Made([graph] * 3, {"lines": {"short" if line.num_atoms < 4 else "long": 3}})


def _build(out: Path, chunks: list[Line], processes: int = 0, recipe: int = 1) -> dict:
    return build_store(
        out,
        chunks,
        make,
        recipe=recipe,
        source="toy/lines",
        report={"seed": 7},
        num_processes=processes,
        progress=False,
    )


def _bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


LINES = [Line(n) for n in range(1, 9)]


def test_store_has_all_chunks_in_order_and_a_report(tmp_path: Path) -> None:
    report = _build(tmp_path / "a", LINES)
    assert report == {"seed": 7, "lines": {"long": 15, "short": 9}}
    store = Store(tmp_path / "a")
    assert [g.num_nodes for g in store] == [n for n in range(1, 9) for _ in range(3)]
    assert [g.provenance.record for g in store] == list(range(24))
    assert store[5].provenance.file == "toy/lines"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_failed_chunk_keeps_the_others_and_the_result_is_the_same(tmp_path: Path) -> None:
    _build(tmp_path / "whole", LINES)
    done: list[int] = []

    def once(line: Line) -> Made:
        if line.num_atoms == 5 and 5 not in done:
            done.append(5)
            raise RuntimeError("power cut")
        done.append(line.num_atoms)
        return make(line)

    arguments = {
        "recipe": 1,
        "source": "toy/lines",
        "report": {"seed": 7},
        "num_processes": 0,
        "progress": False,
    }
    with pytest.raises(RuntimeError, match="power cut"):
        build_store(tmp_path / "cut", LINES, once, **arguments)
    assert not (tmp_path / "cut").exists()
    build_store(tmp_path / "cut", LINES, once, **arguments)
    assert done == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert _bytes(tmp_path / "cut") == _bytes(tmp_path / "whole")


def test_killed_with_two_processes_goes_on(tmp_path: Path) -> None:
    slow = [Line(n, pause=0.05) for n in range(1, 41)]
    process = multiprocessing.get_context("spawn").Process(target=_build, args=(tmp_path / "cut", slow))
    process.start()
    journal = tmp_path / ".cut.partial" / "journal.jsonl"
    deadline = time.monotonic() + 600  # a process begins by importing torch
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count("\n") > 4):
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lines = journal.read_text().count("\n") - 1
    assert 3 <= lines < 40
    _build(tmp_path / "cut", slow, 2)
    _build(tmp_path / "whole", slow, 0)
    assert _bytes(tmp_path / "cut") == _bytes(tmp_path / "whole")


def test_finished_store_is_left_and_another_recipe_is_refused(tmp_path: Path) -> None:
    report = _build(tmp_path / "a", LINES)
    before = (tmp_path / "a" / "index.json").stat().st_mtime_ns
    assert _build(tmp_path / "a", [*LINES]) == report
    assert (tmp_path / "a" / "index.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="is a store already"):
        _build(tmp_path / "a", LINES, recipe=2)


def test_draft_of_another_recipe_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ill"):
        _build(tmp_path / "a", [Line(3), Line(9, ill=True)])
    _build(tmp_path / "a", [Line(4)])
    assert [g.num_nodes for g in Store(tmp_path / "a")] == [4, 4, 4]


def test_counts_are_added_by_name() -> None:
    assert added([{"b": {"y": 1}, "a": {"x": 2}}, {"b": {"y": 2, "w": 1}}]) == {
        "a": {"x": 2},
        "b": {"w": 1, "y": 3},
    }
    assert json.dumps(added([{"b": {"y": 1}, "a": {}}])) == '{"a": {}, "b": {"y": 1}}'
