"""Schedule, moving average, normalisation, configuration."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from atomfield.data.errors import InputError, Provenance
from atomfield.pretrain.config import OptimizerConfig, PretrainConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.normalize import Statistics, fit_references, normalize
from atomfield.pretrain.schedule import factor_at, learning_rate_factor
from tests.small import morse_clusters, small_network, waves


def test_schedule_warms_up_and_decays():
    factors = [learning_rate_factor(x, 0.1, 0.01) for x in np.linspace(0, 1, 101)]
    assert factors[0] == 0.01 and factors[10] == pytest.approx(1.0) and factors[-1] == pytest.approx(0.01)
    assert all(a <= b for a, b in pairwise(factors[:11]))
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_a_plateau_ends_in_a_decay():
    wsd = OptimizerConfig(schedule="wsd", warmup_fraction=0.1, decay_fraction=0.2, final_fraction=0.01)
    factors = [factor_at(x, wsd) for x in np.linspace(0, 1, 101)]
    assert factors[0] == 0.01 and factors[5] == pytest.approx(0.5)
    assert factors[10:80] == pytest.approx([1.0] * 70)
    assert factors[85] == pytest.approx(0.01 + 0.99 * 0.5) and factors[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in pairwise(factors[80:]))
    assert factor_at(0.3, OptimizerConfig()) == learning_rate_factor(0.3, 0.03, 0.01)
    with pytest.raises(ValidationError, match="more than the whole run"):
        OptimizerConfig(schedule="wsd", warmup_fraction=0.5, decay_fraction=0.6)


def test_moving_average_is_applied_and_taken_back():
    module = torch.nn.Linear(2, 1, bias=False)
    ema = Ema(module, 0.5)
    start = module.weight.detach().clone()
    with torch.no_grad():
        module.weight += 1.0
    ema.update()  # the first decay is 2/11
    with ema.applied() as averaged:
        assert torch.allclose(averaged.weight, start + 9 / 11)
    assert torch.allclose(module.weight, start + 1.0)


def test_references_are_recovered_and_printed_scales_are_isotropic():
    graphs = morse_clusters(20)
    for number, graph in enumerate(graphs):
        if number % 2:
            graph.species[0] = 1  # vary the composition, or only the sum is determined
        counts = np.bincount(graph.species.numpy(), minlength=7)
        graph.quantities["energy"] = torch.tensor(-13.6 * counts[1] - 1030.0 * counts[6], dtype=torch.float64)
    statistics = Statistics()
    statistics.add([*graphs, *waves(3)])
    (fit,) = fit_references(statistics)
    assert fit.energies[1] == pytest.approx(-13.6, abs=1e-3) and fit.energies[6] == pytest.approx(
        -1030.0, abs=1e-2
    )
    net = small_network()
    normalize(net, statistics)
    forces = torch.cat([g.quantities["forces"] for g in graphs])
    assert float(net.atom_head.energy_scale) == pytest.approx(float(forces.square().mean().sqrt()))
    column = net.config.field_states.index("concentration")
    change = torch.cat([g.quantities["concentration"].diff(dim=0) for g in waves(3)])
    assert float(net.field_head.increment_rms[1, column]) == pytest.approx(
        float(change.square().mean().sqrt()), rel=1e-6
    )


def test_energies_in_a_wrong_unit_are_refused():
    graphs = morse_clusters(10)
    for graph in graphs:
        graph.quantities["energy"] = torch.randn((), dtype=torch.float64) * 5000
    statistics = Statistics()
    statistics.add(graphs)
    with pytest.raises(InputError, match="another unit"):
        fit_references(statistics)


def test_one_record_that_sets_a_scale_alone_is_named():
    """Forces of 1e6 eV/angstrom in one record of many: in their scale the others are zero, and nothing would be learnt."""
    graphs = [replace(g, provenance=Provenance("mine.xyz", n)) for n, g in enumerate(morse_clusters(30))]
    fields = waves(25)
    fine = Statistics()
    fine.add([*graphs, *fields])
    assert fine.dominated() == []
    graphs[7].quantities["forces"] *= 1e6
    fields[3].quantities["concentration"] *= 1e3
    statistics = Statistics()
    statistics.add([*graphs, *fields])
    forces, values, changes = statistics.dominated()
    assert (
        forces.startswith("mine.xyz (record 7): its forces, ")
        and "100% of the sum of squares over 30 records" in forces
    )
    assert values.startswith("concentration at level wave: the values of one record of 25 are 100%")
    assert "the changes of one record" in changes
    few = Statistics()
    few.add(graphs[5:9])
    assert few.dominated() == []


def test_stage_three_is_refused_for_conservative_training():
    with pytest.raises(ValidationError, match="zero_stage 3 cannot train conservative forces"):
        PretrainConfig(streams=({"source": "x"},), zero_stage=3)
    assert (
        PretrainConfig(
            streams=({"source": "x", "objective": "denoise", "noise": 0.1},), zero_stage=3
        ).zero_stage
        == 3
    )
