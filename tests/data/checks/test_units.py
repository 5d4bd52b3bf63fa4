"""Each wrong unit or sign is found and named with its factor, in a metal and in molecules; right data gives no alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from atomfield.data.checks import audit
from atomfield.data.checks.frames import Sample, near_pairs
from atomfield.data.checks.scales import all_electron_energy
from atomfield.data.checks.units import slope_of
from atomfield.data.graph import Graph
from atomfield.data.readers import ReadOptions, read
from atomfield.data.source import open_source

KCAL, KJ, HARTREE, BOHR = 23.0605, 96.4853, 1 / 27.211386, 1 / 0.529177
PLANTED = {
    "forces with the wrong sign": ({"forces": -1.0}, "forces=-eV/angstrom"),
    "energies with the wrong sign": ({"energy": -1.0}, "energy=-eV"),
    "forces in kcal/mol": ({"forces": KCAL}, "forces=kcal/mol/angstrom"),
    "forces in kJ/mol": ({"forces": KJ}, "forces=kJ/mol/angstrom"),
    "energies in kcal/mol": ({"energy": KCAL}, "energy=kcal/mol"),
    "energies in hartree": ({"energy": HARTREE}, "energy=hartree"),
    "forces in hartree/bohr": ({"forces": HARTREE / BOHR}, "forces=hartree/bohr"),
    "both in atomic units": (
        {"energy": HARTREE, "forces": HARTREE / BOHR},
        "energy=hartree,forces=hartree/bohr",
    ),
    "positions in bohr": ({"length": BOHR}, "positions=bohr"),
    "atomic units": (
        {"length": BOHR, "energy": HARTREE, "forces": HARTREE / BOHR},
        "positions=bohr,energy=hartree,forces=hartree/bohr",
    ),
}
STRESSES = {
    "sign": (-1.0, "stress=-eV/angstrom^3"),
    "GPa": (160.2177, "stress=GPa"),
    "VASP's kbar": (-1602.177, "stress=-kbar"),
}


def advice(graphs: list[Graph]) -> str:
    return " ".join(f.advice for f in audit(graphs).of("units"))


def test_right_units_give_no_alarm(copper, squeezed_copper, molecules) -> None:
    for graphs in (copper, squeezed_copper, molecules):
        assert audit(graphs).of("units") == []


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("data", ["copper", "molecules"])
def test_a_planted_unit_is_found(
    data: str, name: str, request: pytest.FixtureRequest, in_units: Callable[..., list[Graph]]
) -> None:
    factors, option = PLANTED[name]
    (finding,) = audit(in_units(request.getfixturevalue(data), **factors)).of("units")
    assert finding.severity == "wrong"
    assert finding.advice.split(" (or ")[0] == f"add --units {option}", finding.line()
    assert "factor" in finding.message


@pytest.mark.parametrize(
    ("factors", "option"),
    [
        ({"energy": HARTREE}, "energy=hartree"),
        ({"energy": HARTREE, "forces": HARTREE / BOHR}, "energy=hartree,forces=hartree/bohr"),
        ({"energy": KCAL}, "energy=kcal/mol"),
    ],
)
def test_stiff_bonds_do_not_make_wrong_energies_wrong_forces(molecules, in_units, factors, option) -> None:
    """Forces of H2 and HF change by 150 eV/angstrom^2, and a slope of 1/27 is not far from 1/23."""
    stiff = [g for g in molecules if g.num_nodes == 2][:12]
    assert advice(stiff) == ""
    assert advice(in_units(stiff, **factors)).split(" (or ")[0] == f"add --units {option}"


def test_kcal_throughout_is_seen_by_the_stiffness_of_bonds_to_hydrogen(molecules, in_units) -> None:
    (finding,) = audit(in_units(molecules, energy=KCAL, forces=KCAL)).of("units")
    assert finding.advice.startswith("add --units energy=kcal/mol,forces=kcal/mol/angstrom")


@pytest.mark.parametrize("name", STRESSES)
def test_a_wrong_stress_is_found(name: str, squeezed_copper, in_units) -> None:
    factor, option = STRESSES[name]
    assert f"add --units {option}" in advice(in_units(squeezed_copper, stress=factor))


def test_a_virial_is_found(squeezed_copper) -> None:
    graphs = [
        replace(g, quantities={**g.quantities, "stress": -g.quantities["stress"] * g.cell.det().abs()})
        for g in squeezed_copper
    ]
    assert "add --units stress=virial" in advice(graphs)


def test_without_energies_the_stress_is_judged_by_the_volume(squeezed_copper, in_units) -> None:
    graphs = [
        replace(g, quantities={"stress": g.quantities["stress"]})
        for g in in_units(squeezed_copper, stress=-1.0)
    ]
    assert "stress=-eV/angstrom^3" in advice(graphs)
    right = [replace(g, quantities={"stress": g.quantities["stress"]}) for g in squeezed_copper]
    assert advice(right) == ""


def test_forces_of_other_frames_are_found(molecules) -> None:
    one = [g for g in molecules if g.num_nodes == molecules[-1].num_nodes][:60]
    rng = np.random.default_rng(0)
    graphs = []
    base = max(one, key=lambda g: g.num_nodes)
    for number in range(40):  # one molecule, forces that know nothing of its positions
        moved = base.positions + 0.05 * torch.from_numpy(rng.standard_normal(base.positions.shape))
        values = {
            "energy": base.quantities["energy"] + 0.3 * float(rng.standard_normal()),
            "forces": torch.from_numpy(2.0 * rng.standard_normal(base.positions.shape)),
        }
        graphs.append(replace(base, positions=moved, quantities=values, group=str(number)))
    (finding,) = audit(graphs).of("units")
    assert "do not fit their structures" in finding.message


def test_the_declared_unit_answers_the_advice(tmp_path, copper) -> None:
    """What the advice says, given to the reader, silences the check."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    frames = []
    for g in copper:
        atoms = Atoms(g.species.numpy(), g.positions.numpy(), cell=g.cell.numpy(), pbc=True)
        forces = g.quantities["forces"].numpy() * KCAL
        atoms.calc = SinglePointCalculator(atoms, energy=float(g.quantities["energy"]), forces=forces)
        frames.append(atoms)
    write(tmp_path / "cu.extxyz", frames)
    assert "forces=kcal/mol/angstrom" in advice(list(read(tmp_path / "cu.extxyz")))
    options = ReadOptions(units={"forces": "kcal/mol/angstrom"})
    assert advice(list(read(tmp_path / "cu.extxyz", options))) == ""


def test_the_starter_corpus_is_clean() -> None:
    for name in ("task_molecules", "task_crystals", "task_fields", "crystals"):
        source = open_source(f"starter/{name}")
        graphs = [source[i] for i in range(0, len(source), 1 + len(source) // 700)]
        assert [f.line() for f in audit(graphs).findings if f.severity != "note"] == []


def test_the_work_between_near_frames_is_the_energy(copper) -> None:
    """The trapezoid on EMT: slope 1 within 8 %."""
    sample = Sample()
    for record, graph in enumerate(copper):
        sample.add(record, graph)
    pairs = near_pairs(sample)
    slope, _, agreement = slope_of(pairs.energy, pairs.work, pairs.turn)
    assert slope == pytest.approx(1.0, abs=0.08)
    assert agreement > 0.95


def test_rotated_molecules_are_superposed(molecules) -> None:
    """The same pair of frames, one of them rotated with its forces, does the same work."""
    from scipy.spatial.transform import Rotation

    a, b = next(
        (a, b) for a, b in pairwise(molecules) if torch.equal(a.species, b.species) and a.num_nodes > 3
    )
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    turned = replace(
        b,
        positions=b.positions @ turn + 3.0,
        quantities={**b.quantities, "forces": b.quantities["forces"].double() @ turn},
    )
    works = []
    for other in (b, turned):
        sample = Sample()
        sample.add(0, a)
        sample.add(1, other)
        works.append(near_pairs(sample).work[0])
    assert works[0] == pytest.approx(works[1], rel=1e-6)


def test_all_electron_energies() -> None:
    """Hydrogen is 13.6 eV; the formula above argon meets the exact value of krypton (-2752.05 hartree, Hartree-Fock)."""
    assert all_electron_energy(np.array([1])) == pytest.approx(-13.6057, abs=1e-3)
    assert all_electron_energy(np.array([36])) / 27.211386 == pytest.approx(-2752.05, rel=6e-3)
    assert np.isnan(all_electron_energy(np.array([79])))
