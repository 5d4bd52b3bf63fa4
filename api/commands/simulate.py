"""``atomfield simulate``: relaxation and molecular dynamics of one structure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atomfield.data.errors import InputError

from .options import Checkpoint, Device, Dtype, Level, Seed, load_net, read_options

if TYPE_CHECKING:
    from ase import Atoms

    from atomfield.data.graph import Graph

Structure = Annotated[
    str,
    typer.Argument(
        metavar="STRUCTURE", help="A file with a structure: xyz, CIF, POSCAR, SDF, ...", show_default=False
    ),
]
Mode = Literal["relax", "nve", "nvt", "npt"]


def simulate(
    checkpoint: Checkpoint,
    structure: Structure,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of trajectory and log.", show_default=False)
    ],
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode",
            metavar="relax|nve|nvt|npt",
            help="Relax, or dynamics at constant energy, temperature, pressure.",
        ),
    ] = "relax",
    record: Annotated[
        int, typer.Option("--record", metavar="N", min=0, help="Which structure of the file, counted from 0.")
    ] = 0,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Most steps (relax) or steps (dynamics).")
    ] = 500,
    timestep: Annotated[float, typer.Option("--timestep", metavar="FS", help="fs.")] = 0.5,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="K", help="K; of NVE the start.")
    ] = 300.0,
    pressure: Annotated[
        float, typer.Option("--pressure", metavar="GPA", help="GPa; npt, or relax with a cell that moves.")
    ] = 0.0,
    thermostat: Annotated[
        Literal["langevin", "bussi"], typer.Option("--thermostat", metavar="langevin|bussi", help="Of nvt.")
    ] = "langevin",
    fmax: Annotated[
        float, typer.Option("--fmax", metavar="F", help="eV/angstrom: relax until no force is larger.")
    ] = 0.01,
    cell: Annotated[
        Literal["fixed", "full", "volume"],
        typer.Option("--cell", metavar="fixed|full|volume", help="What of the cell relaxes."),
    ] = "fixed",
    interval: Annotated[
        int, typer.Option("--interval", metavar="N", min=1, help="Steps between frames.")
    ] = 10,
    level: Level = "",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = None,
) -> None:
    """Relax a structure or run molecular dynamics; writes trajectory.extxyz, log.csv and, of dynamics, energy.png.

    The log has one line per frame. NVE prints the fitted drift of the total energy; --dtype float64 keeps it smallest.
    """
    from rich.console import Console

    from atomfield.data.source import open_source
    from atomfield.inference import simulate as run
    from atomfield.inference.calculator import AtomFieldCalculator

    graphs = open_source(structure, read_options(level=level, seed=seed))
    if record >= len(graphs):
        raise InputError(
            f"there is no record {record}; the file has {len(graphs)}, counted from 0", structure
        )
    atoms = atoms_of(graphs[record])
    net = load_net(checkpoint, device, dtype)
    atoms.calc = AtomFieldCalculator(net, level=graphs[record].level)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    output = run.Output(
        trajectory=out / "trajectory.extxyz",
        log=out / "log.csv",
        figure=None if mode == "relax" else out / "energy.png",
        interval=interval,
        progress=console.is_terminal,
        console=console,
    )
    match mode:
        case "relax":
            result = run.relax(atoms, fmax=fmax, steps=steps, cell=cell, pressure=pressure, output=output)
        case "nve":
            result = run.nve(
                atoms, steps=steps, timestep=timestep, temperature=temperature, seed=seed, output=output
            )
        case "nvt":
            result = run.nvt(
                atoms,
                steps=steps,
                timestep=timestep,
                temperature=temperature,
                thermostat=thermostat,
                seed=seed,
                output=output,
            )
        case "npt":
            result = run.npt(
                atoms,
                steps=steps,
                timestep=timestep,
                temperature=temperature,
                pressure=pressure,
                seed=seed,
                output=output,
            )
    print(result)
    print("Written: " + ", ".join(str(file) for file in result.files))


def atoms_of(graph: Graph) -> Atoms:
    """ASE Atoms with the charge and spin of ``graph`` where they are known."""
    from ase import Atoms

    if graph.world == "field":
        raise InputError(
            "found a field, expected atoms; `atomfield predict` moves fields forward", graph.provenance
        )
    assert graph.cell is not None and graph.pbc is not None  # set by Graph itself
    positions, cell, pbc = graph.positions.numpy(), graph.cell.numpy(), graph.pbc.numpy()
    atoms = Atoms(graph.species.numpy(), positions, cell=cell, pbc=pbc)
    atoms.info.update(
        {name: graph.conditions[name] for name in ("charge", "spin") if name in graph.conditions}
    )
    return atoms
