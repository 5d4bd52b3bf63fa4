"""Coverage is counted over what has a label."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from atomfield.data.quantities import declared_property
from atomfield.finetune.calibration import judge_intervals
from tests.small import morse_clusters


def test_atoms_without_a_label_do_not_count():
    graphs, predictions = [], []
    for number, graph in enumerate(morse_clusters(4)):
        shift = torch.full((graph.num_nodes,), 2.0, dtype=torch.float64)
        shift[1:3] = float("nan")
        named = {"properties": {"nmr": declared_property("nmr", "0e/atom")}}
        graphs.append(replace(graph, quantities={"nmr": shift} if number < 3 else {}, **named))
        off = 0.5 if number < 2 else 5.0
        predictions.append({"nmr": np.full(graph.num_nodes, 2.0 + off), "nmr_std": np.ones(graph.num_nodes)})
    about = SimpleNamespace(targets=("nmr",), calibration_units=(20,))
    uncertainty = SimpleNamespace(about=about, quantiles=torch.ones(1, 4))
    report = judge_intervals(uncertainty, graphs, predictions, ("nmr",))
    (judged,) = report.judged
    assert len(judged.errors) == sum(g.num_nodes - 2 for g in graphs[:3])
    numbers, error, _ = judged.record_table()
    assert numbers.tolist() == [0, 1, 2]
    assert error == pytest.approx([0.5, 0.5, 5.0])
    assert judged.coverage(1.0).mean() == pytest.approx(2 / 3)
