"""The table of ``inference.py``: on the screen, and as ``results/inference_gpu.md``."""

from __future__ import annotations

from typing import Any

from gpu_speed_page import provenance
from page_text import table as markdown
from page_text import wrapped

COLUMNS = {
    "md_ms": "step, ms",
    "beside_model_ms": "beside the network, ms",
    "ns_per_day": "ns/day",
    "atoms_per_second": "atoms/s",
    "relax_steps_per_second": "relaxation, steps/s",
    "screened_per_second": "screening, structures/s",
}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown; what failed stands at the end of its row."""
    lines = []
    for row in rows:
        numbers = [f"{row[c]:.4g}" if c in row else "" for c in COLUMNS]
        numbers[0] += times(row, rows)
        error = row.get("error", "").replace("|", "/")[:110]
        lines.append([row["structure"], row["package"], row["size"], *numbers, error])
    return markdown(["structure", "package", "size", *COLUMNS.values(), ""], lines)


def times(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """How many times the fastest peer's step ours is faster, in brackets; nothing where there is none."""
    peers = [
        r["md_ms"]
        for r in rows
        if r["structure"] == row["structure"] and r["package"] != "atomfield" and "md_ms" in r
    ]
    if row["package"] != "atomfield" or "md_ms" not in row or not peers:
        return ""
    return f" ({min(peers) / row['md_ms']:.2f}x)"


def page(content: dict[str, Any]) -> str:
    lines = [
        "# Whole steps on a GPU",
        "",
        "    python benchmarks/inference.py --device cuda --peer mace,nequip --minutes 3",
        "",
        provenance(content),
        "",
        "Each package's ASE calculator, asked in turns (beyond 20,000 atoms one after the other). A step is one of velocity "
        "Verlet by ASE, pairs included; ns/day at 0.5 fs. In brackets: how many times the fastest peer's step ours is faster. "
        "Relaxing and screening: 32 molecules of ethanol, ours in one batch, the peers' one after the other. `:cueq` is with "
        "cuequivariance, `+compiled` the package's compiled form; our `s` is captured as a CUDA graph up to 300,000 pairs. "
        "Weights are random.",
        "",
        *table(content["rows"]),
    ]
    return wrapped(lines) + "\n"
