"""``atomfield identify``: the constants or the terms of a law from data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import GivenSeed, Set

Config = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="A YAML file, or the name of a shipped configuration.", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder of the results; default: runs/identify.", show_default=False
    ),
]
File = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="The data, in place of data.file.", show_default=False),
]


def identify(
    config: Config,
    data: File = None,
    out: Out = None,
    seed: GivenSeed = None,
    overrides: Set = None,
) -> None:
    """Find the constants of a law from measured trajectories, fields or structures, with their uncertainty, or find the terms
    themselves.

    Predator and prey or Lorenz from a table; Burgers, Korteweg-de Vries, Kuramoto-Sivashinsky, Allen-Cahn, heat and
    advection-diffusion from arrays over x and t, by a weak form (seconds) or a physics-informed network (minutes);
    `law: discover` picks the terms from a library. Navier-Stokes, shallow water, sound, waves, Gray-Scott and Darcy from a
    record of any dimension; Lennard-Jones, Morse and Buckingham from structures. Writes DIR/metrics.json, identify.png and
    config.yaml.
    """
    from atomfield.config import find_config, load_config
    from atomfield.finetune.identify import run
    from atomfield.finetune.identify_config import IdentifyConfig

    options: dict[str, tuple[str, object]] = {
        "data.file": ("--data", data),
        "out": ("--out", out),
        "seed": ("--seed", seed),
    }
    run(load_config(IdentifyConfig, config, overrides or (), options), find_config(config).parent)
