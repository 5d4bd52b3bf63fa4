"""The benchmark of pretraining on a GPU: what starts when, what it says of a run, and its page."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def bench(_path):
    import gpu_pretrain

    return gpu_pretrain


def test_what_shares_kernels_waits_for_them(bench):
    first, second, third = (
        bench.Case("a"), bench.Case("b", after="a"), bench.Case("c", kind="resume", after="a"),
    )  # fmt: skip
    may = lambda case, **states: bench.may_start(  # noqa: E731
        case, {k: SimpleNamespace(state=v) for k, v in states.items()}, [first, second, third]
    )
    assert may(first) and not may(second) and not may(second, a="starting")
    assert may(second, a="ready") and not may(third, a="measuring") and may(third, a="ended")
    assert bench.may_start(second, {}, [second]), "what it waits for is not among the cases"
    names = [case.name for case in bench.CASES]
    assert len(set(names)) == len(names) and all(case.after in ("", *names) for case in bench.CASES)


def test_settings_are_configurations(bench, tmp_path):
    from atomfield.pretrain.config import PretrainConfig

    given = SimpleNamespace(data=tmp_path, device="cuda", tiny=False, scale=0.5)
    for case in bench.CASES:
        config = PretrainConfig(**bench.settings(case, given, tmp_path / "run"))
        assert config.steps == case.steps and config.wandb == "disabled"
        assert config.compile is case.compile and config.forces == case.forces


def _a_run(folder, losses, weight):
    (folder / "model").mkdir(parents=True)
    rows = [
        {"step": n, "train_loss": loss, "atoms_per_second": 10.0 * n, "points_per_second": 0.0, "flops_per_second": 2e9 * n,
         "fraction_of_peak": 0.1 * n, "time/loader": 0.25}
        for n, loss in enumerate(losses, 1)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "machine.json").write_text(json.dumps({"device": "a card", "peak_flops": 2e10, "torch": "2"}))
    save_file({"w": torch.full((4,), weight)}, folder / "model" / "model.safetensors")
    return folder


def test_a_run_is_summed_up_without_its_first_steps(bench, tmp_path):
    run = _a_run(tmp_path / "run", [8.0, 4.0, 2.0, 1.0], 1.0)
    found = bench.summary(run, {"valid/a/equivariance_error": 1e-6, "valid/b/equivariance_error": 3e-6})
    assert found["atoms_per_second"] == 35.0 and found["time/loader"] == 0.25
    assert (found["first_loss"], found["loss"], found["equivariance_error"]) == (8.0, 1.0, 3e-6)


def test_two_runs_are_compared_to_the_bit(bench, tmp_path):
    runs = [
        _a_run(tmp_path / n, l, w)
        for n, l, w in (("a", [8.0, 4.0], 1.0), ("b", [8.0, 4.0], 1.0), ("c", [8.0, 4.4], 1.5))
    ]
    assert bench.compared(runs[0], runs[1])["identical"]
    found = bench.compared(runs[0], runs[2])
    assert not found["identical"]
    assert found["largest_loss_difference"] == pytest.approx(0.1)
    assert found["largest_weight_difference"] == pytest.approx(0.5)


def test_the_page_has_what_was_measured_and_what_was_not(bench, tmp_path):
    run = _a_run(tmp_path / "run", [8.0, 4.0, 2.0], 1.0)
    measured = {
        **bench.summary(run, {"valid_score": 0.5}), "ready_s": 12.0, "whole_s": 20.0, "peak_mb": 2048.0,
        **{f"time/{p}": 0.25 for p in ("forward", "backward", "optimizer")},
    }  # fmt: skip
    rows = [
        {**asdict(bench.Case("fast")), **measured},
        {**asdict(bench.Case("half", bf16=True)), **measured, "fraction_of_bf16_peak": 0.02},
        {**asdict(bench.Case("late")), "error": "not reached in time"},
        {
            **asdict(bench.Case("went on", kind="resume")),
            **measured,
            "beside_undisturbed": bench.compared(run, run),
        },
    ]
    found = {
        "machine": {"date": "2026-01-02T00:00:00", "cores": 4},
        "commit": "abc",
        "limit": 60.0,
        "rows": rows,
    }
    text = bench.page(found)
    assert "| fast | 400,000 | 30 | 0.01 | 30.0% | 2.0 | 25% |" in text
    assert "30.0% (2.0%)" in text and "- late: not reached in time" in text
    assert "the same bits in 3 losses" in text
    assert "not reached" in bench.line_of(rows[2]) and "2.0 GB" in bench.line_of(rows[0])
