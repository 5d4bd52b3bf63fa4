"""The tables of ``speed.py``: on the screen, and as ``results/speed.md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

JOBS = ("energy_forces", "training_step", "graph")


def fastest_peer(content: dict[str, Any], structure: str, job: str) -> float | None:
    """The smallest minimum of a peer, milliseconds."""
    found = [
        row[job]["min_ms"]
        for row in content["rows"]
        if row["structure"] == structure and row["package"] != "atomfield" and job in row
    ]
    return min(found, default=None)


def cells(row: dict[str, Any], content: dict[str, Any]) -> list[str]:
    out = [row["structure"], row["package"], row["size"], f"{row.get('parameters', 0):,}"]
    for job in JOBS:
        if job not in row:
            out.append("not measured")
            continue
        text = f"{row[job]['min_ms']:.1f} ({row[job]['median_ms']:.1f})"
        peer = fastest_peer(content, row["structure"], job)
        if row["package"] == "atomfield" and peer and job != "graph":
            text += f" {peer / row[job]['min_ms']:.2f}x"
        out.append(text)
    return [*out, row.get("error") or row.get("notes") or ""]


HEADER = [
    "structure",
    "package",
    "size",
    "parameters",
    "energy+forces, ms",
    "training step, ms",
    "neighbours, ms",
    "",
]


def text_table(content: dict[str, Any]) -> str:
    """For the screen: minima, medians in brackets, and how often the fastest peer's time ours is."""
    rows = [HEADER, *(cells(row, content) for row in content["rows"])]
    widths = [max(len(r[i]) for r in rows) for i in range(len(HEADER))]
    lines = ["  ".join(x.ljust(w) for x, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    free = content["free_share"]
    lines.append(f"{100 * free:.0f} % of the {content['threads']} threads' time was free for this run")
    return "\n".join(lines)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(r) for r in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def provenance(content: dict[str, Any]) -> str:
    machine = content["machine"]
    versions = "; ".join(
        ", ".join(f"{k} {v}" for k, v in x.items()) for x in content.get("versions", {}).values()
    )
    free = (
        f" {100 * content['free_share']:.0f} % of the threads' time was free."
        if "free_share" in content
        else ""
    )
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {content['threads']} threads, cutoff "
        f"{content['cutoff']:g} angstrom, load average {machine['load_average'][0]:.2f} at the start.{free} {versions}"
    )


def page(results: Path) -> str:
    """Markdown of whichever of ``speed.json`` and ``ladder.json`` are there."""
    parts = ["# Speed\n\nMade by `python benchmarks/speed.py --page`."]
    if (results / "speed.json").exists():
        content = json.loads((results / "speed.json").read_text())
        parts.append(
            "## The same structures, in turns\n\n"
            + provenance(content)
            + "\n\nMinimum (median); with x, how many times "
            "faster ours is than the fastest peer's minimum.\n\n"
            + markdown(HEADER, [cells(r, content) for r in content["rows"]])
        )
    if (results / "ladder.json").exists():
        content = json.loads((results / "ladder.json").read_text())
        parts.append("## Silicon, ever larger\n\n" + provenance(content) + "\n\n" + ladder_table(content))
    return "\n\n".join(parts) + "\n"


def ladder_table(content: dict[str, Any]) -> str:
    header = [
        "package",
        "size",
        "atoms",
        "edges",
        "energy+forces, ms",
        "us per atom",
        "neighbours, us per atom",
        "kB per atom",
        "",
    ]
    rows = []
    for row in content["rows"]:
        job, graph = row.get("energy_forces"), row.get("graph")
        rows.append([
            row["package"], row["size"], f"{row['atoms']:,}", f"{row['edges']:,}" if "edges" in row else "",
            f"{job['min_ms']:,.0f}" if job else "", f"{job['us_per_atom']:.0f}" if job else "",
            f"{graph['us_per_atom']:.1f}" if graph else "", f"{row['kb_per_atom']:.1f}" if "kb_per_atom" in row else "",
            row.get("error", ""),
        ])  # fmt: skip
    return markdown(header, rows)
