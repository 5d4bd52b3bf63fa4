"""Frames in the order of time are held out in blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import hold_out
from atomfield.finetune.time_order import SHORTEST, in_blocks, in_order
from tests.physics.subjects import crystal
from tests.small import morse_clusters


def series(count=200, speed=0.2, seed=0, solid=False):
    """One system that swings; ``speed`` in radians a frame."""
    rng = np.random.default_rng(seed)
    start = crystal() if solid else morse_clusters(1)[0]
    shape = start.positions.shape
    phase, rate = rng.uniform(0, 6.28, shape), rng.uniform(0.5, 1.5, shape)
    frames = []
    for t in range(count):
        moved = start.positions + 0.1 * torch.from_numpy(np.sin(speed * rate * t + phase))
        frames.append(replace(start, positions=moved, group="one"))
    return frames


def settings(**options):
    return FinetuneConfig(**{"from": "scratch"}, train=("memory",), target=("energy",), **options)


@pytest.mark.parametrize("solid", [False, True])
def test_order_is_seen(solid):
    frames = series(solid=solid)
    assert in_order(frames)
    assert not in_order([frames[i] for i in np.random.default_rng(0).permutation(200)])
    assert not in_order(series(speed=50.0, solid=solid))
    assert not in_order(frames[:20])


def test_neighbours_are_held_out_together(caplog):
    frames = series()
    numbers = {id(g): i for i, g in enumerate(frames)}
    kept, held = hold_out(frames, settings())
    places = sorted(numbers[id(g)] for g in held)
    assert len(kept) + len(held) == 200 and 16 <= len(held) <= 30
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    assert min(map(len, runs)) >= SHORTEST and len(runs) > 1
    assert "200 frames follow each other in time" in caplog.text
    caplog.clear()
    shuffled = [frames[i] for i in np.random.default_rng(0).permutation(200)]
    _, held = hold_out(shuffled, settings())
    assert len(held) == 20 and "follow each other" not in caplog.text


def test_whole_trajectories_go_before_blocks(caplog):
    frames = [replace(g, group=f"run {k}") for k in range(8) for g in series(50, seed=k)]
    _, held = hold_out(frames, settings())
    assert {len([g for g in held if g.group == name]) for name in {g.group for g in held}} == {50}
    assert "follow each other" not in caplog.text


def test_a_series_beside_another_set():
    frames = series(100) + [replace(g, group="two") for g in morse_clusters(60)]
    blocks = in_blocks(frames, [g.group for g in frames], 0.1)
    assert len(set(blocks[:100])) == 10 and set(blocks[100:]) == {""}
    assert in_blocks(morse_clusters(60), ["two"] * 60, 0.1) == []


@pytest.mark.parametrize(("count", "wanted"), [(48, 10), (100, 10), (130, 13)])
def test_few_frames_are_held_out_in_one_block_that_suffices(count, wanted):
    _, held = hold_out(series(count), settings())
    assert wanted <= len(held) <= 1.5 * wanted + 1
