"""What is known of the training records before a network is built: as from reading them all; a sample holds what is rare."""

import numpy as np
import pytest
import torch

from atomfield.data.quantities import FIELD_STATES
from atomfield.data.store import Store, write_store
from atomfield.data.subset import Joined, Subset, holding, largest, names_in
from atomfield.pretrain import survey as module
from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.property_fits import NOT_LEARNT
from atomfield.pretrain.start import build
from atomfield.pretrain.streams import Stream
from atomfield.pretrain.survey import sampled, survey, with_label
from tests.data.conftest import crystal, flow, molecule
from tests.small import morse_clusters


def records():
    """Of all worlds; some without labels, some with more."""
    bare = [molecule(k).changed(quantities={}) for k in (20, 21)]
    only_flags = molecule(22).changed(quantities={"given_forces": torch.zeros(molecule(22).num_nodes, 3)})
    return [
        *(molecule(k, charge=1.0) for k in range(6)),
        *bare,
        only_flags,
        *(crystal(k) for k in range(3)),
        flow(0),
        flow(1),
    ]


@pytest.fixture
def stored(tmp_path):
    write_store(records(), tmp_path / "store", shard_records=4)
    return Store(tmp_path / "store")


def learnt(graph):
    """The definition, from the record itself."""
    if graph.world != "field":
        return any(name not in NOT_LEARNT for name in graph.quantities)
    return any(
        name in FIELD_STATES for name in (graph.quantities if graph.num_times > 1 else graph.next_quantities)
    )


def test_columns_of_a_store_say_what_its_records_hold(stored):
    graphs = list(stored)
    order = [9, 0, 7, 13, 3]
    for source, expected in (
        (stored, graphs),
        (Subset(stored, order), [graphs[k] for k in order]),
        (Joined([Subset(stored, order), graphs[:3]]), [*(graphs[k] for k in order), *graphs[:3]]),
    ):
        for kind, held in (
            ("quantity", "quantities"),
            ("next", "next_quantities"),
            ("condition", "conditions"),
        ):
            assert names_in(source, kind) == sorted({n for g in expected for n in getattr(g, held)})
            for name in names_in(stored, kind):
                assert holding(source, name, kind).tolist() == [name in getattr(g, held) for g in expected]
        assert with_label(source).tolist() == [learnt(g) for g in expected]
        norms = [
            float(g.quantities["forces"].norm(dim=1).max()) if "forces" in g.quantities else np.nan
            for g in expected
        ]
        np.testing.assert_allclose(largest(source, "forces"), norms, rtol=1e-6)


def test_a_survey_of_a_store_is_that_of_its_records(stored):
    graphs = list(stored)
    ours, theirs = survey([stored, graphs[:4]], 1000), survey([graphs, graphs[:4]], 1000)
    for name in ("molecules", "crystals", "atoms", "fields"):
        assert list(getattr(ours, name)) == list(getattr(theirs, name))
    assert ours.conditions == theirs.conditions and {"charge"} <= ours.conditions
    assert ours.unlabelled == theirs.unlabelled == {0: 3}
    assert {k: len(v) for k, v in ours.holders.items()} == {k: len(v) for k, v in theirs.holders.items()}
    assert survey([stored], 1000, labelled=()).holders == {}


def test_a_sample_holds_some_of_everything_that_is_rare(tmp_path, monkeypatch):
    """Two hundred clusters, and of a kind each: another element, a level, an atom alone, a label, a condition, a flow."""
    usual = morse_clusters(200)
    one = usual[0]
    atom = one.changed(
        positions=torch.zeros(1, 3, dtype=torch.float64),
        species=torch.tensor([int(one.species[0])]),
        node_type=one.node_type[:1],
        edges={},
        quantities={"energy": torch.tensor(-1.0, dtype=torch.float64)},
    )
    rare = [
        one.changed(species=torch.full_like(one.species, 47)),
        one.changed(level="another"),
        atom,
        one.changed(quantities={**one.quantities, "stress": torch.zeros(3, 3)}),
        one.changed(conditions={"charge": 1.0}),
        flow(0),
    ]
    monkeypatch.setattr(module, "FEW", 3)
    everything = [*usual[:100], *rare, *usual[100:]]
    write_store(everything, tmp_path / "store", shard_records=64)
    store = Store(tmp_path / "store")
    part = Subset(store, np.flatnonzero(np.arange(len(store)) != 7))
    for source in (store, part):
        sample = sampled(source, 20)
        assert 20 < len(sample) <= 20 + 3 * 16 and len(set(sample.numbers.tolist())) == len(sample)
        found = list(sample)
        assert any(47 in g.species for g in found) and any(g.level == "another" for g in found)
        assert any(g.num_nodes == 1 for g in found) and any("stress" in g.quantities for g in found)
        assert any("charge" in g.conditions for g in found) and any(g.world == "field" for g in found)
    assert sampled(store, 1000) is store
    assert sampled(everything, 20) is everything  # in memory, so there is nothing to gain


def test_scales_from_a_sample_are_close_to_those_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FEW", 50)
    graphs = morse_clusters(400)
    write_store(graphs, tmp_path / "store")
    source = Store(tmp_path / "store")
    streams = ({"source": "unused"},)
    small = {"channels": 4, "channels_unnatural": 2, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}
    config = PretrainConfig(streams=streams, network=small)
    whole = build(config, [source]).net
    module_few = build(config.model_copy(update={"fit_records": 150}), [source]).net
    assert float(module_few.atom_head.energy_scale) == pytest.approx(
        float(whole.atom_head.energy_scale), rel=0.2
    )
    assert float(module_few.atom_head.energy_scale) != float(whole.atom_head.energy_scale)
    assert module_few.config == whole.config


def test_structures_to_denoise_are_chosen_alike_in_a_store_and_in_memory(stored):
    atoms = [k for k, g in enumerate(stored) if g.world != "field"]
    listed = [stored[k] for k in atoms]
    for objective in ("denoise", "denoise_forces", "masked_atoms"):
        of_store, of_list = (
            Stream(graphs, Targets(objective), cutoff=5.0, max_edges=600, seed=0, noise=0.1)
            for graphs in (Subset(stored, atoms), listed)
        )
        assert of_store.items.record.tolist() == of_list.items.record.tolist()
        assert len(of_store.items)


def test_structures_whose_forces_are_not_known_are_not_taken_for_calm(tmp_path):
    """A force that is missing among others is not a number; a record without any forces may be at rest."""
    calm, hot = (
        g.changed(quantities={"forces": torch.full((g.num_nodes, 3), f)})
        for g, f in zip(morse_clusters(2), (0.1, 5.0), strict=True)
    )
    missing = calm.changed(
        quantities={"forces": calm.quantities["forces"].clone().index_fill_(0, torch.tensor([0]), torch.nan)}
    )
    graphs = [calm, hot, missing, calm.changed(quantities={})]
    write_store(graphs, tmp_path / "store")
    for source in (graphs, Store(tmp_path / "store")):
        stream = Stream(source, Targets("denoise"), cutoff=5.0, max_edges=600, seed=0, noise=0.1)
        assert stream.items.record.tolist() == [0, 3]
