"""``atomfield export``: a checkpoint as one compiled file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Checkpoint, Device, Dtype, Level, load_net


def export(
    checkpoint: Checkpoint,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Name ending in .pt2.", show_default=False)
    ],
    level: Level = "",
    device: Device = "cpu",
    dtype: Dtype = None,
) -> None:
    """Compile energy, forces and stress into one file for Python or C++ without AtomField (AOTInductor; no pickle in it).

    Takes a minute or more and a C++ compiler. The file is machine code for this kind of processor or GPU and this
    version of torch; it
    is slower on CPUs than our own kernels. From Python: atomfield.inference.export.ExportedCalculator("model.pt2") for ASE.
    """
    from atomfield.inference.export import export as compiled
    from atomfield.inference.export import read_about

    net = load_net(checkpoint, device, dtype)
    path = compiled(net, out, level=level, device=net.device.type)
    about = read_about(path)
    print(
        f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB, level {about['level']}, {about['dtype']}, "
        f"cutoff {about['cutoff']:g} angstrom)"
    )
