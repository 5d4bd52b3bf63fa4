"""What a check found, and the report of all checks: a table by reason with every record named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

Severity = Literal["refused", "wrong", "suspect", "note"]
"""``refused``: the record was left out. ``wrong``: the labels are almost surely mistaken, see ``advice``. ``suspect``: look at
it. ``note``: true and worth knowing, not a mistake."""
SEVERITIES: tuple[Severity, ...] = ("refused", "wrong", "suspect", "note")
_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One reason and the records it holds for.

    check: short name, e.g. ``units``. where: the file or level that it is about. message: what was found and expected.
    advice: what to do, a command line option where there is one. records: ``file:line (record n): detail`` each; ``count`` is
    their number, or the number of records that the check looked at when it is about a whole source.
    """

    check: str
    severity: Severity
    where: str
    message: str
    advice: str = ""
    records: tuple[str, ...] = ()
    count: int = 0

    def line(self) -> str:
        """One line for a terminal or a log."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.where}: {self.message}{advice}"


@dataclass
class Report:
    """All findings of a source, worst first. ``looked_at``: check -> what it could look at, in words."""

    findings: list[Finding] = field(default_factory=list)
    looked_at: dict[str, str] = field(default_factory=dict)

    def sorted(self) -> list[Finding]:
        return sorted(self.findings, key=lambda f: (SEVERITIES.index(f.severity), -f.count))

    def of(self, check: str) -> list[Finding]:
        """The findings of one check."""
        return [f for f in self.findings if f.check == check]

    @property
    def wrong(self) -> list[Finding]:
        """Findings that are almost surely mistakes of labels or units."""
        return [f for f in self.findings if f.severity == "wrong"]

    def as_json(self) -> dict[str, Any]:
        """For ``checks.json`` of a store; every record of every finding is in it."""
        return {
            "findings": [{**vars(f), "records": list(f.records)} for f in self.sorted()],
            "looked_at": self.looked_at,
        }

    def write(self, path: Path) -> None:
        """The whole report as JSON."""
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """Print the table: reason, number of records, what was found, what to do, the first records."""
        from rich.table import Table
        from rich.text import Text

        if not self.findings:
            console.print(f"Checks: nothing found ({'; '.join(self.looked_at.values())})", highlight=False)
            return
        table = Table(title="Checks", title_justify="left", show_lines=True)
        for column in ("check", "verdict", "records", "what was found"):
            table.add_column(
                column, justify="right" if column == "records" else "left", overflow="fold", no_wrap=False
            )
        for f in self.sorted():
            body = Text(f.line())
            for record in f.records[:_SHOWN]:
                body.append(f"\n  {record}", style="dim")
            if len(f.records) > _SHOWN:
                body.append(f"\n  and {len(f.records) - _SHOWN} more", style="dim")
            style = {"refused": "yellow", "wrong": "bold red", "suspect": "yellow", "note": ""}[f.severity]
            table.add_row(f.check, Text(f.severity, style=style), str(f.count or len(f.records)), body)
        console.print(table)
