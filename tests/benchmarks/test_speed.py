"""The speed benchmark, with our network alone on two molecules."""

import json
import subprocess
import sys
from pathlib import Path

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed.py"


def test_times_what_was_asked_and_says_what_failed(tmp_path):
    out = tmp_path / "speed.json"
    command = [
        sys.executable,
        str(SPEED),
        "--structure",
        "ethanol2",
        "--size",
        "atomfield=l1,nonsense",
        "--rounds",
        "2",
    ]
    command += ["--seconds", "0", "--threads", "1", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    content = json.loads(out.read_text())
    good, bad = content["rows"]
    assert good["atoms"] == 18 and good["edges"] == 2 * 9 * 8
    for job in ("energy_forces", "training_step", "graph"):
        assert good[job]["calls"] == 2 and 0 < good[job]["min_ms"] <= good[job]["median_ms"]
    assert bad["error"] and "energy_forces" not in bad
    assert content["threads"] == 1 and 0 <= content["free_share"] <= 1
