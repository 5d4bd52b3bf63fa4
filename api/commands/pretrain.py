"""``atomfield pretrain``: one DeepSpeed run over the worlds of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import GivenDevice, GivenSeed, MaxTime, Set, seconds

Config = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="A YAML file, or the name of a shipped configuration.", show_default=False
    ),
]
Plan = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Print what would be done, memory, a measured step and days on many GPUs (`--set plan.gpus=...`), and stop.",
    ),
]


def pretrain(
    config: Config,
    overrides: Set = None,
    plan: Plan = False,
    max_time: MaxTime = None,
    seed: GivenSeed = None,
    device: GivenDevice = None,
) -> None:
    """Pretrain one backbone on molecules, crystals and fields with DeepSpeed.

    One process as it stands; several by `torchrun --nproc-per-node N -m atomfield pretrain CONFIG` or
    `deepspeed --module atomfield pretrain CONFIG`. A run that was interrupted continues from its newest complete checkpoint.
    SIGTERM, SIGUSR1 and Ctrl-C save and end it (exit code 75).
    """
    from atomfield.config import load_config
    from atomfield.pretrain.config import PretrainConfig
    from atomfield.pretrain.run import pretrain as run

    options: dict[str, tuple[str, object]] = {
        "max_time": ("--max-time", seconds(max_time)),
        "seed": ("--seed", seed),
        "device": ("--device", device),
    }
    run(load_config(PretrainConfig, config, overrides or (), options), plan=plan)
