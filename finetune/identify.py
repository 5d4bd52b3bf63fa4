"""Constants or terms of a law from data: a bar while it fits, then a table, a plot and ``metrics.json``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml
from rich.console import Console
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.models.pair_terms import written
from atomfield.physics_priors import lorenz, lotka_volterra
from atomfield.physics_priors.law_fit import fit_law
from atomfield.physics_priors.line_laws import LineLaw, line_law
from atomfield.physics_priors.ode import solve
from atomfield.physics_priors.physics_informed import fit_network
from atomfield.physics_priors.trajectory_fit import Prior, fit_trajectory
from atomfield.physics_priors.weak_form import library
from atomfield.physics_priors.weak_identification import discover, identify

from . import identify_data, identify_plots, identify_records
from .identify_config import ENERGY_LAWS, TRAJECTORY_LAWS, ConstantConfig, IdentifyConfig
from .plots import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Advance = Callable[[int, str], None]
"""``(steps done, text beside the bar)``."""
LEAST_REMARKED = 0.01
"""Percent: what the resolution does to a constant is remarked on from here."""


@dataclass(frozen=True)
class Row:
    """One constant or term: its value, standard deviation, and a known value if there is one."""

    name: str
    value: float
    deviation: float
    reference: float | None = None


@dataclass(frozen=True)
class Identified:
    """The result: rows of the table, a figure, further numbers for metrics.json and remarks."""

    rows: tuple[Row, ...]
    figure: Figure
    numbers: dict[str, float]
    notes: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)


def run(config: IdentifyConfig, folder: Path | None = None, console: Console | None = None) -> Identified:
    """Identify, print the table, write ``OUT/metrics.json``, ``identify.png`` and ``config.yaml``.

    folder: where a relative data file is looked for when it is not where the command runs. Raises ``InputError`` for
    data that do not
    fit the law or do not determine its constants.
    """
    console = console or Console()
    config = _located(config, folder)
    start = time.perf_counter()
    with _bar(config, console) as advance:
        try:
            found = _fit(config, advance)
        except (ArithmeticError, torch.linalg.LinAlgError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{config.law} cannot be identified: {error}", str(config.data.file)) from None
    found.metrics.update(_metrics(found, time.perf_counter() - start))
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "metrics.json").write_text(json.dumps(found.metrics, indent=1) + "\n", encoding="utf-8")
    (config.out / "identify.png").write_bytes(png(found.figure))
    (config.out / "config.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
    )
    _print(config, found, console)
    return found


def _fit(config: IdentifyConfig, advance: Advance) -> Identified:
    if config.law in TRAJECTORY_LAWS:
        return _trajectory(config, advance)
    if config.of_records:
        return _records(config)
    u, x, t = identify_data.field(
        config.data, uniform=config.law == "discover" or config.method == "weak_form"
    )
    if config.noise:
        generator = torch.Generator().manual_seed(config.seed)
        u = u + config.noise * u.std() * torch.randn(u.shape, dtype=torch.float64, generator=generator)
    if config.law == "discover":
        return _discovery(config, u, x, t)
    if config.method == "network":
        return _network(config, u, x, t, advance)
    return _weak(config, u, x, t)


def _trajectory(config: IdentifyConfig, advance: Advance) -> Identified:
    names: tuple[str, ...] = lorenz.CONSTANTS
    states: tuple[str, ...] = ("x", "y", "z")
    rate = lorenz.rate
    if config.law == "lotka_volterra":
        rate, names, states = lotka_volterra.rate, lotka_volterra.CONSTANTS, ("prey", "predator")
    times, values = identify_data.trajectory(config.data, states)
    given = [config.constants[name] for name in names]
    fit = fit_trajectory(
        rate,
        times,
        values,
        torch.tensor([c.start for c in given], dtype=torch.float64),
        tuple(Prior(c.mean, c.deviation) for c in given),
        errors=config.errors,
        error_start=config.error_start,
        substeps=config.substeps,
        progress=lambda step, value: advance(step + 1, f"objective {value:.4f}"),
    )
    labels = [*names, *(f"{s}(0)" for s in states), *(f"error of {s}" for s in states)]
    estimates = torch.cat([fit.constants, fit.initial, fit.errors]).tolist()
    references = [*(c.reference for c in given), *[None] * (2 * len(states))]
    rows = tuple(
        Row(*row) for row in zip(labels, estimates, fit.deviations.tolist(), references, strict=True)
    )
    left = (fit.path - values).square().mean(0).sqrt() / values.std(0)
    numbers = {f"misfit_{s}_relative": float(v) for s, v in zip(states, left, strict=True)}
    columns = [config.data.columns[s] for s in states]
    fine = torch.linspace(0, float(times[-1]), 200, dtype=torch.float64)
    path = solve(lambda _, z: rate(z, fit.constants), fit.initial, fine, substeps=1)
    figure = identify_plots.trajectory(
        times, values, (fine, path), columns, config.data.time, rows[: len(names)]
    )
    return Identified(rows, figure, numbers, ("Deviations by Laplace's approximation of the posterior.",))


def _weak(config: IdentifyConfig, u: Tensor, x: Tensor, t: Tensor) -> Identified:
    law = _line_law(config)
    dx, dt = float(x.diff().mean()), float(t.diff().mean())
    found = identify(law, u, dx, dt, halves=config.windows, draws=config.draws, seed=config.seed)
    given = [config.constants.get(name, ConstantConfig()) for name in law.constants]
    rows = tuple(
        Row(name, float(v), float(d), c.reference)
        for name, v, d, c in zip(law.constants, found.values, found.deviations, given, strict=True)
    )
    figure = identify_plots.weak(u, x, t, found.draws, rows)
    size = " x ".join(str(2 * half + 1) for half in found.halves)
    notes = [f"Weak form on windows of {size} points; deviations by a block bootstrap."]
    shift = (found.coarse - found.values).abs()
    # an error of second order or better is at most a third of what halving the resolution does
    worst = int((shift / found.deviations).argmax())
    percent = 100 * float(shift[worst] / found.values[worst].abs())
    if float(shift[worst]) > 9 * float(found.deviations[worst]) and percent > LEAST_REMARKED:
        notes.append(
            f"With every second point {law.constants[worst]} is {percent:.2g} % away: the grid hardly resolves the field, and "
            "the deviations do not hold that error."
        )
    numbers = {f"coarse_grid_shift_{n}": float(v) for n, v in zip(law.constants, shift, strict=True)}
    return Identified(rows, figure, numbers | {"weak_residual_relative": found.error}, tuple(notes))


def _records(config: IdentifyConfig) -> Identified:
    match config.law:
        case "lennard_jones" | "morse" | "buckingham":
            problem = identify_records.problem_of_atoms(config, config.law)
        case "burgers" | "heat" | "advection_diffusion" | "navier_stokes" | "acoustics":
            problem = identify_records.problem_of_field(config, config.law)
        case (
            "shallow_water" | "gray_scott" | "allen_cahn" | "kdv" | "kuramoto_sivashinsky" | "wave" | "darcy"
        ):
            problem = identify_records.problem_of_field(config, config.law)
        case other:
            raise AssertionError(other)
    found = fit_law(
        problem.equations, problem.start, positive=problem.positive, draws=config.draws, seed=config.seed
    )
    rows = tuple(
        Row(name, float(v), float(d), c.reference)
        for name, v, d, c in zip(problem.names, found.values, found.deviations, problem.given, strict=True)
    )
    notes = [f"{problem.note}; deviations by a block bootstrap."]
    if found.rest > 0.1:
        notes.append(
            f"{100 * found.rest:.2g} % of what the law explains is left: noise, points too far apart, or another law."
        )
    if config.law in ENERGY_LAWS:
        notes.append(
            f"As a term that a network corrects: network.priors: ['{_term(config.law, problem.kinds, found.values)}']"
        )
    figure = identify_plots.law(found.explained, found.predicted, found.draws, rows)
    return Identified(
        rows, figure, {"residual_relative": found.rest, "steps": float(found.steps)}, tuple(notes)
    )


def _term(law: str, kinds: tuple[str, ...], values: Tensor) -> str:
    """The constants of an energy as the name of a prior; ``kinds``: the pair of elements of each."""
    found: dict[str, tuple[float, ...]] = {}
    for kind, value in zip(kinds, values.tolist(), strict=True):
        found[kind] = (*found.get(kind, ()), value)
    return written(law, found)


def _network(config: IdentifyConfig, u: Tensor, x: Tensor, t: Tensor, advance: Advance) -> Identified:
    law = _line_law(config)
    points = torch.cartesian_prod(x, t)
    generator = torch.Generator().manual_seed(config.seed)
    drawn = torch.randperm(len(points), generator=generator)[: config.network.points]
    given = [config.constants.get(name, ConstantConfig()) for name in law.constants]
    start = _start(law, given, u, x, t)

    def tell(step: int, loss: float, constants: Tensor) -> None:
        shown = ", ".join(f"{n} {float(c):.5g}" for n, c in zip(law.constants, constants, strict=True))
        advance(step + 1, f"loss {loss:.2e}; {shown}")

    fit = fit_network(
        law,
        points[drawn],
        u.reshape(-1)[drawn],
        points[drawn],
        start,
        width=config.network.width,
        depth=config.network.depth,
        max_steps=config.network.max_steps,
        seed=config.seed,
        progress=tell,
    )
    rows = tuple(
        Row(name, float(v), float(d), c.reference)
        for name, v, d, c in zip(law.constants, fit.constants, fit.deviations, given, strict=True)
    )
    filled = fit.field(points).reshape(u.shape)
    numbers = {
        "field_error_relative": float((filled - u).norm() / u.norm()),
        "loss": fit.fit.loss,
        "steps": float(len(fit.fit.history) - 1),
    }
    figure = identify_plots.network(u, filled, x, t, points[drawn], fit.fit.history)
    notes = [
        "Deviations by the Fisher information of all unknowns; they hold noise, not the error of a network that is too small."
    ]
    recent = fit.fit.history[-11:]
    numbers["loss_fall_last_ten_steps"] = fall = 1 - recent[-1] / recent[0]
    if fall > 0.1:
        notes.append(
            f"NOT CONVERGED: the loss fell by {100 * fall:.0f} % over the last {len(recent) - 1} steps. Raise "
            "network.max_steps; the deviations assume a minimum."
        )
    return Identified(rows, figure, numbers, tuple(notes))


def _start(law: LineLaw, given: list[ConstantConfig], u: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """``[K]`` as given, else the weak form's estimate where the grid allows one, else 1."""
    start = torch.ones(len(given), dtype=torch.float64)
    if any(c.start is None for c in given) and identify_data.is_uniform(x) and identify_data.is_uniform(t):
        with contextlib.suppress(ValueError):  # too few points for its windows
            start = identify(law, u, float(x.diff().mean()), float(t.diff().mean()), draws=2).values
    for number, constant in enumerate(given):
        if constant.start is not None:
            start[number] = constant.start
    return start


def _discovery(config: IdentifyConfig, u: Tensor, x: Tensor, t: Tensor) -> Identified:
    terms = library(config.terms.max_power, config.terms.max_order)
    known = config.terms.reference
    names = [str(term) for term in terms]
    strange = [name for name in known if name not in names]
    if strange:
        raise InputError(
            f"terms.reference names {strange[0]!r}, which is not in the library: {', '.join(names)}"
        )
    found = discover(
        u, float(x.diff().mean()), float(t.diff().mean()), terms,
        threshold=config.terms.threshold, halves=config.windows, draws=config.draws, seed=config.seed,
    )  # fmt: skip
    kept = found.fit.active[:, 0].nonzero().flatten().tolist()
    values = found.fit.coefficients[:, 0].tolist()
    rows = tuple(Row(names[k], values[k], float(found.deviations[k]), known.get(names[k])) for k in kept)
    if not rows:
        raise InputError(
            f"no term has a share of {config.terms.threshold:g} in du/dt; lower terms.threshold or widen the library"
        )
    error = float(found.fit.error[0])
    equation = "u_t = " + " ".join(f"{'-' if r.value < 0 else '+'} {abs(r.value):.5g} {r.name}" for r in rows)
    figure = identify_plots.discovery(u, x, t, names, found.fit.share[:, 0], kept, config.terms.threshold)
    missed = [name for name in known if name not in {r.name for r in rows}]
    left = (
        f"{100 * error:.2g} % of du/dt is left; terms with a share below {100 * config.terms.threshold:g} % were dropped "
        "(terms.threshold)."
    )
    notes = (equation.replace("= + ", "= "), left, *(f"Not found: {name}" for name in missed))
    return Identified(rows, figure, {"weak_residual_relative": error, "terms": float(len(rows))}, notes)


# ---------------------------------------------------------------- reporting
def _line_law(config: IdentifyConfig) -> LineLaw:
    match config.law:
        case "burgers" | "kdv" | "kuramoto_sivashinsky" | "allen_cahn" | "heat" | "advection_diffusion":
            return line_law(config.law)
        case other:
            raise AssertionError(other)


def _located(config: IdentifyConfig, folder: Path | None) -> IdentifyConfig:
    """The configuration with the data file where it was found."""
    file = config.data.file
    if not file.exists() and folder is not None and (folder / file).exists():
        return config.model_copy(update={"data": config.data.model_copy(update={"file": folder / file})})
    if not file.exists() and not config.of_records:  # a record may be one of the starter corpus
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return config


def _bar(config: IdentifyConfig, console: Console):
    from contextlib import contextmanager

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    @contextmanager
    def opened():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
        )
        total = config.network.max_steps if config.method == "network" else None
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"identifying {config.law}", total=total, said="")
            yield lambda step, said: bar.update(task, completed=step, said=said)

    return opened()


def _metrics(found: Identified, seconds: float) -> dict[str, float]:
    out: dict[str, float] = {}
    for row in found.rows:
        key = row.name.replace(" ", "_")
        out[f"constant_{key}"], out[f"constant_{key}_sd"] = row.value, row.deviation
        if row.reference:
            out[f"constant_{key}_relative_error"] = row.value / row.reference - 1
    return out | found.numbers | {"seconds": round(seconds, 2)}


def _print(config: IdentifyConfig, found: Identified, console: Console) -> None:
    from rich.table import Table

    table = Table(title=f"{config.law}: {config.data.file.name}", title_justify="left")
    with_reference = any(r.reference is not None for r in found.rows)
    for name in ("", "value", "standard deviation", *(("reference", "off by") if with_reference else ())):
        table.add_column(name, justify="left" if not name else "right")
    for row in found.rows:
        cells = [row.name, f"{row.value:.6g}", f"{row.deviation:.2g}"]
        if with_reference and row.reference is not None:
            cells += [
                f"{row.reference:.6g}",
                f"{100 * (row.value / row.reference - 1):+.3f} %" if row.reference else "",
            ]
        table.add_row(*cells)
    console.print(table)
    for note in found.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    console.print(
        f"Written: {config.out}/metrics.json, identify.png, config.yaml", highlight=False, soft_wrap=True
    )
