"""The script that kills pretraining, with a few kills, a few signals and all of the damage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("deepspeed", reason="needs the extra atomfield[train]")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_pretrain.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="looks at the source tree")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")
def test_a_few_kills_lose_nothing(tmp_path):
    words = [
        "--kills",
        "3",
        "--pairs",
        "0",
        "--signals",
        "0",
        "--steps",
        "6",
        "--out",
        str(tmp_path / "page.md"),
    ]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    page = (tmp_path / "page.md").read_text()
    assert "256 flipped bit found and named" in page and "64 truncation found and named" in page
    assert "other failures: 0." in page
