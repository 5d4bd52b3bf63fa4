"""``atomfield quickstart``: the whole story in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Device, Seed

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of everything that is made.")]


def quickstart(out: Out = Path("runs/quickstart"), seed: Seed = 0, device: Device = "auto") -> None:
    """Pretrain on the shipped corpus, finetune on held-out tasks of each world, and report.

    Each task compares three beginnings with the same budget, the shipped model, the pretraining of the minutes before and random
    weights, with each other and with the trivial baseline. Ends with one table and report.html.
    """
    from atomfield.quickstart import quickstart as run

    run(out, seed=seed, device=device)
