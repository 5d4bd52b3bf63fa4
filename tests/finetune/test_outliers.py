"""Labels far outside of all others do not fix the scale of a property."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.data.quantities import scalar_property
from atomfield.finetune.outliers import MOST, outlying, without_outliers
from atomfield.pretrain.property_fits import fit_property
from tests.small import morse_clusters

NORMAL = np.random.default_rng(0).normal(30, 10, 400)


def labelled(values, name="y"):
    shown = {"properties": {name: scalar_property(name)}}
    return [
        replace(g, quantities={name: torch.tensor(float(v), dtype=torch.float64)}, **shown)
        for g, v in zip(morse_clusters(len(values)), values, strict=True)
    ]


def test_slips_and_placeholders_are_found_and_tails_are_not():
    assert not outlying(NORMAL).any()
    spoilt = NORMAL.copy()
    spoilt[[3, 50, 51]] = -9999, 99999, 30e3
    assert np.flatnonzero(outlying(spoilt)).tolist() == [3, 50, 51]
    heavy = np.random.default_rng(1).standard_t(3, 2000)
    assert not outlying(heavy).any()
    assert outlying(np.exp(NORMAL / 4)).mean() < 0.02
    often = NORMAL.copy()
    often[: int(1.2 * MOST * 400)] = -9999
    assert not outlying(often).any()
    assert not outlying(np.array([0.0] * 80 + [5.0] * 20)).any()


def test_scales_are_those_of_the_rest():
    values = NORMAL[:60].copy()
    values[[7, 20]] = -9999, 99999
    graphs = labelled(values)
    kept, said = without_outliers("y", graphs)
    assert len(kept) == 58
    assert "y: 2 of 60 training labels lie far outside" in said and "99999 (" in said and "-9999 (" in said
    fits = [fit_property("y", its, "auto", "mean") for its in (kept, graphs)]
    assert fits[0].scale == pytest.approx(np.delete(values, [7, 20]).std())
    assert fits[1].scale > 100 * fits[0].scale
    assert without_outliers("y", graphs, ("a", "b")) == (graphs, "")
    assert without_outliers("y", labelled(NORMAL[:60]))[1] == ""
    assert without_outliers("z", graphs) == (graphs, "")
