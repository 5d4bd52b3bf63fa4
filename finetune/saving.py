"""A figure in the report is a PNG beside it too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from . import plots
from .report import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_picture(figure: Figure, name: str, out: Path, caption: str) -> Picture:
    """Write ``out/NAME.png`` and return the picture for a section."""
    data = plots.png(figure)
    (out / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.png").write_bytes(data)
    return Picture(data, caption)
