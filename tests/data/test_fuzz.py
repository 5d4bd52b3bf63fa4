"""A fixed slice of the fuzzing that ``benchmarks/fuzz_readers.py`` does at length: spoiled files of every format are read as what
they are or refused in one clear line."""

import signal

import numpy as np
import pytest

from atomfield.data.readers import ReadOptions, read
from atomfield.data.readers.files import kind_of
from tests.fuzz.case import spoiled
from tests.fuzz.judge import compared, judge
from tests.fuzz.mutate import mutant
from tests.fuzz.seeds import seeds

CASES = 6
"""Of each seed."""


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    return [s for s in seeds(folder) if kind_of(folder / s.name)]


@pytest.fixture
def limit():
    """Five seconds a file."""

    def late(*_):
        raise TimeoutError("a reader took more than 5 s")

    before = signal.signal(signal.SIGALRM, late)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 5)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore")
def test_good_files_are_accepted_and_agree_with_independent_parsers(known, tmp_path):
    compared = 0
    for seed in known:
        path = tmp_path / seed.name
        path.write_bytes(seed.content)
        verdict, why = judge(path, seed)
        assert verdict == "accepted", (seed.name, why)
        compared += why == "compared"
    assert compared >= 9


@pytest.mark.filterwarnings("ignore")
def test_spoiled_files_are_read_or_refused_in_one_line(known, tmp_path, limit):
    verdicts = []
    for seed in known:
        path = tmp_path / seed.name
        for number in range(CASES):
            path.write_bytes(spoiled(seed, number))
            limit()
            verdict, why = judge(path, seed)
            assert verdict != "fault", (
                f"python -m benchmarks.fuzz_readers --repeat {seed.name} {number}\n{why}"
            )
            verdicts.append(verdict)
    assert verdicts.count("refused") > 0.3 * len(verdicts) and verdicts.count("accepted") > 0.1 * len(
        verdicts
    )


def test_a_case_is_the_same_every_time_and_differs_from_the_seed(known):
    for seed in known:
        assert spoiled(seed, 3) == spoiled(seed, 3)
    content = b"3\nenergy=-1.5\nO 0 0 0\n"
    made = {mutant(content, np.random.default_rng(n)) for n in range(40)}
    assert len(made) > 30 and sum(m == content for m in made) <= 1


def test_the_judge_finds_what_is_wrong(known, tmp_path, monkeypatch):
    """A reader that crashes, mumbles or reads other values must not pass."""
    from tests.fuzz import judge as module

    seed = next(s for s in known if s.name == "frames.extxyz")
    path = tmp_path / seed.name
    path.write_bytes(seed.content)
    real = module.read

    def shifted(*arguments):
        for graph in real(*arguments):
            yield graph.changed(positions=graph.positions + 0.01)

    def crashing(*_):
        raise KeyError("energy")

    def mumbling(*_):
        raise module.InputError("something is wrong")

    for reader, message in (
        (shifted, "reads something else"),
        (crashing, "KeyError"),
        (mumbling, "does not name the file"),
    ):
        monkeypatch.setattr(module, "read", reader)
        verdict, why = judge(path, seed)
        assert verdict == "fault" and message in why


def test_the_judge_looks_behind_an_empty_line(known, tmp_path):
    """ASE takes one for the end of the file: records after it are compared nonetheless."""
    seed = next(s for s in known if s.name == "frames.extxyz")
    lines = seed.content.decode().splitlines()
    path = tmp_path / seed.name
    path.write_text("\n".join([*lines[:5], "", "", *lines[5:], ""]))
    assert judge(path, seed) == ("accepted", "compared")
    graphs = list(read(path, ReadOptions()))
    graphs[2].positions[0, 0] += 0.1
    verdict, why = compared(path, seed, graphs)
    assert verdict == "fault" and "record 2: positions" in why
