"""``atomfield evaluate``: how good a checkpoint is on labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomfield.data.errors import InputError

from .options import (
    Checkpoint,
    Conformers,
    Device,
    Dtype,
    Level,
    Map,
    MaxBad,
    MaxEdges,
    OnBad,
    Seed,
    Source,
    Target,
    Units,
    listed,
    load_net,
    opened,
    read_options,
)  # fmt: skip

if TYPE_CHECKING:
    from atomfield.data.graph import Graph
    from atomfield.models.network import AtomFieldNet

Train = Annotated[
    str | None,
    typer.Option(
        "--train", metavar="SRC", help="Records that the baselines are fitted on.", show_default=False
    ),
]


def evaluate(
    checkpoint: Checkpoint,
    source: Source,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the results.", show_default=False)
    ],
    target: Target = None,
    train: Train = None,
    max_edges: MaxEdges = 60_000,
    map: Map = None,
    units: Units = None,
    level: Level = "",
    conformers: Conformers = 1,
    on_bad: OnBad = "raise",
    max_bad: MaxBad = 0.01,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = None,
) -> None:
    """Compare predictions with labels: metrics.json, a table on the screen, plots and report.html.

    Without --target: the checkpoint's own properties, or else every label that the records have and the checkpoint predicts.
    Where it was finetuned on some of the records, this is said.
    """
    from atomfield.finetune.evaluate import evaluate as run
    from atomfield.finetune.trained_on import note

    net = load_net(checkpoint, device, dtype)
    targets = listed(target) or tuple(p.name for p in net.config.properties)
    options = read_options(
        targets=targets, map=map, units=units, level=level, conformers=conformers, seed=seed, on_bad=on_bad,
        properties=net.config.properties,
    )  # fmt: skip
    graphs = opened(source, options, max_bad)
    fitted = opened(train, options, max_bad) if train else None
    told = note(checkpoint, graphs)
    run(
        net,
        graphs,
        targets or labels_of(graphs, net, source),
        out,
        train=fitted,
        max_edges=max_edges,
        notes=[told] if told else [],
    )


def labels_of(graphs: Sequence[Graph], net: AtomFieldNet, source: str) -> tuple[str, ...]:
    """Every label that ``graphs`` have and ``net`` was trained to predict at their level."""
    from atomfield.inference.levels import with_level
    from atomfield.inference.silent import ATOMS, silent, stepped

    held: set[str] = set()
    found: set[str] = set()
    able: dict[tuple[bool, str], list[str]] = {}
    for number, graph in enumerate(graphs):
        key = (graph.world == "field", with_level(net, graph, number).level)
        if key not in able:
            quiet = silent(net, key[1])
            able[key] = list(stepped(net, key[1])) if key[0] else [n for n in ATOMS if n not in quiet]
        held |= graph.quantities.keys()
        found |= graph.quantities.keys() & set(able[key])
    names = dict.fromkeys(name for its in able.values() for name in its)
    if not found:
        raise InputError(
            f"found {', '.join(sorted(held)) or 'no labels'}, expected one of {', '.join(names)}; name the file's own key with "
            "--map",
            source,
        )
    return tuple(name for name in names if name in found)
