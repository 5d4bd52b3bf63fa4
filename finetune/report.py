"""A report as one HTML file that needs nothing else: styles inside, pictures embedded, no script.

Build ``Section`` objects from ``Table``, ``Picture``, ``Code`` and paragraphs, in the order they should be
read, and ``write_report`` them. ``provenance_section`` says by which command and with which versions.
"""

from __future__ import annotations

import base64
import html
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """``rows`` of ready-made cells under ``columns``; the first column is text, the others are aligned as
    numbers.

    ``best``: (row, column) of cells to set in bold.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    text_columns: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Picture:
    """A PNG, as bytes or the path of a file that is read now, with its caption."""

    png: bytes | Path
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width font: a command, a configuration."""

    text: str


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs (``str``), tables, pictures and code in the order given."""

    title: str
    items: Sequence[str | Table | Picture | Code] = field(default_factory=tuple)


_STYLE = """
:root { color-scheme: light dark; --text: #1d2126; --soft: #5d6570; --line: #d9dde2; --back: #ffffff; --shade: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e6ea; --soft: #9aa3ad; --line: #3a4048; --back: #16191d; --shade: #20242a; } }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 72rem; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
p { max-width: 46rem; margin: .6rem 0; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .94rem; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .88rem; padding-top: .4rem; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); vertical-align: bottom; }
th, td { padding: .32rem .9rem .32rem 0; }
td { text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th.text, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; border: 1px solid var(--line); }
figcaption { color: var(--soft); font-size: .9rem; max-width: 52rem; margin-top: .3rem; }
pre { background: var(--shade); padding: .8rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .85rem; line-height: 1.45;
  white-space: pre-wrap; overflow-wrap: anywhere; }
nav { margin: .8rem 0 0; font-size: .92rem; } nav a { color: inherit; margin-right: 1.1rem; }
"""


def write_report(out: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write ``out`` (a ``.html`` file, or a folder that gets ``report.html``) and return the file's path."""
    path = out if out.suffix == ".html" else out / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [s for s in sections if s.items]
    links = "".join(f'<a href="#s{i}">{html.escape(s.title)}</a>' for i, s in enumerate(shown))
    body = "\n".join(_section(s, f"s{i}") for i, s in enumerate(shown))
    path.write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n",
        encoding="utf-8",
    )
    return path


def _section(section: Section, anchor: str) -> str:
    parts = [f'<section id="{anchor}">\n<h2>{html.escape(section.title)}</h2>']
    for item in section.items:
        match item:
            case str():
                parts.append(f"<p>{html.escape(item)}</p>")
            case Table():
                parts.append(_table(item))
            case Picture():
                data = item.png if isinstance(item.png, bytes) else item.png.read_bytes()
                encoded = base64.b64encode(data).decode("ascii")
                caption = html.escape(item.caption)
                parts.append(
                    f'<figure><img alt="{caption}" src="data:image/png;base64,{encoded}">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
            case Code():
                parts.append(f"<pre>{html.escape(item.text)}</pre>")
    return "\n".join(parts) + "\n</section>"


def _table(table: Table) -> str:
    def cell(tag: str, text: str, row: int, column: int) -> str:
        style = ' class="text"' if column in table.text_columns else ""
        inner = html.escape(text)
        inner = f"<strong>{inner}</strong>" if (row, column) in table.best else inner
        return f"<{tag}{style}>{inner}</{tag}>"

    head = "".join(cell("th", c, -1, j) for j, c in enumerate(table.columns))
    rows = "\n".join(
        "<tr>" + "".join(cell("td", c, i, j) for j, c in enumerate(row)) + "</tr>"
        for i, row in enumerate(table.rows)
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def versions() -> list[str]:
    """Python and the packages that compute the numbers."""
    found = [f"python {platform.python_version()}"]
    for name in ("atomfield", "torch", "numpy", "e3nn", "ase", "rdkit", "pymatgen", "vesin"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def provenance_section() -> Section:
    """The command of this process, its folder, the machine and the versions of what computed the numbers."""
    program = Path(sys.argv[0]).name or "python"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical cores"
    return Section(
        "How this was made",
        (
            "Command:",
            Code(shlex.join([program, *sys.argv[1:]])),
            f"Run in {Path.cwd()} on {machine}.",
            ", ".join(versions()) + ".",
        ),
    )


def number(value: float) -> str:
    """Three significant digits without an exponent where that is readable; a dash for what is not known."""
    if value != value:
        return "–"
    if value in (float("inf"), float("-inf")):
        return "diverged"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6 or size < 1e-4:
        return f"{value:.2e}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(size)))}f}"
