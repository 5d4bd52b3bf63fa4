"""The pretraining corpus by its configs: ``corpus/NAME`` is the packaged ``configs/corpus/NAME.yaml``, whose key ``make`` says
by which generator; any other file of that form can be given as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import InputError

Config = TypeVar("Config", bound=BaseModel)
Chunk = TypeVar("Chunk")


@dataclass(frozen=True)
class Order:
    """What the command line says besides the config.

    out: folder of the store. scale: fraction of the full size. jobs: number of processes. without: sources whose molecules or
    crystals are left out. sources: finished stores whose molecules get further labels. share: which part of the chunks, as
    fractions: ``(0, 0.5)`` and ``(0.5, 1)`` make two stores that are together the whole, on two machines for example.
    """

    out: Path
    scale: float = 1.0
    jobs: int = 1
    without: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    share: tuple[float, float] = (0.0, 1.0)
    progress: bool = True


def build_corpus(name: str, order: Order) -> dict[str, Any]:
    """Make the store of a config and return its report. Raises ``InputError`` for a config or source that is wrong."""
    path = config_path(name)
    content = read_yaml(path)
    make = content.pop("make", None)
    if order.sources and make != "molecule_properties":
        raise InputError(
            "--from goes with a config that labels finished molecules, corpus/molecule_properties for example",
            str(path),
        )
    match make:
        case "molecules":
            from .corpus_molecules import MoleculesConfig, build_molecules

            return build_molecules(checked(MoleculesConfig, content, path), order)
        case "molecule_properties":
            from .molecule_properties import PropertiesConfig, build_properties

            return build_properties(checked(PropertiesConfig, content, path), order)
        case "crystals":
            from .crystal_corpus import CrystalsConfig, build_crystals

            return build_crystals(checked(CrystalsConfig, content, path), order)
        case "crystal_minima":
            from .crystal_minima import MinimaConfig, build_minima

            return build_minima(checked(MinimaConfig, content, path), order)
        case "fields":
            from .field_corpus import FieldsConfig, build_fields

            return build_fields(checked(FieldsConfig, content, path), order)
        case other:
            raise InputError(
                f"make is {other!r}, expected molecules, molecule_properties, crystals, crystal_minima or fields",
                str(path),
            )


def shared(chunks: Sequence[Chunk], order: Order) -> Sequence[Chunk]:
    """The chunks of the order's share. Raises ``InputError`` if there are none."""
    low, high = (round(fraction * len(chunks)) for fraction in order.share)
    if not 0 <= low < high <= len(chunks):
        raise InputError(
            f"share {order.share[0]:g}:{order.share[1]:g} holds no chunk, expected 0 <= A < B <= 1", "--share"
        )
    return chunks[low:high]


def config_path(name: str) -> Path:
    """The file of ``corpus/NAME``, or the file itself."""
    if name.startswith("corpus/") and not Path(name).is_file():
        folder = Path(str(files("atomfield.configs"))) / "corpus"
        path = folder / f"{name.removeprefix('corpus/')}.yaml"
        if not path.is_file():
            held = ", ".join(f"corpus/{p.stem}" for p in sorted(folder.glob("*.yaml")))
            raise InputError(f"there is no such part of the corpus; expected one of {held}", name)
        return path
    if not Path(name).is_file():
        raise InputError("is neither corpus/NAME nor a file", name)
    return Path(name)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file."""
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", str(path)) from None
    if not isinstance(content, dict):
        raise InputError("is no config: expected a mapping with the key make", str(path))
    return content


def checked(kind: type[Config], content: dict[str, Any], path: Path) -> Config:
    """The config, or an ``InputError`` that names the wrong key and the nearest right one."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = min(
            error.errors(), key=lambda e: e["type"] != "extra_forbidden"
        )  # may be why another is missing
        place = ".".join(str(part) for part in first["loc"])
        near: Sequence[str] = ()
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), list(kind.model_fields), n=1)
        advice = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{place}: {first['msg']}{advice}", str(path)) from None
