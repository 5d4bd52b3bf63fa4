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


def held_out(results: Path, row: dict[str, Any], column: str) -> str:
    """Forces MAE of this package and size in the table ``accuracy``, mean over its finished seeds, or that it was not run. Where
    a size was trained with several schedules (``S``, ``S+cosine``), that of the best."""
    size = row["size"].partition("+compiled")[0]
    size = {"default": "s"}.get(size, size) if row["package"] == "atomfield" else size
    found: dict[str, list[float]] = {}
    for path in sorted((results / "accuracy").glob("*.json")):
        cell = json.loads(path.read_text())
        ours = cell["row"].removesuffix("+cosine") == f"{row['package']} {size}"
        if ours and cell["column"] == column and not cell["failure"]:
            found.setdefault(cell["row"], []).append(cell["values"]["forces_mae_meV_per_A"])
    if not found:
        return "not run"
    best = min(found.values(), key=lambda errors: sum(errors) / len(errors))
    return f"{sum(best) / len(best):.1f} ({len(best)} of its seeds)"


def speed_section(results: Path) -> str:
    """Times, and beside them the errors after ten minutes of training, in one row."""
    content = json.loads((results / "speed.json").read_text())
    columns = ("Si, 10 min", "ethanol, 10 min")
    header = [*HEADER[:-1], *(f"forces MAE, {c}, meV/angstrom" for c in columns), ""]
    rows = []
    for row in content["rows"]:
        shown = cells(row, content)
        rows.append([*shown[:-1], *(held_out(results, row, c) for c in columns), shown[-1]])
    text = "Minimum (median); with x, how many times faster ours is than the fastest peer's minimum. Errors: table `accuracy`."
    parts = ["## The same structures, in turns", provenance(content), text, markdown(header, rows)]
    return "\n\n".join(parts)


def page(results: Path) -> str:
    """Markdown of whichever of ``speed.json``, ``ladder.json`` and ``roofline.json`` are there."""
    parts = ["# Speed", "Made by `python benchmarks/speed.py --page`."]
    if (results / "speed.json").exists():
        parts.append(speed_section(results))
    if (results / "ladder.json").exists():
        content = json.loads((results / "ladder.json").read_text())
        parts += ["## Silicon, ever larger", provenance(content), ladder_table(content)]
    if (results / "roofline.json").exists():
        content = json.loads((results / "roofline.json").read_text())
        parts += ["## How far each stage is from the machine's limit", roofline_table(content)]
    return "\n\n".join(parts) + "\n"


def roofline_table(content: dict[str, Any]) -> str:
    rows = [
        [name, f"{row['calls']:.0f}", f"{1e3 * (row['gradient_s'] or row['forward_s']):.2f}", f"{row['operations'] / 1e6:.1f}",
         f"{row['bytes'] / 1e6:.1f}", f"{1e3 * row['least_s']:.3f}", f"{100 * row['fraction']:.0f} %"]
        for name, row in content["stages"].items()
    ]  # fmt: skip
    rows.append(["elsewhere", "", f"{1e3 * content['elsewhere_s']:.2f}", "", "", "", ""])
    rows.append(["finding edges", "1", f"{1e3 * content['neighbours_s']:.2f}", "", "", "", ""])
    machine = content["machine"]
    peak, copy, load = content["peak_flops"] / 1e9, content["copy_bytes"] / 1e9, machine["load_average"][0]
    head = (
        f"{machine['date']}, {machine['processor']}, {content['threads']} threads, load average {load:.2f}: matrix product "
        f"{peak:.0f} GFLOP/s, copy {copy:.1f} GB/s. {content['structure']}, size {content['size']}, {content['edges']:,} edges: "
        f"energy and forces {1e3 * content['energy_forces_s']:.2f} ms, of which"
    )
    return (
        head + "\n\n" + markdown(["stage", "calls", "ms", "MFLOP", "MB", "least, ms", "of the limit"], rows)
    )


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
