"""Batches made ahead: the same in the same order for any number of workers, errors where they belong, no worker left behind."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import collate
from atomfield.data.loader import Loader, _Process
from tests.data.conftest import molecule
from tests.small import hears_ctrl_c


def make(key):
    """What the workers do; keys beyond 100 ask for trouble."""
    match key:
        case 101:
            raise InputError("the record is spoiled", Provenance("file.xyz", 7, 93))
        case 102:
            raise ZeroDivisionError("a mistake of ours")
        case 103:
            os._exit(9)
        case 104:
            time.sleep(60)
    time.sleep(0.01 * (key % 3))
    return collate([molecule(key), molecule(key + 1)])


def same(a, b):
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype and torch.equal(value, other), name
        elif isinstance(value, dict):
            assert value.keys() == other.keys()
            assert all(torch.equal(v.nan_to_num(-1), other[k].nan_to_num(-1)) for k, v in value.items())
        else:
            assert value == other, name


@pytest.mark.parametrize("workers", [0, 2])
def test_any_number_of_workers_gives_the_same_batches_in_the_same_order(workers):
    with Loader(make, range(9), workers=workers) as batches:
        found = list(batches)
        assert batches.waited > 0
    assert len(found) == 9
    for key, batch in enumerate(found):
        same(batch, make(key))
    assert list(batches) == []


def test_batches_are_ready_before_they_are_asked_for_and_no_more_than_that():
    made = []

    def note(key):
        made.append(key)
        return make(3)

    with Loader(note, itertools.count(), ahead=3) as batches:
        next(batches)
        time.sleep(0.5)
        assert made == [0, 1, 2, 3, 4]  # one given, three ready, one in hand
    time.sleep(0.3)
    assert made == [0, 1, 2, 3, 4] and not [t for t in threading.enumerate() if t.name.startswith("data-")]


def test_an_error_comes_with_its_batch_and_names_the_record():
    with Loader(make, [1, 2, 101, 3]) as batches:
        same(next(batches), make(1))
        same(next(batches), make(2))
        with pytest.raises(InputError, match=r"^file.xyz:93 \(record 7\): the record is spoiled$"):
            next(batches)
        assert list(batches) == []


def test_a_mistake_of_ours_is_not_hidden():
    with (
        Loader(make, [102]) as batches,
        pytest.raises(RuntimeError, match="ZeroDivisionError: a mistake of ours"),
    ):
        next(batches)


def test_a_worker_process_hands_errors_on_and_is_missed_when_it_dies():
    worker = _Process(make)
    same(worker.ask(1), make(1))
    with pytest.raises(InputError, match=r"^file.xyz:93 \(record 7\): the record is spoiled$"):
        worker.ask(101)
    with pytest.raises(
        RuntimeError, match=r"(?s)in the worker:.*test_loader.py.*ZeroDivisionError: a mistake of ours"
    ):
        worker.ask(102)
    same(worker.ask(2), make(2))
    with pytest.raises(InputError, match=r"a data worker ended by itself \(exit code 9\)"):
        worker.ask(103)


def test_signals_to_a_whole_job_leave_its_workers_working():
    """The training process saves on them, and needs the batches of its last step for that."""
    worker = _Process(make)
    same(worker.ask(1), make(1))
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(worker.process.pid, number)
        same(worker.ask(2), make(2))
    worker.process.kill()


def test_leaving_early_does_not_wait_for_a_busy_worker():
    began = time.monotonic()
    with Loader(make, [0, 104], workers=1) as batches:
        next(batches)
        process = batches._processes[0].process
    assert time.monotonic() - began < 30 and not process.is_alive()


def test_a_signal_that_another_thread_received_is_heard():
    """Python runs handlers in the main thread alone, when it wakes; the system may give a signal to any thread."""
    sent, heard = [], []
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append(time.monotonic()))

    def slow(key):  # in the thread that makes batches, while the main one waits for this one
        time.sleep(1)
        sent.append(time.monotonic())
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        time.sleep(5)
        return make(key)

    try:
        with Loader(slow, [0]) as batches:
            next(batches)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard[0] - sent[0] < 3


def test_ctrl_c_ends_the_program_and_its_workers(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(
        "import itertools, os, sys, time\n"
        "from atomfield.data.loader import Loader\n"
        "from tests.data.test_loader import make\n"
        "if __name__ == '__main__':\n"
        "    with Loader(make, [0, 104], workers=1) as batches:\n"
        "        next(batches)\n"
        "        print([p.process.pid for p in batches._processes], flush=True)\n"
        "        next(batches)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    running = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=hears_ctrl_c,
    )
    pids = [int(x) for x in running.stdout.readline().strip(" []\n").split(",") if x]
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=40)
    assert "KeyboardInterrupt" in errors and running.returncode != 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
