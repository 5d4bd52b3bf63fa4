"""``atomfield rollout``: a field forward in time, checked, written and animated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atomfield.data.errors import InputError

from .options import Checkpoint, Device, Dtype, Level, Map, Source, Units, load_net, read_options


def rollout(
    checkpoint: Checkpoint,
    source: Source,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the results.", show_default=False)
    ],
    record: Annotated[
        int, typer.Option("--record", metavar="N", min=0, help="Which field of the source, counted from 0.")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Steps; default: as many as the record has.",
            show_default=False,
        ),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(
            "--dt", metavar="TIME", help="Length of a step; default: the record's.", show_default=False
        ),
    ] = None,
    resample: Annotated[
        str | None,
        typer.Option(
            "--resample",
            metavar="NX[,NY,NZ]",
            show_default=False,
            help="Another resolution of a periodic grid, by Fourier modes.",
        ),
    ] = None,
    quantity: Annotated[
        str,
        typer.Option(
            "--quantity", metavar="NAME", help="What the animation shows; default: the first state."
        ),
    ] = "",
    vtk: Annotated[
        bool, typer.Option("--vtk", help="Also states.pvd and a .vtu per time, for ParaView.")
    ] = False,
    map: Map = None,
    units: Units = None,
    level: Level = "",
    device: Device = "auto",
    dtype: Dtype = None,
) -> None:
    """Roll a field out in time and check it: conserved totals, divergence, the residual of its law, errors against
    its own future.

    Writes metrics.json, checks.csv, checks.png, animation.gif and states.nc (states.npz where xarray is not installed).
    """
    import numpy as np

    from atomfield.data.source import open_source
    from atomfield.inference.animation import animate, checks_figure
    from atomfield.inference.forecast import forecast, resampled
    from atomfield.inference.silent import stepped
    from atomfield.inference.write import write_metrics

    from .study import table

    if vtk:
        from atomfield.inference.write_vtk import check_installed, write_vtk

        check_installed(out / "states.pvd")
    graphs = open_source(source, read_options(map=map, units=units, level=level))
    if record >= len(graphs):
        raise InputError(f"there is no record {record}; the source has {len(graphs)}, counted from 0", source)
    graph = graphs[record]
    if graph.world != "field":
        raise InputError(
            f"found a {graph.world}, expected a field; `atomfield simulate` moves atoms", graph.provenance
        )
    if resample is not None:
        graph = resampled(graph, _shape(resample))
    net = load_net(checkpoint, device, dtype)
    moved = [name for name in stepped(net, graph.level) if name in graph.quantities]
    if quantity and moved and quantity not in moved:
        raise InputError(f"found {quantity!r}, expected one of {', '.join(moved)}", "--quantity")
    found = forecast(net, graph, steps, dt)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "metrics.json", out / "checks.csv", out / "checks.png", out / "animation.gif"]
    write_metrics(found.metrics(), files[0])
    checks = found.checks | {f"{n}_interval90_half_width": w for n, w in found.widths.items()}
    columns = np.column_stack([found.times, *checks.values()])
    np.savetxt(files[1], columns, "%.10g", ",", header=",".join(["time", *checks]), comments="")
    checks_figure(found).savefig(files[2], dpi=150)
    animate(found, files[3], quantity)
    files.append(_states(found, out))
    if vtk:
        files.append(write_vtk(found, out / "states.pvd"))
    table(found.metrics(), f"{len(found.times) - 1} steps of {found.graph.num_nodes} points")
    if not found.metrics()["finite"]:
        typer.echo("note: the rollout diverged: some values are not finite", err=True)
    print("Written: " + ", ".join(str(f) for f in files))


def _states(found, out: Path) -> Path:
    """All states with their start: NetCDF, or npz."""
    import numpy as np

    try:
        from atomfield.inference.write_netcdf import states_dataset

        path = out / "states.nc"
        states_dataset(found.graph, found.times, found.states).to_netcdf(path, engine="netcdf4")
    except ImportError:
        path = out / "states.npz"
        np.savez_compressed(path, positions=found.graph.positions.numpy(), times=found.times, **found.states)
    return path


def _shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(p.strip().isdigit() for p in parts):
        raise InputError(f"found {text!r}, expected numbers of points such as 64,64", "--resample")
    return tuple(int(p) for p in parts)
