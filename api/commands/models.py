"""``atomfield models``: the pretrained models in the package."""

from __future__ import annotations

import textwrap


def models() -> None:
    """List the pretrained models that ship with the package: size, levels of theory, sha256, card.

    Their names stand wherever a checkpoint does (`--from atomfield-s`, `atomfield predict atomfield-s ...`,
    `atomfield.load("atomfield-s")`), without any network. A level marked * answers for molecules where none is named; for a
    crystal it is the level marked + that knows it.
    """
    from atomfield.models.shipped import shipped

    found = shipped()
    if not found:
        print("No pretrained models in this installation.")
    for one in found.values():
        marked = [
            name + "*" * (name == one.default_level) + "+" * (name in one.crystal_levels)
            for name in one.levels
            if name
        ]
        print(f"{one.name}: {one.parameters:,} parameters, {one.num_bytes / 1e6:.2f} MB")
        print(textwrap.fill(", ".join(marked), 100, initial_indent="  levels  ", subsequent_indent=" " * 10))
        print(f"  sha256  {one.sha256}\n  card    {one.folder / 'README.md'}")
