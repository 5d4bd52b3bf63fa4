"""Classes that nobody declared: a target whose values are names is a classification over these names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from atomfield.data.quantities import VOCABULARY
from atomfield.data.readers.class_names import class_names
from atomfield.data.source import split_part, store_folder

from .config import FinetuneConfig


def with_class_names(config: FinetuneConfig, console: Console) -> FinetuneConfig:
    """``config`` with the classes of each target whose values in every training source are names, in the order of the alphabet;
    what was found is said. Names that only validation or test records have are left to the reader, which refuses them."""
    if config.task == "regression":
        return config
    found: dict[str, tuple[str, ...]] = {}
    for target in config.target:
        if target in VOCABULARY or target in config.classes or target in config.target_irreps:
            continue
        names: Counter[str] = Counter()
        for source in config.train:
            its = (
                {} if store_folder(split_part(source)[0]) else _named(source, config.map.get(target, target))
            )
            if not its:
                names.clear()
                break
            names.update(its)
        if names:
            found[target] = tuple(sorted(names))
            held = ", ".join(f"{name} {names[name]}" for name in found[target])
            console.print(
                f"{target}: its values are names, so they are classes (records): {held}; another order or choice by --set "
                f"classes.{target}=[...]",
                highlight=False,
                markup=False,
            )
    return config.model_copy(update={"classes": {**config.classes, **found}}) if found else config


def _named(source: str, key: str) -> dict[str, int]:
    path = Path(source)
    return class_names(path, key) if path.exists() else {}
