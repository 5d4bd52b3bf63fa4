"""A first run's mistakes: each is one line that says what to do, and exit code 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.partition import write_parts
from atomfield.data.store import write_store
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.mistakes import check_records, electrons_of
from atomfield.finetune.tasks import task_of
from atomfield.models import checkpoint
from tests.small import morse_clusters, small_network, waves


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    return checkpoint.save(small_network(), tmp_path_factory.mktemp("start") / "model")


@pytest.fixture
def ended(capsys, tmp_path, start):
    """Run ``finetune``; returns its exit code, what it printed, and what it said on stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        given = ["finetune", "--from", start, "--out", tmp_path / "run", "--set", "steps=2", *words]
        code = main([str(word) for word in given])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def mistake(ended, tmp_path):
    """Run ``finetune`` with a mistake; returns its message."""

    def run(*words: object) -> str:
        code, _, err = ended(*words)
        assert code == 2
        last = err.rstrip("\n").split("\n")[-1]
        assert last.startswith("atomfield: ")
        assert not (tmp_path / "run" / "model").exists()
        return last.removeprefix("atomfield: ")

    return run


def table(path: Path, rows: list[tuple[object, ...]], columns: str = "smiles,y") -> Path:
    path.write_text("\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def alkanes(count: int) -> list[str]:
    return [
        "C" * (1 + i % 4) + "O" * (i // 4 % 2) + "N" * (i // 8 % 2) + "F" * (i // 16) for i in range(count)
    ]


def frames(
    path: Path, count: int = 30, seed: int = 0, change=lambda atoms, energy, forces: (energy, forces)
) -> Path:
    """Frames of one molecule, C2H3 with the spin of a radical."""
    images = []
    for graph in morse_clusters(count, seed=seed):
        atoms = Atoms(graph.species.tolist(), graph.positions.numpy())
        energy, forces = change(atoms, float(graph.quantities["energy"]), graph.quantities["forces"].numpy())
        atoms.info |= {"REF_energy": energy, "spin": 1}
        atoms.arrays["REF_forces"] = forces
        images.append(atoms)
    write(path, images)
    return path


SURFACE = ["--target", "energy,forces", "--map", "energy=REF_energy,forces=REF_forces"]


def test_five_samples(mistake, tmp_path):
    file = table(tmp_path / "five.csv", list(zip(alkanes(5), [1.0, 2.5, 3.1, 4.2, 0.3], strict=True)))
    assert "5 records for training and validation, expected at least 10" in mistake(
        "--train", file, "--target", "y"
    )


def test_the_wrong_column(mistake, tmp_path):
    rows = [(s, i, 0.1 * i**2) for i, s in enumerate(alkanes(30))]
    file = table(tmp_path / "t.csv", rows, "smiles,number,y")
    assert "'number' count the records one by one: this column is a row number" in mistake(
        "--train", file, "--target", "number"
    )
    assert "'solubility'" in (said := mistake("--train", file, "--target", "solubility")) and "y" in said
    assert "smiles" in mistake("--train", file, "--target", "smiles")


def test_one_class_and_a_constant(mistake, tmp_path):
    one = table(tmp_path / "one.csv", [(s, 1) for s in alkanes(20)])
    assert "all 16 training labels of 'y' are 1: one class only" in mistake("--train", one, "--target", "y")
    same = table(tmp_path / "same.csv", [(s, 3.7) for s in alkanes(20)])
    assert "are 3.7: the target is constant; is this the column you mean?" in mistake(
        "--train", same, "--target", "y"
    )
    still = frames(tmp_path / "still.xyz", change=lambda a, e, f: (e, 0 * f))
    assert "all forces of 24 training records are zero" in mistake("--train", still, *SURFACE)


def test_the_training_file_as_test_file(mistake, tmp_path):
    file = frames(tmp_path / "all.xyz")
    assert "the same source is given as --train" in mistake("--train", file, "--test", file, *SURFACE)
    assert "holds records of another source" in mistake("--train", file, "--train", file, *SURFACE)
    write_store(morse_clusters(12), tmp_path / "store")
    write_parts(tmp_path / "store", {"train": list(range(10)), "test": [10, 11]})
    whole, train, test = (f"{tmp_path / 'store'}{part}" for part in ("", ":train", ":test"))
    targets = ["--target", "energy,forces"]
    for first, second in ((whole, test), (train, whole), (train, train)):
        assert "the same source is given as --train" in mistake("--train", first, "--test", second, *targets)
    said = mistake("--train", train, "--valid", test, "--test", test, *targets)
    assert "the same source is given as --valid, whose records choose the weights" in said
    copy = tmp_path / "copy.xyz"
    copy.write_bytes(file.read_bytes())
    said = mistake(
        "--train", file, "--valid", frames(tmp_path / "v.xyz", 8, seed=1), "--test", copy, *SURFACE
    )
    assert "these are the training records" in said


def test_units_and_signs_of_energies_and_forces(mistake, tmp_path):
    other = frames(tmp_path / "kcal.xyz", change=lambda a, e, f: (e, f * 23.06))
    said = mistake("--train", other, *SURFACE)
    assert "forces look like kcal/mol/angstrom" in said and "--units forces=kcal/mol/angstrom" in said
    turned = frames(tmp_path / "turned.xyz", change=lambda a, e, f: (e, -f))
    assert "opposite sign" in mistake("--train", turned, *SURFACE)


def strained(path: Path, factor: float) -> Path:
    """Strained copper from effective medium theory, with the stress times ``factor``."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(0)
    images = []
    for _ in range(24):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
        atoms.rattle(0.02, rng=rng)
        atoms.calc = EMT()
        one = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        one.info |= {
            "REF_energy": atoms.get_potential_energy(),
            "REF_stress": factor * atoms.get_stress(voigt=False),
        }
        one.arrays["REF_forces"] = atoms.get_forces()
        images.append(one)
    write(path, images)
    return path


def test_the_sign_of_the_stress(mistake, tmp_path):
    words = [
        "--target",
        "energy,forces,stress",
        "--map",
        "energy=REF_energy,forces=REF_forces,stress=REF_stress",
    ]
    said = mistake("--train", strained(tmp_path / "s.xyz", -1.0), *words)
    assert "stress looks like it has the opposite sign" in said and "--units stress=-eV/angstrom^3" in said


def test_totals_against_interaction_energies(mistake, tmp_path):
    file = frames(tmp_path / "all.xyz")
    relative = frames(tmp_path / "relative.xyz", 12, seed=1, change=lambda a, e, f: (e + 300, f))
    said = mistake("--train", file, "--test", relative, *SURFACE)
    assert (
        "eV per atom (median): these are of another unit or kind (total against interaction energies)" in said
    )
    deep = frames(tmp_path / "deep.xyz", change=lambda a, e, f: (e - 100, f))
    near = frames(tmp_path / "near.xyz", 12, seed=1, change=lambda a, e, f: (0.1 * (e + 30), 0.1 * f))
    said = mistake("--train", f"{deep},{near}", *SURFACE)
    assert "total energies and interaction (or relative) energies are mixed" in said


def test_a_forgotten_charge_or_spin(mistake, tmp_path):
    ions = []
    for i in range(20):
        atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.9 + 0.01 * i]])
        atoms.info["y"] = 0.3 * i
        ions.append(atoms)
    write(tmp_path / "ions.xyz", ions)
    said = mistake("--train", tmp_path / "ions.xyz", "--target", "y")
    assert "have an odd number of electrons and no spin" in said and "--map charge=KEY,spin=KEY" in said
    for atoms in ions:
        atoms.info["charge"], atoms.info["spin"] = -1, 1
    write(tmp_path / "ions.xyz", ions)
    said = mistake("--train", tmp_path / "ions.xyz", "--target", "y")
    assert "10 electrons at charge -1 with 1 unpaired" in said


def test_what_molecules_may_be():
    def judged(species, **conditions):
        positions = torch.arange(len(species)).double()[:, None] * torch.ones(3)
        return electrons_of(Graph(positions, torch.tensor(species), "molecule", conditions=conditions))

    assert judged([8, 1]) == ("forgotten", 9)
    assert judged([8, 1], spin=1.0) == ("possible", 9)
    assert judged([8, 1], charge=-1.0) == ("possible", 10)
    assert judged([8, 1, 1], charge=1.0, spin=0.0)[0] == "contradicting"
    assert judged([8, 8], spin=2.0)[0] == "possible"
    assert judged([1])[0] == "possible"  # an isolated atom


def test_insisting_is_possible(capsys, tmp_path, start):
    file = frames(tmp_path / "kcal.xyz", change=lambda a, e, f: (e, f * 23.06))
    words = ["finetune", "--from", str(start), "--train", str(file), "--out", str(tmp_path / "run"), "--set", "steps=2",
             *SURFACE, "--on-wrong", "report"]  # fmt: skip
    assert main(words) == 0
    assert "forces look like kcal/mol/angstrom" in capsys.readouterr().err


def test_labels_that_no_answer_is_compared_with(tmp_path):
    config = FinetuneConfig(**{"from": "scratch", "train": ("memory",), "target": ("dipole",)})
    box = {
        "world": "crystal",
        "cell": 20 * torch.eye(3, dtype=torch.float64),
        "pbc": torch.tensor([True, True, False]),
    }
    molecules = [replace(g, quantities={"dipole": g.positions[0], "stress": torch.eye(3).double() * (1 + g.positions[0, 0])})
                 for g in morse_clusters(12)]  # fmt: skip
    boxed = [replace(g, **box) for g in molecules]
    both = [*boxed[:3], *molecules[3:]]
    check_records(config, task_of(("dipole",), molecules), molecules, {}, print)
    with pytest.raises(InputError, match="3 of 12 records with a dipole are periodic"):
        check_records(config, task_of(("dipole",), both), both, {}, print)
    with pytest.raises(InputError, match="none of the 2 records that the report is about has a label"):
        check_records(config, task_of(("dipole",), molecules), molecules, {"test": boxed[:2]}, print)
    with pytest.raises(InputError, match="none of 12 records with a stress is periodic in three directions"):
        check_records(config, task_of(("stress",), boxed), boxed, {}, print)


def test_records_of_another_kind_are_found_before_training():
    config = FinetuneConfig(**{"from": "scratch", "train": ("memory",), "target": ("concentration",)})
    graphs = waves(12)
    task = task_of(config.target, graphs)
    with pytest.raises(InputError, match="a field record has 1 time among trajectories"):
        check_records(config, task, graphs, {"test": [graphs[0].snapshot(0)]}, print)
    with pytest.raises(InputError, match="found a molecule among records of fields"):
        check_records(config, task, graphs, {"valid": morse_clusters(1)}, print)


def test_a_field_that_stands_still_is_no_target(tmp_path):
    config = FinetuneConfig(**{"from": "scratch", "train": ("memory",), "target": ("velocity",)})
    graphs = waves(12)
    with pytest.raises(
        InputError, match="'velocity' has no time in the 12 training records.*an input that stands still"
    ):
        check_records(config, task_of(("velocity",), graphs), graphs, {}, print)
    check_records(config, task_of(("concentration",), graphs), graphs, {}, print)


def test_a_copy_of_the_training_file_as_test_file(mistake, tmp_path):
    """Of which a part was held out for validation."""
    rows = [(s, 0.1 * i**2 % 3) for i, s in enumerate(alkanes(16))]
    file, copy = (table(tmp_path / name, rows) for name in ("a.csv", "b.csv"))
    assert "these are the training records: 16 of 16" in mistake(
        "--train", file, "--test", copy, "--target", "y"
    )


def test_the_column_of_structures_is_no_target(mistake, tmp_path):
    file = table(tmp_path / "t.csv", [(s, 1.0, i) for i, s in enumerate(alkanes(12))], "smiles,y,z")
    said = mistake("--train", file, "--target", "smiles")
    assert "target 'smiles' is the column of the structures, expected a column of labels: y, z" in said


def test_classes_that_are_not_0_and_1_are_told_how_to_be_named(mistake, tmp_path):
    file = table(tmp_path / "t.csv", [(s, (-1) ** i) for i, s in enumerate(alkanes(16))])
    said = mistake("--train", file, "--target", "y", "--task", "classification")
    assert "found -1, 1 in 'y'; of other classes say their names: --set classes.y=[-1,1]" in said


@pytest.fixture
def said(ended):
    """Run ``finetune`` and return all that it says, in one line."""

    def run(*words: object) -> str:
        code, out, err = ended(*words)
        assert code == 0
        return " ".join((out + err).split())

    return run


def test_records_that_lack_one_of_the_targets_are_counted(said, tmp_path):
    """The energy of every other frame goes by another name."""
    file = frames(tmp_path / "two.xyz", 20)
    lines = file.read_text().splitlines(keepends=True)
    lines[1::14] = [line.replace("REF_energy", "dft_energy") for line in lines[1::14]]
    file.write_text("".join(lines))
    told = said("--train", file, *SURFACE)
    where = f"{file}: 10 of 20 records have no energy, the first: {file}:1 (record 0)"
    assert bare(f"{where}; they count for the other targets alone") in bare(told)


def test_molecules_with_contradicting_labels_are_named(said, tmp_path):
    rows = [(s, 0.1 * i) for i, s in enumerate(alkanes(12))]
    near = table(tmp_path / "near.csv", [*rows, ("C", 0.05)])
    assert "stand in several records" not in said("--train", near, "--target", "y")
    far = table(tmp_path / "far.csv", [*rows, ("C", 0.05), ("CC", 7.0), ("CCC", 9.0)])
    told = said("--train", far, "--target", "y")
    assert (
        "y: 2 molecules stand in several records with labels that contradict each other, the first:" in told
    )
    assert bare(f"0.1 in {far}:3 (record 1) and 7 in {far}:15 (record 13); all are trained on") in bare(told)
    classes = table(tmp_path / "c.csv", [*((s, i % 2) for i, (s, _) in enumerate(rows)), ("C", 1)])
    told = said("--train", classes, "--target", "y")
    assert bare(f"the first: 0 in {classes}:2 (record 0) and 1 in {classes}:14") in bare(told)


def bare(text: str) -> str:
    """Without white space: a console breaks long paths."""
    return "".join(text.split())


def test_test_records_of_one_class_are_told(said, tmp_path):
    both = table(tmp_path / "t.csv", [(s, i % 2) for i, s in enumerate(alkanes(16))])
    one = table(tmp_path / "v.csv", [("CCCCCCO", 1), ("CCCCCCN", 1)])
    told = said("--train", both, "--test", one, "--target", "y")
    assert "y: all 2 labels of these records are 1, and ROC-AUC takes records of both classes" in told
