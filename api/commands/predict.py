"""``atomfield predict``: a checkpoint's answers for every record of a source."""

from __future__ import annotations

import hashlib
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
    Units,
    load_net,
    opened,
    read_options,
    tell_skipped,
)  # fmt: skip

if TYPE_CHECKING:
    import torch

    from atomfield.data.graph import Graph
    from atomfield.data.readers import BadRecord
    from atomfield.inference.predict_many import Work
    from atomfield.models.network import AtomFieldNet

Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FILE",
        help="By its suffix: .extxyz .xyz .csv .parquet .nc .npz.",
        show_default=False,
    ),
]
Coverage = Annotated[
    float,
    typer.Option(
        "--coverage",
        metavar="0.5|0.8|0.9|0.95",
        help="Of the intervals NAME_lower to NAME_upper; 0: no uncertainty.",
    ),
]
Forces = Annotated[bool, typer.Option(help="Forces too (slower: a backward pass).")]
Workers = Annotated[
    int,
    typer.Option("--workers", metavar="N", min=1, help="Processes; with --device cuda spread over the GPUs."),
]
Interleave = Annotated[
    int,
    typer.Option(
        "--interleave",
        metavar="N",
        min=1,
        help="Grids of fields N times as fine along each axis as those of training: read as interleaved grids.",
    ),
]


def predict(
    checkpoint: Checkpoint,
    source: Source,
    out: Out,
    forces: Forces = True,
    coverage: Coverage = 0.9,
    workers: Workers = 1,
    max_edges: MaxEdges = 60_000,
    interleave: Interleave = 1,
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
    """Predict every record: the checkpoint's properties, and energy, forces, stress, dipole and charges where its level was
    trained on them; of fields the next states.

    A finetuned checkpoint gives intervals too: NAME_std, NAME_lower and NAME_upper of its targets, and ood_score, above 1 where a
    record is unlike the training records.

    No labels are needed. The answers come in the order of the source. csv, parquet and extxyz are written in bounded
    memory, and the
    same command goes on after it was killed; nc and npz are held in memory whole. A source that is larger than memory is a store.
    """
    from rich.console import Console

    from atomfield.data.checks import check_share
    from atomfield.inference.intervals import check_coverage
    from atomfield.inference.parts import STREAMED
    from atomfield.inference.write import check_format, write_predictions

    check_format(out)
    if out.is_dir():
        raise InputError("is a folder, expected the name of a file", str(out))
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError("is the source itself, which the answers would replace; take another name", str(out))
    check_coverage(coverage or None, "--coverage")
    net = load_net(checkpoint, device, dtype)
    options = read_options(map=map, units=units, level=level, conformers=conformers, seed=seed, on_bad=on_bad)
    unread: list[BadRecord] = []
    graphs = opened(source, options, max_bad, unread)
    check_format(out, _is_field(graphs))
    console = Console(stderr=True)
    if out.suffix == ".csv" and not _is_field(graphs) and (gone := _per_atom(net, forces, level)):
        console.print(
            f"{out}: a row is a structure, so values per atom are left out: {', '.join(gone)}; .extxyz and .parquet hold them",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if interleave > 1 and not _is_field(graphs):
        raise InputError("only grids of fields can be read as interleaved ones, found atoms", "--interleave")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix in STREAMED and not _is_field(graphs):
        work = _work(
            checkpoint,
            str(net.device),
            net.dtype,
            graphs,
            out,
            forces,
            coverage or None,
            on_bad == "skip",
            max_edges,
            level,
        )
        from atomfield.inference.predict_many import predict_many

        count, bad = predict_many(work, workers=workers, progress=console.is_terminal, console=console)
        tell_skipped(bad)
        check_share([*unread, *bad], count, max_bad, source)
    else:
        if workers > 1:
            raise InputError("several processes write csv, parquet or extxyz of atoms", "--workers")
        from atomfield.inference.predict_many import answered, refuse_nothing_left

        numbers, known, found, bad = answered(
            net,
            enumerate(graphs),
            level=level,
            forces=forces,
            coverage=coverage or None,
            max_edges=max_edges,
            skip_bad=on_bad == "skip",
            progress=console.is_terminal,
            interleave=interleave,
        )
        refuse_nothing_left(bad, len(graphs))
        tell_skipped(bad)
        write_predictions(known, found, out, numbers)
        count = len(known)
        check_share([*unread, *bad], count, max_bad, source)
    print(f"Written: {out} ({count} record{'s' if count > 1 else ''})")


def _per_atom(net: AtomFieldNet, forces: bool, level: str) -> list[str]:
    """What ``net`` says of atoms one by one."""
    from atomfield.inference.silent import silent

    own = [p.name for p in net.config.properties if p.support == "node"]
    shared = (*(("forces",) if forces else ()), "charges")
    return own + [n for n in shared if n not in silent(net, level)]


def _is_field(graphs: Sequence[Graph]) -> bool:
    return graphs[0].world == "field"


def _work(
    checkpoint: Path,
    device: str,
    dtype: torch.dtype,
    graphs: Sequence[Graph],
    out: Path,
    forces: bool,
    coverage: float | None,
    skip_bad: bool,
    max_edges: int,
    level: str,
) -> Work:
    from atomfield.data.source import AtLevel
    from atomfield.inference.parts import Parts
    from atomfield.inference.predict_many import Work, identity_of
    from atomfield.models.checkpoint import find

    if isinstance(graphs, AtLevel):  # every process opens the store itself
        graphs = graphs.source

    model = hashlib.sha256((find(checkpoint) / "model.safetensors").read_bytes()).hexdigest()
    about = {
        "model": model,
        "source": identity_of(graphs),
        "forces": forces,
        "coverage": coverage,
        "dtype": str(dtype),
        "skip_bad": skip_bad,
        "level": level,
    }
    return Work(
        checkpoint,
        device,
        dtype,
        graphs,
        Parts(out, len(graphs), about),
        forces,
        coverage,
        skip_bad,
        max_edges,
        level,
    )
