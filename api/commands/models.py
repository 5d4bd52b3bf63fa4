"""``atomfield models``: the pretrained models in the package."""

from __future__ import annotations


def models() -> None:
    """List the pretrained models that ship with the package: size, levels of theory, sha256.

    Their names stand wherever a checkpoint does (`--from atomfield-s`, `atomfield predict atomfield-s ...`,
    `atomfield.load("atomfield-s")`), without any network. A level marked * answers for molecules where none is named; for a
    crystal it is the level marked + that knows its elements.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from atomfield.models.shipped import shipped

    found = shipped()
    if not found:
        print("No pretrained models in this installation.")
        return
    table = Table(title="Pretrained models in the package", title_justify="left")
    for column in ("name", "parameters", "MB", "levels of theory and solvers", "sha256 of its weights"):
        table.add_column(column, overflow="fold")
    for one in found.values():
        marks = [
            name + "*" * (name == one.default_level) + "+" * (name in one.crystal_levels)
            for name in one.levels
        ]
        table.add_row(
            one.name, f"{one.parameters:,}", f"{one.num_bytes / 1e6:.2f}", Text(", ".join(marks)), one.sha256
        )
    Console().print(table)
    print(f"Model cards: {next(iter(found.values())).folder.parent}/NAME/README.md")
