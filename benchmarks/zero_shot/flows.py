"""Held-out flows of the starter corpus: one step and a rollout of the model as it ships, beside persistence."""

from __future__ import annotations

from typing import Any

import numpy as np

from atomfield.data.source import open_source
from atomfield.finetune.field_errors import vrmse_curve
from atomfield.inference.predict import predict_graphs
from atomfield.inference.rollout import rollout
from atomfield.models.network import AtomFieldNet

SOURCE = "starter/task_fields"


def flows(net: AtomFieldNet, count: int = 12) -> dict[str, Any] | None:
    """Error relative to the spatial standard deviation, mean over flows and times, of every state that the model predicts; None
    where the model has not seen the solver of these flows."""
    graphs = list(open_source(SOURCE))[-count:]
    if graphs[0].level not in net.config.levels:
        return None
    steps = predict_graphs(net, graphs)
    out: dict[str, Any] = {"source": SOURCE, "flows": len(graphs), "steps": graphs[0].num_times - 1}
    runs = [rollout(net, g) for g in graphs]
    for name in (n for n in net.config.field_states if n in graphs[0].quantities):
        truth = [g.quantities[name].numpy() for g in graphs]
        out[name] = {
            "one_step": _mean([_error(p[name], t[1:]) for p, t in zip(steps, truth, strict=True)]),
            "one_step_persistence": _mean([_error(t[:-1], t[1:]) for t in truth]),
            "rollout": _mean([_error(r[name].numpy()[1:], t[1:]) for r, t in zip(runs, truth, strict=True)]),
            "rollout_persistence": _mean([_error(np.broadcast_to(t[:1], t[1:].shape), t[1:]) for t in truth]),
        }
    return out


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    """VRMSE of ``[T, N, ...]``, mean over times."""
    return float(vrmse_curve(found, truth).mean())


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
