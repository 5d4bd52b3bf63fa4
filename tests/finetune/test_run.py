"""Finetuning end to end on small analytic data: every target learns, old levels keep their answers, nonsense is refused."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError, RunError
from atomfield.data.graph import Graph
from atomfield.data.quantities import scalar_property
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.extend import extended
from atomfield.finetune.parts import Parts, split_in_time
from atomfield.finetune.run import finetune, prepare_network
from atomfield.finetune.tasks import task_of
from atomfield.models import checkpoint
from atomfield.models.network import graphs_to_batch
from atomfield.pretrain.property_fits import fit_property
from tests.small import morse_clusters, small_network, waves

SMALL = {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}


def run(tmp_path, target, graphs, **options):
    third = len(graphs) // 3
    parts = Parts(graphs[: 2 * third], graphs[2 * third : -2], graphs[-2:])
    config = FinetuneConfig(
        **{
            "from": "scratch",
            "train": ("memory",),
            "target": target,
            "out": tmp_path / "run",
            "network": SMALL,
            "steps": 60,
            **options,
        }
    )
    return finetune(config, parts, console=Console(file=io.StringIO()))


def with_property(values_of, count=30):
    graphs = morse_clusters(count, level="")
    for graph in graphs:
        graph.quantities["score"] = torch.tensor(values_of(graph), dtype=torch.float64)
    return [replace(g, properties={"score": scalar_property("score")}) for g in graphs]


def test_a_surface_beats_the_trivial_baseline_and_loads_again(tmp_path):
    metrics = run(tmp_path, ("energy", "forces"), morse_clusters(30), steps=200)
    assert metrics["forces_mae_eV_per_A"] < 0.6 * metrics["baseline_forces_mae_eV_per_A"]
    assert {"model", "metrics.json", "report.html", "config.yaml", "metrics.jsonl"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    assert checkpoint.load(tmp_path / "run").config.levels == ("morse",)


def test_a_full_memory_says_what_to_lower(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    monkeypatch.setattr("atomfield.finetune.fit.train", full)
    with pytest.raises(RunError) as caught:
        run(tmp_path, ("energy", "forces"), morse_clusters(30), max_edges=345)
    assert str(caught.value).startswith(
        "the memory of cpu is full (CUDA out of memory. Tried to allocate 2 GiB.) with batches of 345 pairs, 1380 in validation: "
        "give the same command with --set piece_edges=172, which sends the same batches through in smaller pieces, or --set "
        "recompute=true (more time), and it goes on"
    )
    with pytest.raises(
        RunError, match=r"with pieces of 100 pairs: .* piece_edges=50, .* pieces, and it goes on"
    ):
        run(tmp_path, ("energy", "forces"), morse_clusters(30), piece_edges=100, recompute=True)


def test_overlap_is_named_and_metrics_come_without_it(tmp_path):
    graphs = morse_clusters(30)
    parts = Parts(graphs[:20], graphs[20:26], [*graphs[26:], graphs[0]])
    options = {
        "from": "scratch",
        "train": ("memory",),
        "target": ("energy", "forces"),
        "network": SMALL,
        "steps": 5,
    }
    said = io.StringIO()
    config = FinetuneConfig(**options, out=tmp_path / "run", test=("memory",))
    metrics = finetune(config, parts, console=Console(file=said, width=200))
    assert metrics["test_records_shared_with_training"] == 1.0
    assert metrics["forces_mae_eV_per_A_without_overlap"] != metrics["forces_mae_eV_per_A"]
    assert "1 of 5 test records have the structure of a training record" in said.getvalue()
    strict = FinetuneConfig(**options, out=tmp_path / "strict", test=("memory",), on_leak="raise")
    with pytest.raises(InputError, match="1 of 5 test records"):
        finetune(strict, parts, console=Console(file=io.StringIO()))
    with pytest.raises(InputError, match="these are the training records"):
        finetune(config, Parts(graphs[:20], graphs[20:], graphs[:20]), console=Console(file=io.StringIO()))


def test_a_field_beats_persistence(tmp_path):
    metrics = run(tmp_path, ("concentration",), waves(12), steps=150, learning_rate=1e-2)
    assert (
        metrics["concentration_rollout_vrmse"] < metrics["baseline_persistence_concentration_rollout_vrmse"]
    )


def test_a_property_and_a_class_are_recognised(tmp_path):
    spread = with_property(lambda g: float(torch.pdist(g.positions).mean()))
    assert run(tmp_path / "a", ("score",), spread)["score_mae"] >= 0
    config = checkpoint.read_config(tmp_path / "a" / "run")
    assert [(p.name, p.kind) for p in config.properties] == [("score", "regression")]
    label = with_property(lambda g: float(torch.pdist(g.positions).mean() > 1.62))
    metrics = run(tmp_path / "b", ("score",), label)
    assert checkpoint.read_config(tmp_path / "b" / "run").properties[0].kind == "classification"
    assert 0 <= metrics["score_accuracy"] <= 1


def test_structures_of_one_size_do_not_tell_a_sum_from_a_mean():
    graphs = with_property(lambda g: float(torch.pdist(g.positions).mean()))
    fit = fit_property("score", graphs, "auto", "auto")
    assert fit.config.pooling == "sum" and "all records have 5 atoms" in fit.reason
    assert "--pooling mean" in fit.reason
    assert fit_property("score", graphs, "auto", "mean").config.pooling == "mean"


def test_pooling_follows_the_data():
    rng = np.random.default_rng(0)
    graphs = []
    for number in range(40):
        count = int(rng.integers(2, 9))
        species = torch.from_numpy(rng.choice([1, 8], count))
        positions = 1.5 * torch.arange(count, dtype=torch.float64)[:, None] * torch.ones(3)
        extensive = 2.0 * (species == 8).sum().double() + 3.0 * (species == 1).sum()
        quantities = {"sum": extensive, "mean": extensive / count}
        properties = {name: scalar_property(name) for name in quantities}
        graphs.append(
            Graph(
                positions,
                species,
                "molecule",
                quantities=quantities,
                properties=properties,
                group=str(number),
            )
        )
    assert fit_property("sum", graphs, "auto", "auto").config.pooling == "sum"
    assert fit_property("mean", graphs, "auto", "auto").config.pooling == "mean"
    assert fit_property("sum", graphs, "auto", "mean").config.pooling == "mean"


def test_growing_a_checkpoint_keeps_the_old_level_to_the_bit():
    net = small_network().eval()
    graphs = morse_clusters(3)
    task = task_of(("energy", "forces"), graphs)
    grown = extended(net, task, "dft", (), "morse").eval()
    assert grown.config.levels == ("morse", "wave", "dft")
    batch = graphs_to_batch(net.config, graphs)
    new = graphs_to_batch(net.config, [replace(g, level="dft") for g in graphs])
    assert torch.equal(net(batch)["energy"], grown(batch)["energy"])
    assert torch.equal(grown(new)["energy"], grown(batch)["energy"])  # the new row starts as a copy


def test_the_closest_level_is_found(tmp_path):
    net = small_network(levels=("far", "near", "wave"), perturb=0.0)
    teacher = small_network(levels=("far", "near", "wave"))
    net.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        net.atom_head.energy[0] *= -3
        net.atom_head.reference[:2, [1, 6]] = 1.0
        net.field_head.increment_rms[2] = 1.0
    graphs = morse_clusters(6, level="")
    for graph in graphs:
        graph.quantities["forces"] = (
            net(graphs_to_batch(net.config, [replace(graph, level="near")]))["forces"].detach().double()
        )
    checkpoint.save(net, tmp_path / "start")
    config = FinetuneConfig(
        **{"from": str(tmp_path / "start"), "train": ("memory",), "target": ("energy", "forces")}
    )
    renamed = [replace(g, level="mine") for g in graphs]
    _, notes = prepare_network(
        config, checkpoint.load(tmp_path / "start"), task_of(config.target, renamed), "mine", renamed
    )
    assert any("copy of 'near'" in note for note in notes)


def test_nonsense_is_refused(tmp_path):
    graphs = morse_clusters(6)
    with pytest.raises(InputError, match="'dipole' is in none of the 6 records, found energy, forces"):
        task_of(("dipole",), graphs)
    with pytest.raises(InputError, match="not a field state"):
        task_of(
            ("normal",),
            [replace(g, quantities={**g.quantities, "normal": g.quantities["velocity"]}) for g in waves(1)],
        )
    alone = waves(1)[0].snapshot(0)
    alone = alone.changed(quantities={"concentration": alone.quantities["concentration"]})
    with pytest.raises(InputError, match="one time each"):
        task_of(("concentration",), [alone])
    with pytest.raises(InputError, match="classification needs labels 0 and 1"):
        fit_property("score", with_property(lambda g: 7.0), "classification", "auto")
    strange = replace(morse_clusters(1)[0], species=torch.tensor([6, 1, 1, 6, 17]))
    with pytest.raises(InputError, match="element Cl does not occur in the training records"):
        run(tmp_path, ("energy", "forces"), [*morse_clusters(15), strange])


def test_one_trajectory_is_split_in_time_with_a_gap():
    whole = waves(1, num_times=20)[0]
    (train,), (valid,) = split_in_time(whole, 0.1)
    assert torch.equal(train.times, whole.times[:16]) and torch.equal(valid.times, whole.times[18:])
    assert torch.equal(valid.quantities["concentration"], whole.quantities["concentration"][18:])
    assert torch.equal(valid.quantities["velocity"], whole.quantities["velocity"])


def test_terms_of_a_checkpoint_stay_and_a_new_level_says_what_its_labels_contain(tmp_path):
    net = small_network(priors=("zbl",)).eval()
    checkpoint.save(net, tmp_path / "start")
    graphs = [replace(g, level="dft") for g in morse_clusters(6)]
    config = FinetuneConfig(
        **{"from": str(tmp_path / "start"), "train": ("memory",), "target": ("energy", "forces"),
           "network": {"contains": {"dft": ["d3:pbe"]}}}
    )  # fmt: skip
    task = task_of(config.target, graphs)
    grown, notes = prepare_network(config, checkpoint.load(tmp_path / "start"), task, "dft", graphs)
    assert grown.config.priors == ("zbl",)
    assert grown.config.contains == (("dft", ("d3:pbe",)),)
    assert any("learns the remainder" in note for note in notes)


def test_a_surface_with_zbl_trains_and_balances(tmp_path):
    metrics = run(tmp_path, ("energy", "forces"), morse_clusters(30), network={**SMALL, "priors": ["zbl"]})
    assert metrics["forces_mae_eV_per_A"] < metrics["baseline_forces_mae_eV_per_A"]
    assert metrics["forces_net_eV_per_A"] < 1e-4
    assert checkpoint.load(tmp_path / "run").config.priors == ("zbl",)


def test_a_target_without_a_label_to_judge_by_ends_no_run(tmp_path):
    """Labels with gaps: a small validation part may have none of one of the targets."""
    graphs = with_property(lambda g: float(torch.pdist(g.positions).mean()))
    rare = [replace(g, quantities={**g.quantities, "rare": 2 * g.quantities["score"]},
                    properties={**g.properties, "rare": scalar_property("rare")}) for g in graphs[:15]]  # fmt: skip
    said = io.StringIO()
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("memory",), "target": ("score", "rare"), "out": tmp_path / "run", "network": SMALL,
           "steps": 5}
    )  # fmt: skip
    parts = Parts([*rare, *graphs[15:20]], graphs[20:], graphs[20:], test_is_valid=True)
    metrics = finetune(config, parts, console=Console(file=said, width=200))
    assert "rare: no label among these records, so it is not judged" in said.getvalue()
    assert "score_mae" in metrics and "rare_mae" not in metrics
    assert [p.name for p in checkpoint.read_config(tmp_path / "run").properties] == ["score", "rare"]
