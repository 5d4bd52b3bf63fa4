"""The verdict on a step, from its loss and gradient norm alone."""

import json
import math
import random

import pytest

from atomfield.pretrain.config import NumericsConfig
from atomfield.pretrain.numerics import Guard


def steady(guard, steps, start=1):
    rng = random.Random(start)
    for step in range(start, start + steps):
        assert guard.judge(step, rng.gauss(2.0, 0.1), rng.gauss(5.0, 0.5), 0) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_skipped_from_the_first_step(value):
    guard = Guard(NumericsConfig())
    assert guard.judge(1, value, 1.0, 0) == "loss"
    assert guard.judge(2, 1.0, abs(value), 0) == "gradient"
    assert guard.judge(3, 1.0, 1.0, 1) == "loss"
    assert guard.bad_in_a_row == 3 and not guard.must_stop
    assert guard.judge(4, 1.0, 1.0, 0) == ""
    assert guard.bad_in_a_row == 0
    for step in range(5, 10):
        guard.judge(step, value, 1.0, 0)
    assert guard.must_stop


def test_a_spike_is_six_deviations_above_the_window():
    guard = Guard(NumericsConfig())
    steady(guard, 128)
    assert guard.judge(129, 2.5, 5.0, 0) == ""
    assert guard.judge(130, 2.9, 5.0, 0) == "spike"
    assert guard.judge(131, 2.0, 9.5, 0) == "spike"
    assert guard.judge(132, 0.0, 0.0, 0) == ""  # low is no spike
    # what is far off is remembered as the limit that it broke
    assert len(guard.losses) == 128 and min(guard.losses) > 1.3 and max(guard.losses) < 2.8
    assert guard.judge(133, 3.5, 5.0, 0) == "spike"  # neither it nor the zero hides the next one


def test_hard_records_are_learnt_not_skipped_for_ever():
    """A third of the steps is fifty times as large, and none of them comes before the detector begins."""
    guard, rng, verdicts = Guard(NumericsConfig()), random.Random(0), []
    for step in range(1, 400):
        hard = step > 76 and rng.random() < 0.3
        size = math.exp(rng.gauss(0.0, 0.5)) * (50.0 if hard else 1.0)
        verdicts.append(guard.judge(step, size, 10 * size, 0))
    assert 0 < verdicts.count("spike") <= 4


def test_few_steps_of_a_heavy_tail_are_spikes():
    guard, rng = Guard(NumericsConfig()), random.Random(0)
    found = [guard.judge(k, rng.lognormvariate(0, 0.6), rng.lognormvariate(2, 0.6), 0) for k in range(3000)]
    assert found.count("spike") == 0


def test_a_run_that_explodes_is_caught():
    guard = Guard(NumericsConfig())
    rng = random.Random(0)
    for step in range(1, 129):
        assert guard.judge(step, rng.lognormvariate(0, 0.5), rng.lognormvariate(2, 0.5), 0) == ""
    assert [guard.judge(129 + k, 1e3 * 10**k, 1e4 * 10**k, 0) for k in range(3)] == ["spike"] * 3
    assert guard.must_go_back


def test_before_half_a_window_nothing_is_a_spike_and_none_switches_it_off():
    guard = Guard(NumericsConfig())
    steady(guard, 63)
    assert guard.judge(64, 1e6, 1e6, 0) == ""
    guard = Guard(NumericsConfig(spike_sigma=None))
    steady(guard, 128)
    assert guard.judge(129, 1e6, 1e6, 0) == ""


def test_equal_losses_leave_room_for_rounding():
    guard = Guard(NumericsConfig())
    for step in range(1, 129):
        guard.judge(step, 2.0, 5.0, 0)
    assert guard.judge(129, 2.0 + 1e-6, 5.0, 0) == ""


def test_repeated_spikes_ask_to_go_back_single_ones_do_not():
    guard = Guard(NumericsConfig())
    steady(guard, 128)
    for step in (129, 300, 500):
        assert guard.judge(step, 9.0, 5.0, 0) == "spike"
        assert not guard.must_go_back
    for step in (510, 520):
        guard.judge(step, 9.0, 5.0, 0)
    assert guard.must_go_back


def test_the_state_comes_back_to_the_bit():
    one, other = Guard(NumericsConfig()), Guard(NumericsConfig())
    steady(one, 100)
    one.judge(101, math.nan, 1.0, 0)
    other.load(json.loads(json.dumps(one.state())))
    assert other == one
