"""The records of a run: one level of theory, all elements in training, none that the targets say nothing of."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.data.quantities import scalar_property
from atomfield.data.readers import BadRecord
from atomfield.data.store import write_store
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.folds import testable as without_untestable
from atomfield.finetune.learning_curve import part_of
from atomfield.finetune.parts import Parts, hold_out, level_of, rare_groups, read_records
from tests.small import morse_clusters, waves


def settings(**options):
    return FinetuneConfig(
        **{"from": "scratch", "train": ("memory",), "target": ("energy", "forces"), **options}
    )


def quiet():
    return Console(file=io.StringIO(), width=200)


def with_fluorine(count, rare):
    """Clusters, of which those numbered ``rare`` have a fluorine in place of a carbon."""
    species = torch.tensor([9, 1, 1, 6, 1])
    return [replace(g, species=species) if i in rare else g for i, g in enumerate(morse_clusters(count))]


@pytest.mark.parametrize("seed", range(8))
def test_the_only_records_of_an_element_stay_in_training(seed):
    graphs = with_fluorine(20, {3})
    train, valid = hold_out(graphs, settings(seed=seed, valid_fraction=0.4))
    assert len(train) + len(valid) == 20
    assert valid
    assert any(9 in g.species for g in train)
    of_property = settings(seed=seed, valid_fraction=0.4, target=("gap",))
    held = [
        i
        for i in range(8)
        if any(
            9 in g.species for g in hold_out(graphs, settings(seed=i, valid_fraction=0.4, target=("gap",)))[1]
        )
    ]
    assert held, "without energies the split is by groups alone"
    assert len(hold_out(graphs, of_property)[1]) == 8


@pytest.mark.parametrize("seed", range(4))
def test_single_atoms_stay_in_training(seed):
    clusters = morse_clusters(30)
    atoms = [g.changed(positions=g.positions[:1], species=g.species[k : k + 1], group=f"atom-{k}")
             for g in clusters[:1] for k in (0, 1)]  # fmt: skip
    train, valid = hold_out([*clusters, *atoms], settings(seed=seed, valid_fraction=0.4))
    assert sum(g.num_nodes == 1 for g in train) == 2
    assert len(valid) > 5


def test_folds_never_test_what_no_training_record_shows():
    graphs = with_fluorine(12, {3})
    folds = {"a": [0, 1, 2, 3], "b": [4, 5, 6, 7], "c": [8, 9, 10, 11]}
    console = quiet()
    assert without_untestable(settings(folds=3), graphs, folds, console) == {**folds, "a": [0, 1, 2]}
    assert (
        "1 records have elements that no other group has: they are trained on in every fold"
        in console.file.getvalue()
    )
    with pytest.raises(
        InputError, match="fold 'a' has 1 test records with elements that no other record has"
    ):
        without_untestable(settings(folds="folds.json"), graphs, folds, quiet())


def test_the_smallest_part_of_a_curve_shows_all_elements():
    graphs = with_fluorine(40, {17})
    for seed in range(5):
        small, large = (part_of(Parts(graphs, graphs[:5], []), n, seed) for n in (3, 10))
        assert any(9 in g.species for g in small.train)
        assert {g.group for g in small.train} < {g.group for g in large.train}


def test_levels_of_theory_are_not_mixed():
    a, b, none = (morse_clusters(3, level=level) for level in ("pbe", "hse", ""))
    assert level_of(settings(), Parts(a, a, none)) == "pbe"
    assert level_of(settings(), Parts(none, none, none)) == "finetuned"
    with pytest.raises(InputError, match=r"2 levels.*--train 3 of pbe, 3 of hse.*or --level NAME"):
        level_of(settings(), Parts([*a, *b], a, a))
    with pytest.raises(InputError, match="--test 3 of hse"):
        level_of(settings(), Parts(a, a, b))
    assert level_of(settings(level="both"), Parts([*a, *b], a, a)) == "both"


def test_records_without_a_label_of_the_targets_are_left_out_and_counted(tmp_path):
    labelled = [
        replace(g, quantities={"gap": g.quantities["energy"]}, properties={"gap": scalar_property("gap")})
        for g in morse_clusters(4)
    ]
    write_store([*labelled, *morse_clusters(3, seed=1)], tmp_path / "both")
    console, left_out = quiet(), []
    config = settings(target=("gap",))
    graphs = read_records(config, (str(tmp_path / "both"),), console, left_out)
    assert len(graphs) == 4
    assert "3 of 7 records have no label of gap; they are left out" in console.file.getvalue()
    assert len(left_out) == 3 and isinstance(left_out[0], BadRecord)


def test_what_is_said_about_bad_records_is_not_taken_for_markup(tmp_path):
    file = tmp_path / "a.csv"
    rows = [f"{'C' * (i + 1)},{i % 7 + 0.5}" for i in range(9)]
    file.write_text("smiles,y\n" + "\n".join([*rows, "[/red],1.0"]) + "\n")
    console = quiet()
    config = settings(target=("y",), on_bad="skip", max_bad=0.5)
    assert len(read_records(config, (str(file),), console)) == 9
    assert "'[/red]' does not parse" in console.file.getvalue()


@pytest.mark.parametrize(("count", "expected"), [(20, 4), (50, 10), (80, 10), (300, 30)])
def test_few_records_hold_out_ten_but_no_more_than_a_fifth(count, expected):
    train, valid = hold_out(morse_clusters(count), settings())
    assert (len(train), len(valid)) == (count - expected, expected)
    assert len(hold_out(morse_clusters(count), settings(valid_fraction=0.1))[1]) == count // 10


def test_trajectories_are_held_out_by_a_tenth():
    assert len(hold_out(waves(10), settings(target=("concentration",)))[1]) == 1


def classed(labels):
    return [
        replace(
            g, quantities={"active": torch.tensor(float(y))}, properties={"active": scalar_property("active")}
        )
        for g, y in zip(morse_clusters(len(labels)), labels, strict=True)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_both_sides_have_their_share_of_a_rare_class(seed):
    graphs = classed([1 if i % 40 == 7 else 0 for i in range(800)])
    train, valid = hold_out(graphs, settings(target=("active",), seed=seed))
    assert len(train) + len(valid) == 800 and 75 <= len(valid) <= 85
    assert sum(float(g.quantities["active"]) for g in valid) == 2
    assert {id(g) for g in train} | {id(g) for g in valid} == {id(g) for g in graphs}


def test_rare_is_of_classes_alone():
    groups = [str(i) for i in range(100)]
    rare = [1 if i < 10 else 0 for i in range(100)]

    def found(labels, **options):
        return rare_groups(classed(labels), groups, settings(target=("active",), **options))

    assert found(rare) == set(groups[:10])
    assert found([1 - y for y in rare]) == set(groups[:10])
    assert found([2 if y else 0 for y in rare]) == set()
    assert found([2 if y else 0 for y in rare], classes={"active": ["a", "b", "c"]}) == set(groups[:10])
    assert found(rare, task="regression") == set()
    assert found([i % 2 for i in range(100)]) == set() and found([1] * 3 + [0] * 97) == set()
