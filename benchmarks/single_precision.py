"""How far single precision is from double, over draws of random weights: what the law of 1e-5 in float32 leaves as a margin.

    python benchmarks/single_precision.py [--draws 24] [--out benchmarks/results/single_precision.md]

The networks are those of ``tests/physics`` (few channels; degree, layers and body order of each size), every weight drawn. Of
every output of a dense crystal and a molecule, the largest difference over the largest entry, or over the scale of the labels
for a property of the user; the worst output of each network counts.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("ATOMFIELD_KERNEL_FLAGS", "-O0")  # as the tests compile: seconds instead of minutes
sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from machine import description

from tests.physics.agreement import outputs, unit_of
from tests.physics.subjects import SEED, SIZES_TRIED, chiral_molecule, crystal, network


def worst(size: str, draw: int) -> float:
    """Relative difference of the worst output."""
    single, double = (network(size, dtype, seed=draw) for dtype in (torch.float32, torch.float64))  # type: ignore[arg-type]
    found = 0.0
    for graph in (crystal(), chiral_molecule()):
        ours, exact = outputs(single, graph), outputs(double, graph)
        for name, value in exact.items():
            scale = max(float(value.abs().max()), unit_of(double, name))
            if scale > 1e-6:  # as in the tests: smaller is zero
                found = max(found, float((ours[name] - value).abs().max()) / scale)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "single_precision.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Single against double precision",
        "",
        f"Written by `python benchmarks/single_precision.py --draws {options.draws}`: {description()['processor']}, one thread.",
        "Worst relative difference over all outputs of a dense crystal and a molecule.",
        "",
        f"| layout | least | median | largest | draws above 1e-5 | draw {SEED}, which the tests keep |",
        "|---|---|---|---|---|---|",
    ]
    for size in SIZES_TRIED:
        values = np.array([worst(size, draw) for draw in range(options.draws)])
        above = f"{(values > 1e-5).sum()} of {len(values)}"
        kept = worst(size, SEED)
        lines.append(
            f"| `{size}` | {values.min():.1e} | {np.median(values):.1e} | {values.max():.1e} | {above} | {kept:.1e} |"
        )
        print(lines[-1], flush=True)
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
