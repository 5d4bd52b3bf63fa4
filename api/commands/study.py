"""The properties that ``atomfield simulate`` computes: relax, compute, print a table, write numbers and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from rich.console import Console

    from .simulate import Study


@dataclass(frozen=True)
class Choices:
    """What the options say; ``end``: of a path; ``supercell``: of phonons."""

    fmax: float | None
    steps: int
    prepared: bool
    end: Atoms | None
    images: int
    supercell: tuple[int, int, int] | None


def study(mode: Study, atoms: Atoms, choices: Choices, out: Path, console: Console) -> None:
    """Compute one property and leave everything in ``out``; remarks go to stderr."""
    from atomfield.inference.write import write_metrics

    bar = console.is_terminal
    fmax = (0.05 if mode == "neb" else 0.001) if choices.fmax is None else choices.fmax
    files: list[Path] = []
    _check_kind(mode, atoms, choices)
    if mode != "neb" and not choices.prepared:
        files += _relaxed(atoms, fmax, choices.steps, out, console)
    found: Any
    match mode:
        case "eos":
            from atomfield.inference import equation_of_state as volumes

            found = volumes.equation_of_state(atoms, fmax=fmax, progress=bar, console=console)
            picture, rows = volumes.figure(found), _eos_table(found, out / "eos.csv")
            files.append(rows)
        case "elastic":
            from atomfield.inference import elastic

            found = elastic.elastic_constants(atoms, fmax=fmax, progress=bar, console=console)
            picture = elastic.figure(found)
            _matrix(found.matrix, out / "elastic.csv")
            files.append(out / "elastic.csv")
        case "phonons":
            from atomfield.inference import phonons

            found = phonons.phonons(atoms, supercell=choices.supercell, progress=bar, console=console)
            picture = phonons.figure(found)
            files += found.save(out)
        case "vibrations":
            from atomfield.inference import vibrations

            found = vibrations.vibrations(atoms, progress=bar, console=console)
            picture = vibrations.figure(found)
            files += found.save(out)
            _modes(found)
        case "neb":
            from atomfield.inference import reaction_path as paths

            assert choices.end is not None
            found = paths.reaction_path(
                atoms,
                choices.end,
                images=choices.images,
                fmax=fmax,
                steps=choices.steps,
                relax_ends=not choices.prepared,
                progress=bar,
                console=console,
            )
            picture = paths.figure(found)
            files += found.save(out)
    picture.savefig(out / f"{mode}.png", dpi=150)
    numbers = found.metrics()
    write_metrics(numbers, out / "metrics.json")
    table(numbers, mode)
    for remark in found.remarks:
        console.print(f"note: {remark}", highlight=False, soft_wrap=True)
    print("Written: " + ", ".join(str(f) for f in (*files, out / f"{mode}.png", out / "metrics.json")))


def _check_kind(mode: Study, atoms: Atoms, choices: Choices) -> None:
    """Raise ``InputError`` where the property is not one of such a structure, before any time is spent on it."""
    from atomfield.inference.run import check_molecule, check_solid

    match mode:
        case "vibrations":
            check_molecule(atoms, "vibrations (of a crystal: phonons)")
        case "neb":
            if choices.end is None:
                raise InputError("neb needs the other end of the path: --end FILE", "--end")
        case _:
            check_solid(
                atoms, {"eos": "an equation of state", "elastic": "elastic constants"}.get(mode, mode)
            )
    if mode == "phonons":
        from atomfield.inference.phonons import check_can_repeat, check_installed

        check_installed()
        check_can_repeat(atoms)


def table(numbers: dict[str, float], title: str) -> None:
    """Name and number, on stdout."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, box=None, pad_edge=False)
    grid.add_column("")
    grid.add_column("", justify="right")
    for name, value in numbers.items():
        grid.add_row(name, f"{value:.6g}")
    Console().print(grid)


def _relaxed(atoms: Atoms, fmax: float, steps: int, out: Path, console: Console) -> list[Path]:
    """Relax in place, the cell too where there is one; the structure is kept as ``relaxed.extxyz``."""
    import ase.io

    from atomfield.inference.simulate import Output, relax

    output = Output(interval=1, progress=console.is_terminal, console=console)
    run = relax(atoms, fmax=fmax, steps=steps, cell="full" if atoms.pbc.all() else "fixed", output=output)
    print(f"Relaxed: {run}")
    if not run.converged:
        console.print("note: the relaxation did not converge; more --steps, or --as-it-is", highlight=False)
    ase.io.write(out / "relaxed.extxyz", atoms, format="extxyz")
    return [out / "relaxed.extxyz"]


def _eos_table(found: Any, path: Path) -> Path:
    import numpy as np

    columns = np.column_stack(
        [found.volumes, found.energies, found.pressures, found.energy_at(found.volumes)]
    )
    np.savetxt(path, columns, "%.10g", ",", header="volume_A3,energy_eV,pressure_GPa,fit_eV", comments="")
    return path


def _matrix(matrix: Any, path: Path) -> None:
    import numpy as np

    np.savetxt(path, matrix, "%.6f", ",", header="xx,yy,zz,yz,xz,xy (GPa)", comments="")


def _modes(found: Any) -> None:
    """The table of modes."""
    from rich.console import Console
    from rich.table import Table

    grid = Table("mode", "1/cm", "km/mol", box=None, pad_edge=False)
    for number, frequency in enumerate(found.frequencies):
        strength = "" if found.intensities is None else f"{found.intensities[number]:.2f}"
        grid.add_row(str(number), f"{frequency:.1f}", strength)
    Console().print(grid)
