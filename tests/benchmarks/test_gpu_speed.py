"""The GPU benchmark, tried out on the CPU with our network alone, and the arithmetic of its tables."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("gpu_speed", "gpu_speed_page", "page_text", "structures", "machine", "peers", "peers.client")


@pytest.fixture
def gpu_speed(monkeypatch: pytest.MonkeyPatch):
    if not BENCHMARKS.is_dir():
        pytest.skip("looks at the source tree")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_speed

    yield gpu_speed
    for name in NAMES:
        sys.modules.pop(name, None)


def run(*words: str, out: Path) -> dict:
    command = [
        sys.executable,
        str(BENCHMARKS / "gpu_speed.py"),
        "--device",
        "cpu",
        "--threads",
        "1",
        "--out",
        str(out),
    ]
    subprocess.run([*command, "--seconds", "0", *words], check=True, capture_output=True, text=True)
    return json.loads(out.read_text())


def test_times_what_was_asked_and_says_what_failed(tmp_path):
    words = (
        "--structure",
        "ethanol2",
        "--size",
        "atomfield=l1,default+nonsense",
        "--rounds",
        "2",
        "--warm",
        "0",
    )
    content = run(*words, out=tmp_path / "speed.json")
    good, bad = content["rows"]
    assert good["atoms"] == 18 and good["edges"] == 2 * 9 * 8
    for job in ("energy_forces", "training_step"):
        found = good[job]
        assert found["calls"] == 2 and 0 < found["min_ms"] <= found["median_ms"]
        assert found["atoms_per_second"] == pytest.approx(18e3 / found["median_ms"])
    assert "nonsense" in bad["error"] and "energy_forces" not in bad
    assert content["card"]["copy_gb_s"] > 0 and content["versions"]["atomfield"]["torch"]


def test_cells_double_to_the_last(tmp_path):
    words = ("--largest", "--first", "8", "--last", "16", "--size", "atomfield=l1")
    content = run(*words, out=tmp_path / "largest.json")
    assert [row["atoms"] for row in content["rows"]] == [8, 16]
    assert all(row["energy_forces"]["calls"] == 1 for row in content["rows"])


def test_a_silent_worker_is_ended(gpu_speed, tmp_path, monkeypatch):
    from peers import client

    (tmp_path / "mute_speed.py").write_text(
        "import os, sys, time\nos.write(int(sys.argv[1]), b'{\"versions\": {}}\\n')\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(client, "HERE", tmp_path)
    monkeypatch.setitem(client.SETTINGS, "mute", {})
    start = time.monotonic()
    worker = client.Worker("mute", Path(sys.executable), 1, 0.0)
    assert worker.hello == {"versions": {}}
    assert "no answer" in worker.ask(0.2, do="read")["error"]
    assert not worker.alive() and time.monotonic() - start < 30
    assert "ended" in worker.ask(0.2, do="read")["error"]
    worker.stop()


def test_large_structures_have_the_card_alone(gpu_speed):
    small, large = {"atoms": 10}, {"atoms": 5000}
    assert list(gpu_speed.groups([small, {**small, "x": 1}], 2000)) == [[small, {**small, "x": 1}]]
    assert list(gpu_speed.groups([large, {**large, "x": 1}], 2000)) == [[large], [{**large, "x": 1}]]
    assert list(gpu_speed.groups([{"error": "no"}, large], 2000)) == [[{"error": "no"}], [large]]


def test_tables(gpu_speed):
    row = {"structure": "si8", "atoms": 8, "edges": 224, "parameters": 5, "jobs": ["energy_forces"]}
    ours = {
        **row,
        "package": "atomfield",
        "size": "s",
        "energy_forces": {"ms": [1.0, 2.0, 9.0], "peak_mb": 512.0},
    }
    peer = {**row, "package": "mace", "size": "x", "energy_forces": {"ms": [8.0], "peak_mb": 2048.0}}
    full = {
        **row,
        "package": "nequip",
        "size": "S",
        "energy_forces": {"ms": [], "error": "CUDA out of memory. Tried"},
    }
    rows = [ours, peer, full]
    for one in rows:
        gpu_speed.finish(one)
    assert ours["energy_forces"]["median_ms"] == 2.0 and ours["energy_forces"]["atoms_per_second"] == 4000.0
    lines = gpu_speed.table_of({"what": "gpu_speed", "rows": rows}).splitlines()
    assert "2.00 (4.00x) | 4 k | 0.50" in lines[2]
    assert "out of memory" in lines[4]
    larger = {**peer, "atoms": 16, "energy_forces": {"error": "CUDA out of memory"}}
    small, large = gpu_speed.table_of({"what": "gpu_largest", "rows": [larger, peer]}).splitlines()[2:]
    assert small == "| 8 | mace | x | 224 | 8.0 | 1 | 1 k | 2.0 | 262144.0 |  |"
    assert large.startswith("| 16 | mace | x |") and "out of memory" in large


def test_cells_of_silicon_are_near_cubes(gpu_speed):
    structures = gpu_speed.structures
    assert structures.shape_of(13_824) == (12, 12, 12)
    assert structures.shape_of(27_648) == (12, 12, 24) or structures.shape_of(27_648) == (12, 16, 18)
    assert len(structures.silicon(16)[0]) == 16
    with pytest.raises(SystemExit, match="multiple of 8"):
        structures.silicon(12)
