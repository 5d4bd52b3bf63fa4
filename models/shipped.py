"""The pretrained models that ship with the package: a name stands for a folder of package data, without any network.

Each has the three files of a public checkpoint. Wherever a checkpoint is expected, a name works too; what lies at that path, a
folder of the same name for instance, comes first, as with configurations and the starter corpus.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Shipped:
    """One model of the package. ``folder`` is what every command, ``atomfield.load`` and ``transformers`` take."""

    name: str
    folder: Path
    parameters: int
    """How many numbers training moves; constants are not among them."""
    num_bytes: int
    """Size of its weights file in bytes."""
    sha256: str
    """Of its weights file, hexadecimal; the model card states it too."""
    levels: tuple[str, ...]
    """Levels of theory and solvers that it was trained on."""
    default_level: str
    """Of molecules where nobody names one."""
    crystal_levels: tuple[str, ...]
    """Those that periodic structures choose from where nobody names one (``inference/levels.py``)."""


def folders() -> dict[str, Path]:
    """Name -> folder of every model in the package."""
    return {f.parent.name: f.parent for f in sorted(FOLDER.glob("*/config.json"))}


def folder_of(path: str | Path) -> Path | None:
    """The folder of the shipped model named ``path``; None where there is none, or where something lies at that path."""
    return None if Path(path).exists() else folders().get(str(path))


def shipped() -> dict[str, Shipped]:
    """Name -> what is known of the model, read from its files."""
    return {name: _about(name, folder) for name, folder in folders().items()}


def known_names() -> str:
    """The names in a sentence, for messages."""
    return ", ".join(folders()) or "none in this installation"


def _about(name: str, folder: Path) -> Shipped:
    from .checkpoint import read_config
    from .network import AtomFieldNet

    config = read_config(folder)
    weights = folder / "model.safetensors"
    return Shipped(
        name=name,
        folder=folder,
        parameters=sum(p.numel() for p in AtomFieldNet(config).parameters()),
        num_bytes=weights.stat().st_size,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        levels=config.levels,
        default_level=config.default_level_atoms,
        crystal_levels=config.crystal_levels,
    )
