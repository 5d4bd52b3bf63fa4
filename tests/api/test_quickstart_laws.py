"""The table of laws in the quickstart's report, from the files that its stages leave."""

from __future__ import annotations

import pytest

from atomfield.quickstart_laws import drift, laws


@pytest.fixture
def dynamics(tmp_path):
    rows = "".join(f"{k},{0.5 * k},-3.0,1.0,{-2.0 + 2e-6 * k},300.0\n" for k in range(50))
    (tmp_path / "log.csv").write_text("step,time_fs,epot,ekin,etot,temperature\n" + rows)
    (tmp_path / "relaxed.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    return tmp_path


def test_the_drift_is_the_slope_of_the_total_energy(dynamics):
    assert drift(dynamics) == pytest.approx(1000 * 2e-6 / 0.5e-3 / 2)


def test_every_law_has_its_number(dynamics):
    metrics = {
        "task_molecules/pretrained/forces_net_eV_per_A": 2e-7,
        "task_molecules/pretrained/equivariance_error_reflection": 3e-6,
        "task_molecules/scratch/equivariance_error_rotation": 1.0,
        "task_fields/pretrained/law_divergence": 0.12,
        "task_fields/pretrained/law_divergence_of_data": 1e-4,
    }
    rows = laws(metrics, ["task_molecules", "task_fields"], dynamics).rows
    assert [row[1] for row in rows] == ["molecules"] * 3 + ["fields"]
    assert rows[0][2] == "2.00" and rows[1][2:] == ["2.00e-07", "–", "eV/Å"]
    assert rows[3][2:4] == ["0.120", "0.000100"]
