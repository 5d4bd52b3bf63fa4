"""Replay: records of levels that a checkpoint knows take part in every training step, with their own rows of the heads.

Finetuning moves weights that all levels share, and what was learnt before is forgotten. Each replayed source is a stream beside
the new records. Its training part (the standing split by groups, as in pretraining) is replayed; its validation part says what
was forgotten.
"""

from __future__ import annotations

import torch

from atomfield.data.errors import InputError
from atomfield.data.source import open_source
from atomfield.data.store import Store
from atomfield.data.subset import columns_of
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.sources import select
from atomfield.pretrain.streams import Stream
from atomfield.pretrain.validate import errors

from .config import FinetuneConfig

VALIDATION_BATCHES = 20


def replay_streams(config: FinetuneConfig, net: AtomFieldNet, max_edges: int) -> list[Stream]:
    """One stream for each source of ``replay``; together they weigh ``replay_weight``."""
    return [
        _stream(config, net, source, "train", max_edges, config.replay_weight / len(config.replay))
        for source in config.replay
    ]


def replayed(config: FinetuneConfig) -> tuple[set[str], set[str]]:
    """Names of the labels that the replayed records have, and of their levels."""
    labels: set[str] = set()
    levels: set[str] = set()
    for source in config.replay:
        graphs = open_source(source)
        if isinstance(graphs, Store):
            labels |= set(graphs.index["quantities"])
            levels |= set(graphs.columns["level"])
        else:
            labels |= {name for g in graphs for name in g.quantities}
            levels |= {g.level for g in graphs}
    return labels, levels


@torch.no_grad()
def remembered(config: FinetuneConfig, net: AtomFieldNet, device: str) -> dict[str, float]:
    """Errors on the validation parts of the replayed sources, ``replay/SOURCE/forces_mae_eV_per_A`` and so on."""
    net.eval()
    out: dict[str, float] = {}
    for source in config.replay:
        stream = _stream(config, net, source, "valid", 10_000, 1.0)
        found = errors(net, stream, device, VALIDATION_BATCHES)
        out |= {f"replay/{source}/{name}": value for name, value in found.items()}
    return out


def forgotten(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """One line per error on replayed sources: before, after, change."""
    return [
        f"{name}: {before[name]:.4g} before, {after[name]:.4g} after ({after[name] / max(before[name], 1e-12) - 1:+.1%})"
        for name in before
        if name in after
    ]


def _stream(
    config: FinetuneConfig, net: AtomFieldNet, source: str, part: str, max_edges: int, weight: float
) -> Stream:
    graphs = open_source(source)
    columns = columns_of(graphs)
    levels = columns["level"] if "level" in columns else [g.level for g in graphs]
    unknown = sorted(set(levels) - set(net.config.levels))
    if unknown:
        what = (
            f"holds level {unknown[0]!r}, which the checkpoint does not know"
            if unknown[0]
            else "holds records without a level"
        )
        raise InputError(
            f"{what}; replay is for the checkpoint's own levels: {', '.join(net.config.levels)}",
            f"--replay {source}",
        )
    is_field = "field" in set(columns["world"])
    return Stream(
        select(graphs, part),
        Targets("next_step" if is_field else "supervised"),
        cutoff=net.config.cutoff,
        max_edges=max_edges,
        seed=config.seed + 1,
        piece_edges=config.piece_edges,
        weight=weight,
        name=f"replay {source}",
        noise=config.noise if is_field and part == "train" else 0.0,
    )
