"""``atomfield simulate``: relaxation, molecular dynamics and properties of one structure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from atomfield.data.errors import InputError, Provenance

from .options import Checkpoint, Device, Dtype, Level, Seed, listed, load_net, read_options

if TYPE_CHECKING:
    from ase import Atoms

    from atomfield.data.graph import Graph

Structure = Annotated[
    str,
    typer.Argument(
        metavar="STRUCTURE", help="A file with a structure: xyz, CIF, POSCAR, SDF, ...", show_default=False
    ),
]
Motion = Literal["relax", "nve", "nvt", "npt"]
Study = Literal["eos", "elastic", "phonons", "vibrations", "neb"]
Mode = Literal["relax", "nve", "nvt", "npt", "eos", "elastic", "phonons", "vibrations", "neb"]
STOPPED = 3
"""Exit code of a run that --stop-when ended."""


def simulate(
    context: typer.Context,
    checkpoint: Checkpoint,
    structure: Structure,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the results.", show_default=False)
    ],
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode",
            metavar="|".join(get_args(Mode)),
            help="Relax; dynamics at constant energy, temperature, pressure; equation of state, elastic constants, phonons, "
            "vibrations with infrared intensities, the path to another structure.",
        ),
    ] = "relax",
    record: Annotated[
        int, typer.Option("--record", metavar="N", min=0, help="Which structure of the file, counted from 0.")
    ] = 0,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Most steps (relax, neb) or steps (dynamics).")
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
        float | None,
        typer.Option(
            "--fmax",
            metavar="F",
            show_default=False,
            help="eV/angstrom: relax until no force is larger; default: 0.01, of neb 0.05, of the other properties 0.001.",
        ),
    ] = None,
    cell: Annotated[
        Literal["fixed", "full", "volume"],
        typer.Option("--cell", metavar="fixed|full|volume", help="What of the cell relaxes."),
    ] = "fixed",
    interval: Annotated[
        int, typer.Option("--interval", metavar="N", min=1, help="Steps between frames.")
    ] = 10,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from DIR/restart.safetensors where there is one: the same bytes as without a break.",
        ),
    ] = False,
    stop_when: Annotated[
        list[str] | None,
        typer.Option(
            "--stop-when",
            metavar="TERM,...",
            help="End relax and dynamics early, with exit code 3: force>EV_PER_A, distance<A, temperature>K, uncertainty>EV, "
            "ood_score>NUMBER.",
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="relax: all structures of the file in batches, cells fixed; writes relaxed.extxyz and relaxed.csv, and goes on "
            "from what is there after a kill.",
        ),
    ] = False,
    prepared: Annotated[
        bool, typer.Option("--as-it-is", help="Properties: do not relax the structure (cell included) first.")
    ] = False,
    end: Annotated[
        str | None,
        typer.Option(
            "--end",
            metavar="FILE",
            help="neb: the other end, the same atoms in the same order.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", metavar="N", min=1, help="neb: structures between the ends.")
    ] = 7,
    supercell: Annotated[
        str | None,
        typer.Option(
            "--supercell",
            metavar="NX,NY,NZ",
            show_default=False,
            help="phonons: repeats of the cell; default: 10 angstrom in each direction, at most 400 atoms.",
        ),
    ] = None,
    level: Level = "",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = None,
) -> int:
    """Relax a structure, run molecular dynamics, or compute a property of it.

    relax, nve, nvt, npt write trajectory.extxyz, log.csv, restart.safetensors and, of dynamics, energy.png; NVE prints the
    fitted drift of the total energy, which --dtype float64 keeps smallest. The properties relax the structure first,
    print a table
    and write metrics.json, a figure and their data; `atomfield analyze` reads trajectories.
    """
    from rich.console import Console

    from atomfield.inference.calculator import AtomFieldCalculator
    from atomfield.inference.held import hold
    from atomfield.inference.watch import Limits

    limits = Limits.parse(listed(stop_when))
    _refuse_unused(mode, every, context)
    if every:
        _relax_all(
            checkpoint, structure, out, mode, cell, _force_limit(fmax), steps, level, seed, device, dtype
        )
        return 0
    atoms, given_level = _structure(structure, record, level, seed)
    if held := hold(atoms, structure, record):
        _refuse_held(mode, cell, atoms)
        typer.echo(f"note: {held} of {len(atoms)} atoms are held fixed, as the file says", err=True)
    net = load_net(checkpoint, device, dtype)
    watched = limits.uncertainty is not None or limits.ood_score is not None
    where = Provenance(structure, record)
    atoms.calc = AtomFieldCalculator(net, level=given_level, uncertainty=watched, where=where)
    console = Console(stderr=True)
    if mode not in get_args(Motion):
        from .study import Choices, study

        out.mkdir(parents=True, exist_ok=True)
        other = None if end is None else _structure(end, 0, level, seed)[0]
        if other is not None and end is not None:
            _hold_alike(other, end, atoms)
        choices = Choices(fmax, steps, prepared, other, images, _repeats(supercell))
        study(mode, atoms, choices, out, console)  # type: ignore[arg-type]
        return 0
    from atomfield.inference import simulate as run

    output = run.Output(
        trajectory=out / "trajectory.extxyz",
        log=out / "log.csv",
        figure=None if mode == "relax" else out / "energy.png",
        interval=interval,
        progress=console.is_terminal,
        console=console,
        restart=out / "restart.safetensors",
        resume=resume,
        identity=_identity(checkpoint, str(net.dtype), given_level),
        structure=_begins_with(atoms),
        stop=limits,
    )
    match mode:
        case "relax":
            result = run.relax(
                atoms, fmax=_force_limit(fmax), steps=steps, cell=cell, pressure=pressure, output=output
            )
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
    return STOPPED if result.stopped else 0


_DYNAMICS: tuple[Mode, ...] = ("nve", "nvt", "npt")
USED_BY: dict[str, tuple[Mode, ...]] = {
    "--timestep": _DYNAMICS,
    "--temperature": _DYNAMICS,
    "--pressure": ("relax", "npt"),
    "--thermostat": ("nvt",),
    "--fmax": ("relax", *get_args(Study)),
    "--cell": ("relax",),
    "--interval": get_args(Motion),
    "--resume": get_args(Motion),
    "--stop-when": get_args(Motion),
    "--as-it-is": get_args(Study),
    "--end": ("neb",),
    "--images": ("neb",),
    "--supercell": ("phonons",),
}
"""Options that other modes would leave unread."""
NOT_WITH_ALL = ("--record", "--pressure", "--interval", "--resume", "--stop-when")


def _refuse_unused(mode: Mode, every: bool, context: typer.Context) -> None:
    """Raise ``InputError`` for an option of the command line that nothing would read."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        option = parameter.opts[0]
        if every and option in NOT_WITH_ALL:
            raise InputError("--all does not use it", option)
        modes = USED_BY.get(option)
        if modes is not None and mode not in modes:
            raise InputError(f"--mode {mode} does not use it, only {', '.join(modes)}", option)


def _refuse_held(mode: Mode, cell: str, atoms: Atoms) -> None:
    """Raise ``InputError`` where atoms that the file holds fixed have to move."""
    from atomfield.inference.held import refuse_held

    if mode == "relax" and cell != "fixed":
        refuse_held(atoms, f"--cell {cell}")
    elif mode not in ("relax", "nve", "nvt", "neb"):
        refuse_held(atoms, f"--mode {mode}")


def _hold_alike(end: Atoms, file: str, start: Atoms) -> None:
    """The other end of a path holds what the start holds. Raises ``InputError`` where its file says otherwise."""
    from atomfield.inference.held import constraints_of, free_directions

    own = constraints_of(file, 0, end)
    if len(end) != len(start):
        return  # refused later, with both formulas
    if own and not (free_directions(own, len(end)) == free_directions(start.constraints, len(end))).all():
        raise InputError(
            "the ends of the path hold other atoms fixed, expected the same in both files", "--end"
        )
    end.set_constraint(start.constraints)


def _force_limit(fmax: float | None) -> float:
    return 0.01 if fmax is None else fmax


def _relax_all(
    checkpoint: Path, structure: str, out: Path, mode: str, cell: str, fmax: float, steps: int, level: str, seed: int,
    device: Any, dtype: Any,
) -> None:  # fmt: skip
    """Every structure of the file in batches: relaxed.extxyz, and a table of energies, largest forces and steps."""
    from rich.console import Console

    from atomfield.data.source import AtLevel
    from atomfield.inference.held import refuse_any_held
    from atomfield.inference.predict_many import identity_of
    from atomfield.inference.progress import counted
    from atomfield.inference.relax_file import relax_file

    if mode != "relax" or cell != "fixed":
        raise InputError(
            "many structures at once are relaxed in fixed cells; leave --mode and --cell out", "--all"
        )
    graphs = _records(structure, level, seed)
    atoms_of(graphs[0])  # refuses fields
    refuse_any_held(structure, "--all")
    net = load_net(checkpoint, device, dtype)
    source = graphs.source if isinstance(graphs, AtLevel) else graphs
    about = {"model": _identity(checkpoint, str(net.dtype), level), "source": identity_of(source)}
    console = Console(stderr=True)
    with counted("relaxing", len(graphs), console.is_terminal, console) as advance:
        rows = relax_file(
            net, graphs, out, fmax=fmax, steps=steps, about=about, done=lambda count: advance("", count)
        )
    for row in rows:
        if row["failure"]:
            typer.echo(f"note: structure {row['index']} went no further: {row['failure']}", err=True)
    print(
        f"{sum(int(r['converged']) for r in rows)} of {len(rows)} structures converged to {fmax:g} eV/angstrom"
    )
    print(f"Written: {out / 'relaxed.extxyz'}, {out / 'relaxed.csv'}")


def _records(file: str, level: str, seed: int) -> Sequence[Graph]:
    """All records; of a bad one it is said to leave it out, since nothing is skipped here."""
    from atomfield.data.source import open_source

    try:
        return open_source(file, read_options(level=level, seed=seed))
    except InputError as error:
        advice = "; skip such records with --on-bad skip"
        raise InputError(error.message.replace(advice, "; leave it out of the file"), error.where) from error


def _structure(file: str, record: int, level: str, seed: int) -> tuple[Atoms, str]:
    """The atoms of one record and their level."""
    graphs = _records(file, level, seed)
    if record >= len(graphs):
        raise InputError(f"there is no record {record}; the file has {len(graphs)}, counted from 0", file)
    return atoms_of(graphs[record]), graphs[record].level


def _repeats(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(p.strip().isdigit() and int(p) > 0 for p in parts):
        raise InputError(f"found {text!r}, expected three numbers such as 3,3,3", "--supercell")
    a, b, c = (int(p) for p in parts)
    return a, b, c


def _identity(checkpoint: Path, dtype: str, level: str) -> str:
    """What tells one potential from another."""
    from atomfield.models.checkpoint import find

    digest = hashlib.sha256((find(checkpoint) / "model.safetensors").read_bytes()).hexdigest()
    return f"{digest} {dtype} {level}".strip()


def _begins_with(atoms: Atoms) -> str:
    """What tells one structure from another, and what of it is held."""
    held = [repr(one.todict()) for one in atoms.constraints]
    arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays) + repr(held).encode()).hexdigest()


def atoms_of(graph: Graph) -> Atoms:
    """ASE Atoms with the charge and spin of ``graph``, or of its fragments, where they are known."""
    from ase import Atoms

    from atomfield.data.quantities import PER_FRAGMENT

    if graph.world == "field":
        raise InputError(
            "found a field, expected atoms; `atomfield rollout` moves fields forward", graph.provenance
        )
    assert graph.cell is not None and graph.pbc is not None  # set by Graph itself
    positions, cell, pbc = graph.positions.numpy(), graph.cell.numpy(), graph.pbc.numpy()
    atoms = Atoms(graph.species.numpy(), positions, cell=cell, pbc=pbc)
    atoms.info.update(
        {name: graph.conditions[name] for name in ("charge", "spin") if name in graph.conditions}
    )
    for name in PER_FRAGMENT.values():
        if name in graph.quantities:
            atoms.set_array(name, graph.quantities[name].numpy())
    return atoms
