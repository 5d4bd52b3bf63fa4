"""Two launches that prove much: ZeRO 0, 1 and 2 follow one process although the ranks hold different tasks and labels, ZeRO 3
where it is allowed, an interrupted run resumes to the same bits, and on another number of ranks it sees the same samples. Trials
of penalties do the same."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from atomfield.data.quantities import scalar_property
from atomfield.data.store import write_store
from tests.pretrain.launch import OPTIONS, launch, rows
from tests.small import morse_clusters, waves

pytest.importorskip("deepspeed", reason="needs the extra atomfield[train]")

STEPS = 20


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    atoms = [*morse_clusters(24, 0, "level-a"), *morse_clusters(24, 1, "level-b")]
    for graph in atoms[24:]:  # labels that the other ranks' micro-batches may lack
        graph.quantities["charges"] = torch.linspace(-0.4, 0.4, 5, dtype=torch.float64)
    write_store(atoms, folder / "atoms")
    write_store(waves(12), folder / "fields")
    # what a micro-batch may lack: all labels, or a property; and waves, which the points of a mesh have none of
    few = [replace(g, quantities={}) for g in atoms[::3]] + atoms[1::3]
    for g in atoms[2::3]:
        size = torch.pdist(g.positions).mean().double()
        own = {"spread": scalar_property("spread", "angstrom")}
        few.append(replace(g, quantities={**g.quantities, "spread": size}, properties=own))
    write_store(few, folder / "few")
    points = [replace(g, grid_shape=None, edges={"mesh": g.edges["grid"]}) for g in waves(8, 8)]
    mixed = [*waves(4), *waves(4, 4, num_points=6), *points]
    mixed = [replace(g, group=f"mixed-{number}") for number, g in enumerate(mixed)]
    order = torch.randperm(len(mixed), generator=torch.manual_seed(0))
    write_store([mixed[k] for k in order], folder / "mixed")
    # a diffusivity of 1 would damp these waves by a factor of seven a step; they do not decay, but the mean stays
    damped = [
        replace(g, conditions={"diffusivity": 1.0}) for g in waves(16)
    ]  # the fifteenth is a validation record
    write_store(damped, folder / "damped")
    still = morse_clusters(24, 0, "level-a")
    for graph in still:
        graph.quantities["forces"] *= 0
    write_store(still, folder / "still")
    fields = {
        "source": str(folder / "fields"),
        "objective": "next_step",
        "micro_batches": 2,
        "max_edges": 520,
    }
    base = {
        **OPTIONS,
        "streams": [
            # one graph each: the ranks' levels and labels differ
            {"source": str(folder / "atoms"), "micro_batches": 2, "max_edges": 20},
            {**fields, "noise": 0.01},
        ],
        "steps": STEPS,
        "save_every": 1,
        "keep_last": STEPS,
    }
    mixed = {**fields, "source": str(folder / "mixed"), "max_edges": 1100}
    # every objective that does without second derivatives
    direct = {
        **base,
        "forces": "direct",
        "streams": [
            {"source": str(folder / "few"), "max_edges": 20},
            {"source": str(folder / "still"), "objective": "denoise", "noise": 0.1, "max_edges": 40},
            {"source": str(folder / "atoms"), "objective": "denoise_forces", "noise": 0.1, "max_edges": 20},
            {"source": str(folder / "atoms"), "objective": "masked_atoms", "max_edges": 40},
            {**mixed, "rollout": 2},
            {**mixed, "objective": "masked_patches"},
        ],
        "steps": 4,
    }
    out = lambda name: {"out": str(folder / name)}  # noqa: E731
    atoms, flows = base["streams"]
    odd = {**base, "streams": [{**atoms, "micro_batches": 4}, {**flows, "micro_batches": 1}], "steps": 6}
    plan = [{**base, **out(f"zero{s}"), "zero_stage": s} for s in (0, 1, 2)]
    plan += [{**odd, **out("odd"), "zero_stage": 1}]
    laws = {
        **base,
        "streams": [{**flows, "source": str(folder / "damped"), "micro_batches": 3}],
        "steps": 16,
        "save_every": 100,
        "optimizer": {"learning_rate": 1e-2},
        "loss": {"physics": {"advection_diffusion": 100.0, "conserved_concentration": 1e-9}},
    }
    plan += [{**laws, **out(f"laws{s}"), "zero_stage": s} for s in (0, 1)]
    plan += [
        {**laws, **out("laws2"), "zero_stage": 2, "streams": [{**laws["streams"][0], "micro_batches": 4}]},
        {**laws, **out("laws-cut"), "inject": {"sigterm": [5]}, "report": str(folder / "laws-told")},
        {**laws, **out("laws-cut"), "inject": {"crash": [12]}},
        {**laws, **out("laws-cut")},
    ]
    nadam = {**base, "zero_stage": 1, "optimizer": {"name": "nadam", "learning_rate": 5e-4}}
    plan += [
        {**base, **out("cut"), "zero_stage": 1, "save_every": 4, "inject": {"crash": [7]}},
        {**base, **out("cut"), "zero_stage": 1, "save_every": 4},
        {**base, **out("moved"), "zero_stage": 2, "save_every": 4, "inject": {"crash": [10]}},
        {**nadam, **out("nadam")},
        {**nadam, **out("nadam-cut"), "save_every": 4, "inject": {"crash": [7]}},
        {**nadam, **out("nadam-cut"), "save_every": 4},
        {**base, **out("nadam-cut"), "zero_stage": 1, "report": str(folder / "adamw-told")},
        {**direct, **out("pieces"), "zero_stage": 3, "save_every": 2, "inject": {"crash": [4]}},
        {**direct, **out("pieces"), "zero_stage": 3, "save_every": 2},
        {**direct, **out("eager"), "zero_stage": 3, "inject": {"eager": [], "scattered": []}},
        {**direct, **out("all2"), "zero_stage": 2},
    ]
    launch(2, plan, folder)
    alone = [
        {**base, **out("alone"), "zero_stage": 0},
        {**nadam, **out("nadam-alone"), "zero_stage": 0},
        {**odd, **out("odd-alone"), "zero_stage": 1},
        {**laws, **out("laws-alone"), "zero_stage": 0},
        {**base, **out("moved"), "zero_stage": 1, "save_every": 4},
        {**direct, **out("whole"), "zero_stage": 0},
    ]
    launch(1, alone, folder)
    return folder


def gradient(run):
    """That of the first step, after clipping: Adam's first average is a tenth of it. name -> tensor."""
    state = load_file(run / "checkpoints" / "step-00000001" / "training.safetensors")
    return {k: v for k, v in state.items() if k.endswith(".exp_avg")}


@pytest.mark.parametrize(
    ("run", "one"), [("zero0", "alone"), ("zero1", "alone"), ("zero2", "alone"), ("eager", "whole")]
)
def test_gradients_of_two_ranks_with_different_tasks_are_those_of_one_process(runs, run, one):
    """A head's gradient that landed in another head's row, or in another parameter, would show at once."""
    ours, theirs = gradient(runs / run), gradient(runs / one)
    assert ours.keys() == theirs.keys()
    size = max(float(g.abs().max()) for g in theirs.values())
    assert size > 0
    for name, expected in theirs.items():
        assert float((ours[name] - expected).abs().max()) < 1e-6 * size, name


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_two_ranks_follow_one_process(runs, stage):
    worst = 0.0
    for ours, theirs in zip(rows(runs / f"zero{stage}"), rows(runs / "alone"), strict=True):
        worst = max(worst, abs(ours["train_loss"] / theirs["train_loss"] - 1))
        print(ours["step"], abs(ours["train_loss"] / theirs["train_loss"] - 1))
    assert worst < 1e-6


def test_ranks_with_unequal_numbers_of_micro_batches_follow_one_process(runs):
    """One flow costs more than four structures of five atoms, so one rank has it alone: the ranks have no stream in common."""
    for ours, theirs in zip(rows(runs / "odd"), rows(runs / "odd-alone"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-6), ours["step"]
        assert {k for k in ours if "/" in k} == {k for k in theirs if "/" in k}


def test_an_interrupted_run_resumes_to_the_same_bits(runs):
    whole, cut = rows(runs / "zero1"), rows(runs / "cut")
    assert [r["step"] for r in cut] == [r["step"] for r in whole] == list(range(1, STEPS + 1))
    for a, b in zip(whole, cut, strict=True):
        assert a["train_loss"].hex() == b["train_loss"].hex()
    weights = [(runs / name / "model" / "model.safetensors").read_bytes() for name in ("zero1", "cut")]
    assert weights[0] == weights[1]


def test_another_optimiser_follows_one_process_and_resumes_to_the_same_bits(runs):
    whole, cut, alone = (rows(runs / name) for name in ("nadam", "nadam-cut", "nadam-alone"))
    for a, b, c in zip(whole, cut, alone, strict=True):
        assert a["train_loss"].hex() == b["train_loss"].hex()
        assert a["train_loss"] == pytest.approx(c["train_loss"], rel=1e-6)
    assert whole[-1]["train_loss"] != rows(runs / "zero1")[-1]["train_loss"]
    weights = [(runs / name / "model" / "model.safetensors").read_bytes() for name in ("nadam", "nadam-cut")]
    assert weights[0] == weights[1]
    assert "optimizer.name nadam, this configuration has adamw" in (runs / "adamw-told-0").read_text()


def trials(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [r for r in lines if "trial/with_all" in r]


@pytest.mark.parametrize("run", ["laws0", "laws1"])
def test_trials_of_penalties_end_alike_on_two_ranks(runs, run):
    ours, theirs = trials(runs / run), trials(runs / "laws-alone")
    assert [r["step"] for r in ours] == [r["step"] for r in theirs] == [7, 11, 16]
    assert ours[0]["trial/off_advection_diffusion"] == 1.0
    assert all(r["trial/off_conserved_concentration"] == 0.0 for r in ours)
    assert all("trial/off_advection_diffusion" not in r for r in ours[1:])
    for a, b in zip(ours, theirs, strict=True):
        for key in b.keys() - {"seconds"}:
            assert a[key] == pytest.approx(b[key], rel=1e-3), key
    later = [r for r in rows(runs / run) if r["step"] > 7]
    assert later and not any("physics/advection_diffusion" in key for r in later for key in r)
    assert all(any("physics/conserved_concentration" in key for key in r) for r in later)


def test_trials_go_on_to_the_same_bits(runs):
    """Told to stop in the middle of the first trial, and broken off after it."""
    assert "saved step 3" in (runs / "laws-told-0").read_text()
    for a, b in zip(trials(runs / "laws1"), trials(runs / "laws-cut"), strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }
    weights = [(runs / name / "model" / "model.safetensors").read_bytes() for name in ("laws1", "laws-cut")]
    assert weights[0] == weights[1]


def test_trials_run_at_stage_two(runs):
    first, *_ = trials(runs / "laws2")
    assert first["trial/off_advection_diffusion"] == 1.0


def test_a_run_goes_on_with_another_number_of_ranks_and_stage(runs):
    """Written by two ranks at stage 2, continued by one at stage 1: the same samples, so the same losses."""
    for ours, theirs in zip(rows(runs / "moved"), rows(runs / "alone"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-6), ours["step"]


@pytest.mark.parametrize("run", ["pieces", "eager", "all2"])
def test_every_objective_follows_one_process_at_stages_two_and_three(runs, run):
    ours, theirs = rows(runs / run), rows(runs / "whole")
    assert [r["step"] for r in ours] == [1, 2, 3, 4]
    terms = {key.split("/", 1)[0] for row in theirs for key in row if "/" in key} - {"time"}
    assert terms == {
        "few",
        "still-denoise",
        "atoms-denoise_forces",
        "atoms-masked_atoms",
        "mixed",
        "mixed-masked_patches",
    }
    for a, b in zip(ours, theirs, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-6)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-5)
        for key in b:
            if key.split("/", 1)[0] in terms:
                assert a[key] == pytest.approx(b[key], rel=1e-5, abs=1e-9), key


def test_the_run_folder_says_what_was_done(runs):
    settings = json.loads((runs / "zero2" / "deepspeed.json").read_text())
    assert settings["gradient_clipping"] == 10.0 and settings["zero_optimization"]["stage"] == 2
    assert {"config.yaml", "machine.json", "metrics.jsonl", "model", "checkpoints"} <= {
        p.name for p in (runs / "zero2").iterdir()
    }
    (row, *_) = rows(runs / "zero2")
    assert {"gradient_norm", "atoms_per_second", "points_per_second", "time/communication"} <= row.keys()
    machine = json.loads((runs / "zero2" / "machine.json").read_text())
    assert machine["ranks"] == 2 and machine["dtype"] == "float32"
    assert 0 < row["fraction_of_peak"] < 1
    assert row["flops_per_second"] == pytest.approx(row["fraction_of_peak"] * machine["peak_flops"])
