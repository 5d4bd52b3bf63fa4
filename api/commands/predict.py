"""``atomfield predict``: a checkpoint's answers for every record of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    OnBad,
    Seed,
    Source,
    Units,
    load_net,
    opened,
    read_options,
)  # fmt: skip

Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FILE",
        help="By its suffix: .extxyz .xyz .csv .parquet .nc .npz.",
        show_default=False,
    ),
]
Forces = Annotated[bool, typer.Option(help="Forces too (slower: a backward pass).")]


def predict(
    checkpoint: Checkpoint,
    source: Source,
    out: Out,
    forces: Forces = True,
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
    """Predict every record: energy, forces, stress, dipole, charges and the checkpoint's properties; of fields the next states.

    No labels are needed. The answers come in the order of the source.
    """
    from rich.console import Console

    from atomfield.inference.predict import predict_graphs, probabilities
    from atomfield.inference.write import SUFFIXES, write_predictions

    if out.suffix not in SUFFIXES:
        raise InputError(
            f"cannot write {out.suffix or 'a file without suffix'}, expected one of {', '.join(SUFFIXES)}",
            str(out),
        )
    net = load_net(checkpoint, device, dtype)
    options = read_options(map=map, units=units, level=level, conformers=conformers, seed=seed, on_bad=on_bad)
    graphs = opened(source, options, max_bad)
    raw = predict_graphs(net, graphs, forces=forces, progress=Console(stderr=True).is_terminal)
    predictions = probabilities(net.config, raw)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(graphs, predictions, out)
    print(f"Written: {out} ({len(graphs)} record{'s' if len(graphs) > 1 else ''})")
