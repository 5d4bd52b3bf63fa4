"""A state that a checkpoint was never taught starts as the taught one that it evolves like."""

from dataclasses import replace

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.steady import unsolved
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.extend import closest_level, level_choices
from atomfield.finetune.run import prepare_network
from atomfield.finetune.states import adopt_states
from atomfield.finetune.tasks import Task, task_of
from atomfield.models import checkpoint
from atomfield.models.network import graphs_to_batch
from atomfield.pretrain.corrupt import noisy_state
from atomfield.pretrain.normalize import offset_of
from tests.finetune.test_targets import steady_fields
from tests.small import small_network, waves

TEMPERATURE = Task(("temperature",), "field", ())


def renamed(graphs, name="temperature"):
    return [
        g.changed(quantities={name if k == "concentration" else k: v for k, v in g.quantities.items()})
        for g in graphs
    ]


def taught(*names):
    """A network whose field level knows ``names`` alone."""
    net = small_network(levels=("morse", "still", "wave"))
    with torch.no_grad():
        net.atom_head.reference[0, [1, 6]] = 1.0
        for k, state in enumerate(net.config.field_states):
            net.field_head.weight[1:, k] *= float(state in names)
    return net


def test_rows_are_copied_from_the_state_that_predicts_best():
    net = taught("concentration", "velocity", "pressure")
    states, inputs = net.config.field_states, net.config.field_inputs
    k, c, p = (states.index(n) for n in ("temperature", "concentration", "pressure"))
    with torch.no_grad():
        net.field_head.weight[:, p] *= 100.0  # wild
        net.field_head.weight[1, c] *= 100.0
    (line,) = adopt_states(net, TEMPERATURE, renamed(waves(3)))
    assert (
        line
        == "temperature: the checkpoint was never taught it, starts as a copy of concentration at level 'wave'"
    )
    assert torch.equal(net.field_head.weight[2, k], net.field_head.weight[2, c])
    assert not net.field_head.weight[1, k].any()
    value = net.backbone.embedding.value
    assert torch.equal(value[inputs.index("temperature")], value[inputs.index("concentration")])
    assert closest_level(net, TEMPERATURE, renamed(waves(3))) == "wave"


def test_taught_states_and_those_without_a_like_stay():
    net = taught("concentration", "velocity")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    graphs = waves(3)
    assert adopt_states(net, Task(("concentration",), "field", ()), graphs) == []
    assert adopt_states(net, Task(("concentration",), "field", (), steady=True), graphs) == []
    swirl = [
        g.changed(
            quantities={
                "magnetic_field": g.quantities["velocity"][None] * torch.ones(5, 1, 1),
                **g.quantities,
            }
        )
        for g in graphs
    ]
    assert adopt_states(net, Task(("magnetic_field",), "field", ()), swirl) == [], "no taught state is axial"
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_level_that_was_taught_the_state_comes_before_one_that_was_not():
    """An untaught level predicts that nothing changes, which may be nearer than what a taught one says of other data."""
    net = taught("concentration", "velocity")
    c = net.config.field_states.index("concentration")
    with torch.no_grad():
        net.field_head.weight[1, c] = 0.0
        net.field_head.weight[2, c] *= 50.0
    task = Task(("concentration",), "field", ())
    assert closest_level(net, task, waves(3)) == "wave"
    assert level_choices(net, "field") == ["still", "wave"] and level_choices(net, "atoms") == ["morse"]


def test_where_no_level_beats_no_change_its_step_is_not_copied(tmp_path, monkeypatch):
    """A wake began with steps of Navier-Stokes at other scales, worse than no step at all."""
    net, task = taught("concentration"), Task(("concentration",), "field", ())
    with torch.no_grad():
        net.field_head.weight *= 50.0
    graphs = [replace(g, level="new") for g in waves(3)]
    config = steady_config(tmp_path, target=("concentration",))
    batch = graphs_to_batch(net.config, [graphs[0].pair(0)])
    found, notes = prepare_network(config, net, task, "new", graphs)
    assert any("predicts the first steps no better than that nothing changes" in n for n in notes)
    with torch.no_grad():
        assert torch.equal(found.eval()(batch)["concentration"], batch.quantities["concentration"])
    monkeypatch.setattr("atomfield.finetune.extend._trial", lambda *_: {"concentration": (0.9, 1.0)})
    found, notes = prepare_network(config, net, task, "new", graphs)
    assert not any("nothing changes" in n for n in notes)
    copied = found.field_head.weight[[found.config.levels.index(name) for name in ("still", "new")]]
    assert copied[0].any() and torch.equal(copied[0], copied[1])


def steady_config(tmp_path, **more):
    given = {"from": "x", "train": ("y",), "target": ("solution",), "out": tmp_path, **more}
    return FinetuneConfig.model_validate(given)


def test_a_steady_problem_adds_coarse_levels_that_begin_by_adding_nothing(tmp_path):
    net = small_network(levels=("morse", "wave"))
    graphs = [replace(g, level="new") for g in steady_fields(3)]
    task = task_of(("solution",), graphs)
    assert task.steady
    plain, _ = prepare_network(
        steady_config(tmp_path, network={"long_range": "none"}), net, task, "new", graphs
    )
    found, notes = prepare_network(steady_config(tmp_path), net, task, "new", graphs)
    assert (plain.config.long_range, found.config.long_range) == ("none", "coarse")
    assert any("coarse levels are added" in note for note in notes)
    batch = graphs_to_batch(net.config, graphs)
    with torch.no_grad():
        torch.testing.assert_close(found(batch)["solution"], plain(batch)["solution"], rtol=1e-5, atol=1e-6)
    heads, _ = prepare_network(steady_config(tmp_path), net, task, "new", graphs, "heads")
    scratch, _ = prepare_network(steady_config(tmp_path), net, task, "new", graphs, "scratch")
    assert (heads.config.long_range, scratch.config.long_range) == ("none", "coarse")


def test_what_acts_beyond_the_cutoff_is_added_where_it_is_asked_for(tmp_path):
    net, task = small_network(levels=("morse", "wave")), Task(("concentration",), "field", ())
    graphs = [replace(g, level="new") for g in waves(3)]
    asked = steady_config(tmp_path, target=("concentration",), network={"long_range": "filter"})
    found, _ = prepare_network(asked, net, task, "new", graphs)
    assert found.config.long_range == "filter"
    left, _ = prepare_network(steady_config(tmp_path, target=("concentration",)), net, task, "new", graphs)
    assert left.config.long_range == "none"
    with pytest.raises(InputError, match="stay untrained with strategy 'heads'"):
        prepare_network(asked, net, task, "new", graphs, "heads")
    other = steady_config(tmp_path, target=("concentration",), network={"long_range": "coarse"})
    with pytest.raises(InputError, match="the checkpoint's 'filter'"):
        prepare_network(other, found, task, "new", graphs)


def centred_at(graphs, name, mean, level="mine"):
    """``graphs`` with the same values of ``name`` about ``mean``, as records of ``level``."""
    average = torch.cat([g.quantities[name].double().flatten() for g in graphs]).mean()
    moved = [{**g.quantities, name: g.quantities[name].double() + mean - average} for g in graphs]
    return [replace(g, level=level, quantities=q) for g, q in zip(graphs, moved, strict=True)]


@pytest.mark.parametrize("start", [True, False])
def test_a_state_in_kelvin_is_stepped_as_one_about_zero(start, tmp_path):
    nets, steps = [], []
    config = FinetuneConfig(
        **{
            "from": "scratch",
            "train": ("x",),
            "target": ("temperature",),
            "out": tmp_path,
            "dtype": "float64",
        },
        network={"size": "xs"},
    )
    for mean in (0.0, 290.0):
        graphs = centred_at(renamed(waves(3)), "temperature", mean)
        net, notes = prepare_network(
            config, taught("concentration") if start else None, TEMPERATURE, "mine", graphs
        )
        assert any("temperature varies little about 290" in n for n in notes) == (mean > 0)
        assert net.config.centred == (("temperature",) if mean else ())
        with torch.no_grad():
            net.field_head.weight.fill_(0.1)
        checkpoint.save(net, tmp_path / str(mean))
        net = checkpoint.load(tmp_path / str(mean))
        batch = graphs_to_batch(net.config, [graphs[0].pair(0)])
        nets.append(net)
        steps.append(net.eval()(batch)["temperature"] - mean)
    assert steps[0].std() > 1e-3
    torch.testing.assert_close(steps[1], steps[0], rtol=0, atol=1e-7)
    again, _ = prepare_network(
        config, nets[1], TEMPERATURE, "other", centred_at(renamed(waves(3)), "temperature", 0.0, "other")
    )
    mean = again.backbone.embedding.input_mean[:, again.config.field_inputs.index("temperature")]
    assert mean[-2] == pytest.approx(290, abs=0.1) and mean[-1] == 0


def test_a_steady_state_in_kelvin(tmp_path):
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("x",), "target": ("solution",), "out": tmp_path, "dtype": "float64"},
        network={"size": "xs"},
    )
    found = []
    for mean in (0.0, 290.0):
        graphs = centred_at(steady_fields(4), "solution", mean)
        task = Task(("solution",), "field", (), steady=True)
        net, notes = prepare_network(config, None, task, "mine", graphs)
        assert any("solution varies little about 290" in n for n in notes) == (mean > 0)
        with torch.no_grad():
            net.field_head.weight.fill_(0.1)
        graph = unsolved(graphs[0], ("solution",))
        found.append(net.eval()(graphs_to_batch(net.config, [graph]))["solution"] - mean)
    assert found[0].std() > 1e-3
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-7)


def test_noise_is_relative_to_what_varies():
    (graph,) = centred_at(renamed(waves(1)), "temperature", 290.0)
    pair = graph.pair(0)
    noisy = noisy_state(pair, 0.1, torch.Generator().manual_seed(0))
    change = noisy.quantities["temperature"] - pair.quantities["temperature"]
    assert change.std() < 0.2 * pair.quantities["temperature"].std()


def test_a_constant_has_no_mean_to_take_off():
    assert offset_of(5.0, 25.0) == 0 and offset_of(5.0, 26.0) == 0 and offset_of(-5.0, 25.01) == -5.0
