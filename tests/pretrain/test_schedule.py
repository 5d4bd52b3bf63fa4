"""What a limit of time counts."""

from __future__ import annotations

import time

import pytest

from atomfield.pretrain.schedule import Progress, seconds_of


def test_time_is_what_the_clock_says():
    now = [100.0]
    progress = Progress(1000, 20.0, clock=lambda: now[0])
    assert progress.at(0) == 0.0
    now[0] += 5.0
    assert progress.seconds() == 5.0
    assert progress.at(10) == pytest.approx(0.25)
    assert progress.at(900) == pytest.approx(0.9)  # steps end a run, too
    now[0] += 20.0
    assert progress.at(10) > 1.0


def test_processor_time_does_not_pass_while_waiting():
    progress = Progress(1000, 0.05, clock=seconds_of("processor"))
    time.sleep(0.1)
    assert progress.at(0) < 1.0
