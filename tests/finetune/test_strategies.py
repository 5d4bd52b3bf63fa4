"""Strategies: adapters merge exactly and obey the laws, heads leave old levels alone, the head says what a closed form found."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.data.quantities import scalar_property
from atomfield.data.store import write_store
from atomfield.finetune.closed_form import logistic, ridge
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.ignored import ignored
from atomfield.finetune.lora import adapt, adapter_weights, adapters, merge, rank_for
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune, prepare_network
from atomfield.finetune.strategy import choose, depth, groups_of, relative_rates
from atomfield.finetune.tasks import Task
from atomfield.inference.predict import predict_graphs
from atomfield.inference.rollout import rollout
from atomfield.inference.silent import silent, stepped
from atomfield.model import load
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.sizes import network_size
from tests.small import morse_clusters, small_network, waves

SURFACE = Task(("energy", "forces"), "atoms", ())
SCORE = Task(("score",), "atoms", ("score",))


def settings(tmp_path, **options):
    given = {
        "from": str(tmp_path / "start"),
        "train": ("memory",),
        "target": ("energy", "forces"),
        "steps": 15,
    }
    return FinetuneConfig(
        **{**given, "out": tmp_path / "run", "least_records": 1, "uncertainty": "none", **options}
    )


def scored(count, level="morse"):
    """Clusters whose score is a smooth function of the geometry."""
    graphs = morse_clusters(count, level=level)
    return [
        replace(
            g,
            quantities={"score": torch.pdist(g.positions).mean().double()},
            properties={"score": scalar_property("score")},
        )
        for g in graphs
    ]


def run(config, graphs):
    cut = len(graphs) * 2 // 3
    parts = Parts(graphs[:cut], graphs[cut:-2], graphs[-2:])
    said = io.StringIO()
    metrics = finetune(config, parts, console=Console(file=said, width=200))
    return metrics, said.getvalue()


def old_answers(net, level="morse"):
    net = checkpoint.cast(net, torch.float64).eval()
    return net(graphs_to_batch(net.config, morse_clusters(4, seed=5, level=level)))


# ---------------------------------------------------------------- adapters
@pytest.fixture
def adapted():
    net = checkpoint.cast(small_network(lmax=2), torch.float64).eval()
    adapt(net, 2)
    with torch.no_grad():
        for adapter in adapters(net):
            adapter.up += 0.3 * torch.randn_like(adapter.up)
    return net


def test_merged_adapters_give_the_same_outputs(adapted):
    before = old_answers(adapted)
    merge(adapted)
    assert not adapters(adapted) and "natural" in adapted.backbone.layers[0].before._parameters
    after = old_answers(adapted)
    for name in ("energy", "forces", "gap", "volume"):
        assert float((before[name] - after[name]).detach().abs().max()) < 1e-12
    assert float((after["forces"] - old_answers(small_network(lmax=2))["forces"]).detach().abs().max()) > 1e-3


def test_taken_away_they_leave_the_network_as_it_was(adapted):
    merge(adapted, keep=False)
    expected = old_answers(small_network(lmax=2))
    for name, value in old_answers(adapted).items():
        assert torch.equal(value, expected[name])


def test_adapted_networks_turn_and_reflect_with_their_input(adapted):
    rotation = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    )[0]
    graphs = morse_clusters(3, seed=2)
    for sign in (1.0, -1.0):
        turned = [replace(g, positions=g.positions @ (sign * rotation).T) for g in graphs]
        one, two = (adapted(graphs_to_batch(adapted.config, gs)) for gs in (graphs, turned))
        assert torch.allclose(one["energy"], two["energy"], rtol=0, atol=1e-10)
        assert torch.allclose(one["forces"] @ (sign * rotation).T, two["forces"], rtol=0, atol=1e-10)


def test_adapters_are_below_five_percent_of_large_networks():
    for size in ("m", "l"):
        net = AtomFieldNet(NetworkConfig(**network_size(size).hyperparameters(), levels=("a",)))
        rank = rank_for(net)
        assert rank >= 2
        assert adapter_weights(net, rank) < 0.05 * sum(p.numel() for p in net.parameters())
    adapt(net, rank)
    assert sum(p.numel() for a in adapters(net) for p in a.parameters()) == adapter_weights(net, rank)


# ---------------------------------------------------------------- runs
@pytest.mark.parametrize("strategy", ["heads", "lora", "full", "scratch"])
def test_each_strategy_trains_into_an_ordinary_checkpoint(tmp_path, strategy):
    start = small_network()
    with torch.no_grad():
        start.atom_head.reference[:1, [1, 6]] = -2.0
    checkpoint.save(start, tmp_path / "start")
    config = settings(tmp_path, strategy=strategy, level="dft")
    metrics, said = run(config, morse_clusters(12, level="dft"))
    assert np.isfinite(metrics["forces_mae_eV_per_A"])
    assert f"strategy {strategy}: as asked" in said and "weights are trained" in said
    net = checkpoint.load(tmp_path / "run")
    assert net.config.lmax == start.config.lmax
    if strategy == "scratch":
        assert net.config.levels == ("dft",)
        return
    assert set(net.state_dict()) == set(start.state_dict())
    moved = {n for n, p in net.named_parameters() if p.shape != start.get_parameter(n).shape
             or not torch.equal(p, start.get_parameter(n))}  # fmt: skip
    shared = {n for n in moved if n.startswith("backbone.layers")}
    assert bool(shared) == (strategy != "heads")
    if strategy == "lora":
        assert {n.split(".")[-1] for n in shared} == {"natural", "unnatural"}
    if strategy == "heads":  # the old level answers to the bit
        for name in ("energy", "forces", "dipole", "charges"):
            assert torch.equal(old_answers(net)[name], old_answers(start)[name])
        assert not torch.equal(old_answers(net, "dft")["forces"], old_answers(net)["forces"])


def test_a_slower_rate_towards_the_input():
    net = small_network()
    rates = relative_rates(net, "full", 0.5, SURFACE)
    assert rates["backbone.embedding.species"] == 0.125
    assert rates["backbone.layers.0.norm.scale"] == 0.25 and rates["backbone.layers.1.norm.scale"] == 0.5
    assert rates["atom_head.energy"] == 1.0
    assert depth("backbone.conditions.level", net) == 0
    groups = groups_of(net, rates, 1e-3)
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in net.parameters())
    assert {g["scale"] for g in groups} == {0.125, 0.25, 0.5, 1.0}
    fixed = groups_of(net, relative_rates(net, "heads", 0.5, SCORE), 1e-3)
    assert len(fixed) == 1 and fixed[0]["scale"] == 1.0


def test_the_choice_says_why(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    config = settings(tmp_path)
    assert choose(config, SURFACE, 30).strategy == "full"
    few = choose(config, SCORE, 30)
    assert few.strategy == "full" and few.reason == "30 training records of score: all weights"
    assert choose(config, SCORE, 5000).strategy == "full"
    assert choose(settings(tmp_path, **{"from": "scratch"}), SURFACE, 30).strategy == "scratch"
    with pytest.raises(InputError, match="'lora' starts from a checkpoint, found --from scratch"):
        choose(settings(tmp_path, **{"from": "scratch"}, strategy="lora"), SURFACE, 30)
    with pytest.raises(
        InputError, match="'frozen' solves for scalar properties of atoms, found target 'energy'"
    ):
        choose(settings(tmp_path, strategy="frozen"), SURFACE, 30)
    with pytest.raises(InputError, match="nothing to replay"):
        choose(settings(tmp_path, strategy="heads", replay=("starter/molecules",)), SURFACE, 30)


def test_settings_that_nothing_reads_are_told_or_refused(tmp_path):
    config = settings(tmp_path, task="regression", lora_rank=2, noise=0.5, learning_rate=1e-3)
    said = ignored(config, SURFACE, "full")
    assert [line.split(" is ")[0] for line in said] == ["task", "noise", "lora_rank"]
    assert said[0] == "task is ignored: it is about properties, and no target is one"
    solved = ignored(settings(tmp_path, target=("score",)), SCORE, "frozen")
    assert solved == ["steps is ignored: strategy frozen solves and does not train"]
    assert (
        ignored(FinetuneConfig(**{"from": "x", "train": ("y",), "target": ("score",)}), SCORE, "lora") == []
    )
    with pytest.raises(
        ValueError, match=r"network.correlation is given, but a checkpoint has a size of its own"
    ):
        settings(tmp_path, network={"correlation": 2})
    settings(tmp_path, network={"long_range": "filter"})
    settings(tmp_path, network={"contains": {"dft": ["d3:pbe"]}})
    with pytest.raises(ValueError, match="nonnegative names 'dos', which is not a target"):
        settings(tmp_path, nonnegative=("dos",))
    with pytest.raises(ValueError, match="target 'forces' is given twice"):
        settings(tmp_path, target=("forces", "energy", "forces"))
    for wrong in ({"seed": -1}, {"max_time": 0}):
        with pytest.raises(ValueError, match="greater than"):
            settings(tmp_path, **wrong)


# ---------------------------------------------------------------- closed form
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_the_head_says_what_the_closed_form_found(tmp_path, pooling):
    checkpoint.save(small_network(), tmp_path / "start")
    config = settings(tmp_path, target=("score",), strategy="frozen", pooling=pooling)
    metrics, said = run(config, scored(60))
    assert "leave-one-out RMSE" in said
    assert metrics["score_rmse"] < 0.5 * metrics["baseline_score_rmse"]
    net = checkpoint.load(tmp_path / "run")
    again = finetune(
        config, Parts(*[scored(60)[:40]] * 2, scored(60)[-2:]), console=Console(file=io.StringIO())
    )
    assert np.isfinite(again["score_rmse"])
    assert torch.equal(
        net.backbone.layers[0].before.natural, small_network().backbone.layers[0].before.natural
    )


def test_a_class_is_solved_for(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    graphs = scored(60)
    middle = float(np.median([float(g.quantities["score"]) for g in graphs]))
    graphs = [replace(g, quantities={"score": (g.quantities["score"] > middle).double()}) for g in graphs]
    metrics, said = run(settings(tmp_path, target=("score",), strategy="frozen"), graphs)
    assert "log loss" in said and metrics["score_accuracy"] >= 0.5


def test_leave_one_out_is_leaving_one_out():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 4)) + 2
    y = x @ [1.0, -2.0, 0.5, 0.0] + 3 + 0.1 * rng.standard_normal(20)
    found = ridge(x, y, intercept=False)
    scale = np.sqrt(np.mean(x**2))
    errors = []
    for i in range(20):
        kept = np.arange(20) != i
        a = x[kept] / scale
        w = np.linalg.solve(a.T @ a + found.penalty * 20 * np.eye(4), a.T @ y[kept])
        errors.append(y[i] - x[i] / scale @ w)
    assert found.error == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=1e-9)
    shifted = ridge(x, y, intercept=True)
    assert np.abs(x @ shifted.weight + shifted.intercept - y).max() < 0.3


def test_logistic_regression_separates_and_is_calibrated_in_the_mean():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 3))
    y = (rng.random(200) < 1 / (1 + np.exp(-(2 * x[:, 0] - 1)))).astype(float)
    found = logistic(x, y)
    share = 1 / (1 + np.exp(-(x @ found.weight + found.intercept)))
    assert share.mean() == pytest.approx(y.mean(), abs=1e-6)
    assert np.corrcoef(x @ found.weight, x[:, 0])[0, 1] > 0.9


# ---------------------------------------------------------------- replay
def test_replayed_levels_are_trained_on_and_reported(tmp_path):
    start = small_network(perturb=0.0)
    with torch.no_grad():
        start.atom_head.reference[:1, [1, 6]] = -6.0
    checkpoint.save(start, tmp_path / "start")
    write_store(morse_clusters(40, level="morse"), tmp_path / "old")
    new = [
        replace(g, quantities={n: 3 * v for n, v in g.quantities.items()})
        for g in morse_clusters(20, seed=1, level="dft")
    ]
    key = f"replay/{tmp_path / 'old'}/forces_mae_eV_per_A"
    with_replay, said = run(settings(tmp_path, level="dft", steps=40, replay=(str(tmp_path / "old"),)), new)
    assert with_replay[f"{key}_after"] < with_replay[f"{key}_before"]
    assert "before," in said
    write_store(morse_clusters(40, level="unheard"), tmp_path / "other")
    with pytest.raises(InputError, match="level 'unheard', which the checkpoint does not know"):
        run(settings(tmp_path, level="dft", replay=(str(tmp_path / "other"),)), new)


# ---------------------------------------------------------------- references and new elements
def shifted(graphs, level, energies):
    """The graphs at another level, whose elements have these energies more."""
    return [
        replace(
            g,
            level=level,
            quantities={
                **g.quantities,
                "energy": g.quantities["energy"] + sum(energies[int(z)] for z in g.species),
            },
        )
        for g in graphs
    ]


def known_references(tmp_path, references):
    net = small_network()
    with torch.no_grad():
        for number, energy in references.items():
            net.atom_head.reference[0, number] = energy
    return checkpoint.save(net, tmp_path / "start")


def prepared(tmp_path, graphs, level, **options):
    config = settings(tmp_path, **options)
    start = checkpoint.load(tmp_path / "start")
    net, notes = prepare_network(config, start, SURFACE, level, graphs)
    return (
        net.atom_head.reference[net.config.levels.index(level)],
        net.atom_head.reference[0],
        "\n".join(notes),
    )


def test_an_element_without_records_keeps_its_reference_only_at_the_same_zero(tmp_path):
    graphs = [*morse_clusters(12, level="dft"), *without_hydrogen(12, "dft")]
    known_references(tmp_path, {1: -7.5, 6: -7.6, 8: -7.0})
    table, old, said = prepared(tmp_path, graphs, "dft")
    assert float(table[8]) == -7.0 and "carried over from morse: not in the records" in said
    assert old[[1, 6, 8]].tolist() == pytest.approx([-7.5, -7.6, -7.0])
    far = shifted(graphs, "dft", {1: -10.0, 6: -900.0})
    table, old, said = prepared(tmp_path, far, "dft")
    assert (
        float(table[8]) == 0.0
        and "O: unknown at level dft, since the records lack them and morse is not known" in said
    )
    assert float(table[6]) < -800 and float(old[8]) == -7.0


def without_hydrogen(count, level):
    """Carbon alone, so that both elements are determined."""
    return [
        replace(
            g, species=torch.tensor([6, 6, 6, 6, 6]), level=level, conditions={"charge": 0.0, "spin": 0.0}
        )
        for g in morse_clusters(count, seed=3)
    ]


def test_references_can_be_carried_over_and_new_elements_are_fitted(tmp_path):
    graphs = [replace(g, species=torch.tensor([6, 1, 1, 6, 9])) for g in morse_clusters(12, level="dft")]
    known_references(tmp_path, {1: -6.0, 6: -6.3})
    table, _, said = prepared(tmp_path, graphs, "dft", references="carry")
    assert table[[1, 6]].tolist() == pytest.approx([-6.0, -6.3])
    energies = [float(g.quantities["energy"]) for g in graphs]
    assert float(table[9]) == pytest.approx(np.mean(energies) + 2 * 6.0 + 2 * 6.3, abs=1e-6)
    assert "H       -6.0000  carried over from morse" in said and "F" in said
    far = shifted(morse_clusters(12), "dft", {1: -300.0, 6: -300.0})
    with pytest.raises(InputError, match="have another zero; leave references at refit"):
        prepared(tmp_path, far, "dft", references="carry")


def test_a_known_level_refuses_energies_of_another_kind(tmp_path):
    known_references(tmp_path, {1: -6.0, 6: -6.3})
    prepared(tmp_path, morse_clusters(12, level="morse"), "morse")
    interaction = shifted(morse_clusters(12), "morse", {1: 7.0, 6: 7.3})
    with pytest.raises(
        InputError, match="knows level 'morse', but its references miss these energies by 5.*total against"
    ):
        prepared(tmp_path, interaction, "morse")


# ---------------------------------------------------------------- what the finetuned model offers
def test_a_property_is_predicted_for_elements_that_the_old_levels_never_saw(tmp_path):
    """The references of the level that the new one starts from say nothing about records of a property."""
    known_references(tmp_path, {1: -6.0})  # no carbon
    run(settings(tmp_path, target=("score",), strategy="frozen"), scored(60, level=""))
    model = load(tmp_path / "run")
    found = model.predict(scored(3, level=""))
    assert all(set(p) == {"score"} for p in found)
    with pytest.raises(InputError, match="has not seen C"):
        model.predict(scored(1, level="morse"))
    assert silent(model.net, "morse") == frozenset()


def test_a_surface_has_no_charges_of_another_level(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    _, said = run(settings(tmp_path, level="dft"), morse_clusters(12, level="dft"))
    assert "level 'dft' says nothing of charges, dipole, which the targets do not teach" in said
    model = load(tmp_path / "run")
    (found,) = model.predict(morse_clusters(1, level=""))
    assert set(found) == {"energy", "forces"}


def test_properties_that_were_not_trained_on_are_left_out_or_replayed(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    _, said = run(settings(tmp_path, target=("score",), strategy="frozen"), scored(60, level=""))
    assert "left out: gap, volume, properties of the checkpoint that this run does not train on" in said
    assert [p.name for p in checkpoint.read_config(tmp_path / "run").properties] == ["score"]
    labelled = [
        replace(g, quantities={**g.quantities, "gap": torch.pdist(g.positions).min().double()},
                properties={"gap": scalar_property("gap")})
        for g in morse_clusters(40, level="morse")
    ]  # fmt: skip
    write_store(labelled, tmp_path / "old")
    config = settings(tmp_path, level="dft", replay=(str(tmp_path / "old"),), out=tmp_path / "both")
    _, said = run(config, morse_clusters(12, level="dft"))
    assert "left out: volume, properties" in said
    assert [p.name for p in checkpoint.read_config(tmp_path / "both").properties] == ["gap"]


def test_a_field_that_is_no_target_is_an_input_of_the_new_level(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    config = settings(tmp_path, target=("concentration",), level="new")
    _, said = run(config, waves(12, level=""))
    assert "velocity: no target, so an input that follows the record in rollouts" in said
    net = checkpoint.load(tmp_path / "run")
    assert stepped(net, "new") == ("concentration",)
    assert stepped(net, "wave") == net.config.field_states
    assert dict(net.config.inputs) == {"new": ("velocity",)}
    alone = waves(1, level="new")[0]
    alone = alone.changed(quantities={"concentration": alone.quantities["concentration"]})
    with pytest.raises(
        InputError, match="expected velocity too: all records that level 'new' was trained on had it"
    ):
        rollout(net, alone)
    with pytest.raises(InputError, match="expected velocity too"):
        predict_graphs(net, [alone])
    taught = alone.changed(level="wave")
    assert rollout(net, taught)["concentration"].isfinite().all(), "nobody knows what this level was given"


def test_a_known_level_keeps_what_its_weights_still_say(tmp_path):
    """Frozen features leave the energies of the level as they were; where all weights move, only the target is left."""
    checkpoint.save(small_network(), tmp_path / "start")
    graphs = scored(60)
    run(settings(tmp_path, target=("score",), strategy="frozen"), graphs)
    assert silent(checkpoint.load(tmp_path / "run"), "morse") == frozenset()
    run(settings(tmp_path, target=("score",), strategy="full", out=tmp_path / "full"), graphs)
    assert "energy" in silent(checkpoint.load(tmp_path / "full"), "morse")
