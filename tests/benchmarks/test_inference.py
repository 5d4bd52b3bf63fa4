"""The arithmetic of the table of inference."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def inference(monkeypatch: pytest.MonkeyPatch):
    if not BENCHMARKS.is_dir():
        pytest.skip("looks at the source tree")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import inference

    yield inference
    for name in (
        "inference",
        "inference_page",
        "structures",
        "machine",
        "peers",
        "peers.client",
        "peers.ase_jobs",
    ):
        sys.modules.pop(name, None)


def test_rates(inference) -> None:
    """20 ms for ten steps of 0.5 fs: 43.2 million steps a day, 21.6 ns; 9 atoms move 4,500 a second."""
    found = inference.rates({"md": 20.0, "model": 14.0, "relax": 1000.0, "screen": 100.0}, atoms=9, count=32)
    assert found["md_ms"] == pytest.approx(2.0)
    assert found["beside_model_ms"] == pytest.approx(0.6)
    assert found["ns_per_day"] == pytest.approx(21.6)
    assert found["atoms_per_second"] == pytest.approx(4500)
    assert found["relax_steps_per_second"] == pytest.approx(320)
    assert found["screened_per_second"] == pytest.approx(320)
    from inference_page import COLUMNS

    assert set(COLUMNS) == set(found)
    rows = [
        {"structure": "a", "package": "b", "size": "c", **found},
        {"structure": "a", "package": "d", "size": "e", "error": "no"},
    ]
    text = inference.table(rows)
    shown = [line for line in text if line.startswith("| a |")]
    assert len(shown) == 2
    assert "21.6" in shown[0]
    assert "| no |" in shown[1]


def test_cubes_of_salt(inference) -> None:
    import structures

    assert len(structures.named("nacl64")[0]) == 64
    with pytest.raises(SystemExit, match="no cube"):
        structures.named("nacl100")
