"""``atomfield export``: a checkpoint as one file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atomfield.data.errors import InputError

from .options import Checkpoint, Device, Dtype, Level, load_net


def export(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="By its suffix: .pt2 (AOTInductor) or .pt (metatomic).",
            show_default=False,
        ),
    ],
    level: Level = "",
    device: Device = "cpu",
    dtype: Dtype = None,
) -> None:
    """Energies and forces as one file that runs without AtomField.

    .pt2: energy, forces and stress as machine code for Python or C++ (AOTInductor; no pickle in it). Takes a minute or more and a
    C++ compiler; the file is for this kind of processor or GPU and this version of torch, and slower on CPUs than our own
    kernels. From Python: atomfield.inference.export.ExportedCalculator("model.pt2") for ASE.

    .pt: a metatomic model (extra metatomic) for LAMMPS, i-PI, ASE and whatever else speaks metatomic, on CPU and GPU.
    """
    from atomfield.inference.export import export as compiled
    from atomfield.inference.export import read_about

    if out.is_dir():
        raise InputError("is a folder, expected the name of a file", str(out))
    net = load_net(checkpoint, device, dtype)
    if out.suffix == ".pt":
        from atomfield.inference.metatomic import export_metatomic

        path = export_metatomic(net, out, level=level)
        print(f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB, a metatomic model)")
        return
    path = compiled(net, out, level=level, device=net.device.type)
    about = read_about(path)
    print(
        f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB, level {about['level']}, {about['dtype']}, "
        f"cutoff {about['cutoff']:g} angstrom)"
    )
