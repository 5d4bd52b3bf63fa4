"""The tables of ``gpu_speed.py``: on the screen, and as ``results/gpu_speed.md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_text import table, wrapped

JOBS = {"energy_forces": "energy+forces", "training_step": "training step"}


def fastest_peer(content: dict[str, Any], structure: str, job: str) -> float | None:
    """The smallest median of a peer, milliseconds."""
    found = [
        row[job]["median_ms"]
        for row in content["rows"]
        if row["structure"] == structure and row["package"] != "atomfield" and "median_ms" in row.get(job, {})
    ]
    return min(found, default=None)


def rate(value: float) -> str:
    """Atoms per second, three digits."""
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value / 1e3:.3g} k"


def job_cells(row: dict[str, Any], content: dict[str, Any], job: str) -> list[str]:
    found = row.get(job, {})
    if "median_ms" not in found:
        return ["", "", ""]
    text = f"{found['median_ms']:.2f}"
    peer = fastest_peer(content, row["structure"], job)
    if row["package"] == "atomfield" and peer:
        text += f" ({peer / found['median_ms']:.2f}x)"
    memory = f"{found['peak_mb'] / 1024:.2f}" if found.get("peak_mb") else ""
    return [text, rate(found["atoms_per_second"]), memory]


def remark(row: dict[str, Any]) -> str:
    """What failed, and where."""
    words = [
        row.get("error", ""),
        *(f"{JOBS[j]}: {row[j]['error']}" for j in JOBS if "error" in row.get(j, {})),
    ]
    words.append(row.get("notes", ""))
    return "; ".join(short(w) for w in words if w)


def short(text: str) -> str:
    text = text.replace("|", "/")
    return "out of memory" if "out of memory" in text.lower() and "training" not in text else text[:110]


def speed_table(content: dict[str, Any]) -> list[str]:
    header = ["structure", "package", "size", "parameters"]
    for name in JOBS.values():
        header += [f"{name}, ms", "atoms/s", "GB"]
    rows = []
    for row in content["rows"]:
        cells = [c for job in JOBS for c in job_cells(row, content, job)]
        parameters = f"{row['parameters']:,}" if "parameters" in row else ""
        rows.append([row["structure"], row["package"], row["size"], parameters, *cells, remark(row)])
    return table([*header, ""], rows)


def largest_table(content: dict[str, Any]) -> list[str]:
    """All cells of each network, in the order of their size; what failed says so."""
    header = [
        "atoms",
        "package",
        "size",
        "edges",
        "energy+forces, ms",
        "calls",
        "atoms/s",
        "GB",
        "kB per atom",
        "",
    ]
    rows = []
    for row in sorted(content["rows"], key=lambda r: r["atoms"]):
        start = [
            f"{row['atoms']:,}",
            row["package"],
            row["size"],
            f"{row['edges']:,}" if "edges" in row else "",
        ]
        job = row.get("energy_forces", {})
        if "median_ms" not in job:
            rows.append([*start, *[""] * 5, remark(row)])
            continue
        memory = job.get("peak_mb", 0.0)
        rows.append([
            *start, f"{job['median_ms']:.1f}", str(job["calls"]), rate(job["atoms_per_second"]), f"{memory / 1024:.1f}",
            f"{1024 * memory / row['atoms']:.1f}", remark(row),
        ])  # fmt: skip
    return table(header, rows)


def table_of(content: dict[str, Any]) -> str:
    return "\n".join(largest_table(content) if content["what"] == "gpu_largest" else speed_table(content))


def provenance(content: dict[str, Any]) -> str:
    card, machine = content["card"], content["machine"]
    versions = "; ".join(", ".join(f"{k} {v}" for k, v in x.items()) for x in content["versions"].values())
    limits = "not measured"
    if "copy_gb_s" in card:
        limits = (
            f"copies {card['copy_gb_s']:,.0f} GB/s (read and written), matrix products {card['float32_tflop_s']:.1f} TFLOP/s in "
            f"float32 and {card['bfloat16_tflop_s']:.0f} in bfloat16"
        )
    memory = f", {card['memory_gb']:.0f} GiB" if "memory_gb" in card else ""
    return (
        f"{machine['date']}, {card.get('name', 'unknown card')}{memory}, driver {card.get('driver') or 'unknown'}, torch "
        f"{card.get('torch', '')}, CUDA {card.get('cuda') or 'none'}: {limits}. Cutoff {content['cutoff']:g} angstrom, float32 "
        f"without TF32. {versions}"
    )


def page(results: Path) -> str:
    """Markdown of whichever of the results are there."""
    lines = ["# Speed on a GPU", "", "Made by `python benchmarks/gpu_speed.py --page`."]
    for name, title, text, draw in (
        ("gpu_speed", "## The same structures, in turns",
         "Medians, neighbours not counted. In brackets: how many times the fastest peer's time ours is faster. GB: the most that "
         "tensors took at once. `:cueq` is with NVIDIA's cuequivariance, `+compiled` the package's compiled form.", speed_table),
        ("gpu_training", "## Training steps recorded",
         "`python benchmarks/gpu_speed.py --peer mace,nequip --structure si1728,ethanol32 --size atomfield=default+captured "
         "--size mace=64x0e --size nequip=S --out benchmarks/results/gpu_training.json`. Ours are recorded as CUDA graphs in "
         "training too ([more](gpu_replayed.md)); the memory of a recording is not in the figure. Eight others worked on "
         "other cores.",
         speed_table),
        ("gpu_h100", "## On an H100",
         "`python benchmarks/gpu_speed.py --peer mace,nequip --structure si1728 --size atomfield=default+captured,xs+captured "
         "--size mace=64x0e,64x0e:cueq --size nequip=S,S+compiled --patience 60 --out benchmarks/results/gpu_h100.json`, "
         "recorded as before. Four of 16 cores were there for this, the other twelve trained.",
         speed_table),
        ("gpu_compiled", "## Larger cells, our passes alone",
         "`python benchmarks/gpu_speed.py --size atomfield=default+captured,default+compiled --structure "
         "si216,si1728,si13824,si110592 --out benchmarks/results/gpu_compiled.json`. Not captured beyond 300,000 edges.",
         speed_table),
        ("gpu_largest", "## Large silicon cells",
         "`python benchmarks/gpu_speed.py --largest --peer mace,nequip --size atomfield=default --size mace=64x0e,64x0e:cueq "
         "--size nequip=S --first 55296`. Energy and forces; each cell has twice the atoms of the one before. One call of "
         "each cell was not counted, which is too few for MACE: the first passes of a process compile, so a figure of a single "
         "call is no measurement of its speed (its second cell shows what it does). The script makes three since then.",
         largest_table),
        ("gpu_larger", "## Large silicon cells, compiled",
         "Three minutes later on the same card, with `--peer mace --size atomfield=default+compiled,xs,default --size "
         "mace=64x0e:cueq --first 110592 --out benchmarks/results/gpu_larger.json`. MACE's single call is that of a process that "
         "just began.", largest_table),
    ):  # fmt: skip
        if (results / f"{name}.json").exists():
            content = json.loads((results / f"{name}.json").read_text())
            lines += ["", title, "", provenance(content), "", text, "", *draw(content)]
    return wrapped(lines) + "\n"
