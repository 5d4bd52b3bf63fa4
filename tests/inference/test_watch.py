"""What stops a run, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from atomfield.data.errors import InputError
from atomfield.inference.simulate import Limits, Output, nve, relax
from atomfield.inference.watch import NOTHING, closest_pair, reason_to_stop


def copper(rattle: float = 0.0) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.rattle(rattle, seed=0)
    atoms.calc = EMT()
    return atoms


def test_words() -> None:
    found = Limits.parse(("force>50", "distance < 0.6", "temperature>3e3"))
    assert found == Limits(force=50.0, distance=0.6, temperature=3000.0)
    assert not Limits()
    assert not Limits.parse(())
    with pytest.raises(InputError, match="--stop-when: found force twice"):
        Limits.parse(("force>50", "force>5"))
    for term in ("force<50", "distance>1", "speed>3", "force>fast", "force", "force>-1"):
        with pytest.raises(InputError, match="--stop-when: found"):
            Limits.parse((term,))


def test_reasons() -> None:
    atoms = copper(0.1)
    largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
    assert reason_to_stop(atoms, Limits(force=2 * largest, distance=1.0), 300.0) == ""
    assert "the force on atom" in reason_to_stop(atoms, Limits(force=largest / 2))
    assert "temperature is 300 K, more than 200" in reason_to_stop(atoms, Limits(temperature=200), 300.0)
    assert "angstrom apart, less than 2.9" in reason_to_stop(atoms, Limits(distance=2.9))
    with pytest.raises(InputError, match="gives no uncertainty"):
        reason_to_stop(atoms, Limits(uncertainty=0.1))
    atoms.calc.results |= {"uncertainty": 0.3, "ood_score": float("nan")}
    assert reason_to_stop(atoms, Limits(uncertainty=0.5)) == ""
    assert "uncertainty is 0.3, more than 0.1" in reason_to_stop(atoms, Limits(uncertainty=0.1))
    assert "ood_score is nan" in reason_to_stop(
        atoms, Limits(ood_score=3.0)
    )  # not a number is no reason to go on


def test_the_closest_pair_may_be_an_image() -> None:
    atoms = Atoms("H2", [[0.1, 0, 0], [5.8, 0, 0]], cell=[6, 9, 9], pbc=[True, False, False])
    i, j, distance = closest_pair(atoms, 1.0)
    assert {i, j} == {0, 1}
    assert distance == pytest.approx(0.3)
    atoms.pbc = False
    assert closest_pair(atoms, 1.0) is None


def test_runs_end_with_their_files_whole(tmp_path: Path) -> None:
    output = Output(log=tmp_path / "log.csv", interval=100, stop=Limits(temperature=200.0))
    run = nve(copper(), steps=200, temperature=150, timestep=2.0, seed=3, output=output)
    assert not run.stopped  # potential energy takes half of it
    run = nve(copper(0.2), steps=200, temperature=150, timestep=2.0, seed=3, output=output)
    assert "temperature" in run.stopped
    assert 0 < run.steps < 200
    assert "STOPPED" in str(run)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert int(rows[-1].split(",")[0]) == run.steps
    assert float(rows[-1].split(",")[-1]) > 200
    stopped = relax(copper(0.3), fmax=1e-4, steps=50, output=Output(interval=1, stop=Limits(force=0.5)))
    assert "force" in stopped.stopped
    assert not stopped.converged
    with pytest.raises(InputError, match="a relaxation has no temperature"):
        relax(copper(0.3), output=Output(stop=Limits(temperature=100.0)))


@pytest.mark.parametrize("what", ["relax", "nve"])
def test_a_watch_that_the_model_cannot_keep_leaves_an_earlier_run_as_it_was(
    tmp_path: Path, what: str
) -> None:
    output = Output(tmp_path / "md.extxyz", tmp_path / "log.csv", restart=tmp_path / "state", interval=1)

    def go(stop: Limits) -> None:
        now = replace(output, stop=stop)
        if what == "relax":
            relax(copper(0.1), steps=2, output=now)
        else:
            nve(copper(), steps=2, temperature=10, output=now)

    go(NOTHING)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 3
    with pytest.raises(InputError, match="gives no uncertainty"):
        go(Limits(uncertainty=0.1))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
