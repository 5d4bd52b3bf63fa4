"""What a run takes of its sources, and how its streams are called."""

from dataclasses import replace

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.sampler import Budget, EpochSampler
from atomfield.data.splits import split_of
from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.run import none_is_best
from atomfield.pretrain.sources import (
    nameless_levels,
    no_validation,
    opened,
    select,
    stream_names,
    stream_of,
    without_labels,
)
from atomfield.pretrain.start import build
from atomfield.pretrain.streams import NoItems, Stream
from tests.small import morse_clusters, waves


def config_of(*streams):
    return PretrainConfig(streams=streams)


def test_streams_of_one_name_are_told_apart():
    """Losses are summed and divided by name: two data sets of one name would be weighed as one."""
    config = config_of(
        {"source": "qm/train"}, {"source": "mp/train"}, {"source": "mp/train", "objective": "denoise", "noise": 0.1},
        {"source": "mp/train", "objective": "denoise", "noise": 0.3}, {"source": "x/train"},
    )  # fmt: skip
    assert stream_names(config) == ["train", "train-2", "train-denoise", "train-denoise-2", "train-3"]


def test_groups_are_held_out_whole_and_of_few_groups_records():
    many = morse_clusters(60)
    for part in ("train", "valid"):
        assert [g.group for g in select(many, part)] == [g.group for g in many if split_of(g.group) == part]
    one = [replace(g, group="C2H3") for g in many]  # frames of one molecule: its name decided for all of them
    train, valid = select(one, "train"), select(one, "valid")
    assert (len(train), len(valid)) == (51, 3)
    assert not {*train.numbers.tolist()} & {*valid.numbers.tolist()}
    assert (len(select(one[:4], "train")), len(select(one[:4], "valid"))) == (4, 0)


def test_what_an_objective_cannot_use_is_refused():
    options = {"cutoff": 5.0, "max_edges": 600, "seed": 0, "name": "flows"}
    with pytest.raises(NoItems, match="^flows: no record has a single time, .* `objective: next_step`"):
        Stream(waves(2), Targets("supervised"), **options)
    with pytest.raises(NoItems, match="no record has atoms with forces below"):
        Stream(waves(2), Targets("denoise", noise=0.1), **options)


def test_records_without_labels_are_counted_and_a_source_of_nothing_else_is_refused():
    graphs = morse_clusters(6)
    bare = [replace(g, quantities={}) for g in graphs]
    config = config_of({"source": "a"}, {"source": "b"})
    found = build(config, [graphs, [*graphs[:2], *bare[2:]]])
    assert found.unlabelled == ((1, 4),)
    sets = {"a": select(graphs, "train"), "b": select(graphs, "train")}
    assert without_labels(sets, found.unlabelled) == [
        f"b: 4 of {len(sets['b'])} training records have no label"
    ]
    with pytest.raises(InputError, match="^b: none of .* training records has a label that is learnt"):
        without_labels(sets, [(1, len(sets["b"]))])
    assert build(config, [graphs, bare], [0]).unlabelled == ()


def test_a_source_without_validation_records_leaves_the_others_theirs():
    graphs = morse_clusters(8)
    config = config_of({"source": ["a", "b"], "mixture": [1.0, 2.0]})
    sets = {"a": select(graphs, "train"), "b": select([], "valid")}
    stream = stream_of(config, 0, sets, 5.0, (), validation=True)
    assert len(stream.items) == len(sets["a"])
    assert no_validation([stream], [stream]) == ""
    assert "No validation records in a+b" in no_validation([stream], [])


def test_weights_of_data_sets_count_those_that_have_no_items():
    sampler = EpochSampler(
        np.ones(4), np.ones(4), Budget(items=2), seed=0, parts=np.zeros(4, dtype=int), mixture=(1.0, 3.0)
    )
    assert sorted(np.concatenate([sampler.batch(0), sampler.batch(1)]).tolist()) == [0, 1, 2, 3]


def test_atoms_and_fields_without_a_level_share_a_row():
    """What most files are: nobody named a level of theory or a solver."""
    config = config_of({"source": "a"}, {"source": "b", "objective": "next_step"})
    found = build(config, [morse_clusters(4, level=""), waves(2, level="")])
    assert found.net.config.levels == ("",)
    assert float(found.net.atom_head.reference[0, 6]) != 0 and bool(
        (found.net.field_head.increment_rms[0] != 1).any()
    )


def test_energies_of_levels_without_names_in_several_sources_are_told():
    plain, named = morse_clusters(6, level=""), morse_clusters(6)
    sets = {name: select(graphs, "train") for name, graphs in (("a", plain), ("b", plain), ("c", named))}
    assert nameless_levels(sets).startswith("Energies of a, b have no level of theory and count as one")
    assert nameless_levels({"a": sets["a"], "c": sets["c"]}) == ""


def test_a_source_that_cannot_be_read_says_how_to_leave_records_out(tmp_path):
    """``atomfield pretrain`` has no --on-bad; a store of the good records is what to make."""
    file = tmp_path / "pairs.xyz"
    file.write_text("2\n\nH 0 0 0\nH 0 0 0.01\n")
    with pytest.raises(
        InputError,
        match=f"atoms 0 and 1 .*leave such records out with `atomfield prepare {file} --on-bad skip",
    ):
        opened(str(file))


def test_checkpoints_without_a_score_are_told():
    at = lambda save, validate, best=1: none_is_best(  # noqa: E731
        PretrainConfig(streams=({"source": "x"},), save_every=save, validate_every=validate, keep_best=best)
    )
    assert at(500, 500) == at(500, 250) == at(500, 300, 0) == ""
    assert "save_every 500 is no multiple of validate_every 300" in at(500, 300)
