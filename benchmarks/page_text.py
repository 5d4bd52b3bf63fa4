"""Markdown that the pages of tables share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 140


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown; all rows as long as ``header``."""
    first, *rest = ["| " + " | ".join(line) + " |" for line in (header, *rows)]
    return [first, "|" + "---|" * len(header), *rest]


def wrapped(lines: Sequence[str]) -> str:
    """One text; paragraphs and list items are broken at ``WIDTH``, all else stays."""
    out: list[str] = []
    for line in lines:
        if len(line) <= WIDTH or line.startswith(("|", "    ", "#", "!", "<")):
            out.append(line)
        else:
            indent = "  " if line.startswith("- ") else ""
            out += textwrap.wrap(
                line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
    return "\n".join(out)
