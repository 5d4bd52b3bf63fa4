"""What a margin of kept pairs is worth in dynamics: steps with and without it, in turns, at several time steps.

    python benchmarks/pair_margin.py --threads 2

1,000 atoms of NaCl and 216 of silicon at 300 K by velocity Verlet of ASE and our calculator, float32, random weights small enough
that atoms move as thermal velocities carry them. Without: ``MARGIN`` of ``inference/kept_pairs.py`` is zero. Medians over the
turns; ``shared``: steps that had the pairs of the step before. Writes ``results/pair_margin.md``.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import structures
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from machine import Watch, commit, description
from page_text import table, wrapped

from atomfield.inference import kept_pairs
from atomfield.inference.calculator import AtomFieldCalculator

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from atomfield_ase import made

STEPS_FS = (0.5, 1.0, 2.0)
NAMES = ("nacl1000", "si216")


def turn(
    start: Atoms, calculator: AtomFieldCalculator, margin: float, step_fs: float, steps: int
) -> tuple[float, int]:
    """Milliseconds of a step, and how many steps shared their pairs with the one before."""
    kept_pairs.MARGIN = margin
    atoms = start.copy()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    walker = VelocityVerlet(atoms, step_fs * units.fs)
    walker.run(5)
    seen: list[torch.Tensor] = []
    asked = calculator.pairs.batch

    def counted(*given: object) -> object:
        batch = asked(*given)  # type: ignore[arg-type]
        seen.append(batch.edge_index)
        return batch

    calculator.pairs.batch = counted  # type: ignore[method-assign,assignment]
    begun = time.perf_counter()
    walker.run(steps)
    took = time.perf_counter() - begun
    calculator.pairs.batch = asked  # type: ignore[method-assign]
    return 1000 * took / steps, sum(a is b for a, b in itertools.pairwise(seen))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", default="xs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pair_margin.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    usual, watch, begun = kept_pairs.MARGIN, Watch(), time.process_time()
    rows = []
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "start.traj"
            (start,) = structures.named(name)
            structures.write([start], file)
            calculator = made(options.size, 5.0, str(file))
        for step_fs in STEPS_FS:
            found: dict[float, list[tuple[float, int]]] = {0.0: [], usual: []}
            for _ in range(options.rounds):
                for margin, turns in found.items():
                    turns.append(turn(start, calculator, margin, step_fs, options.steps))
            without, with_it = (statistics.median(ms for ms, _ in turns) for turns in found.values())
            shared = [
                f"{statistics.median(n for _, n in turns):.0f} of {options.steps}" for turns in found.values()
            ]
            rows.append(
                [
                    name,
                    f"{step_fs:g}",
                    f"{without:.2f}",
                    f"{with_it:.2f}",
                    f"{with_it / without:.2f}",
                    *shared,
                ]
            )
            print(rows[-1], flush=True)
    about = description()
    free = watch.available(time.process_time() - begun, options.threads)
    lines = [
        "# A margin of kept pairs in dynamics",
        "",
        f"`python benchmarks/pair_margin.py --threads {options.threads} --size {options.size}`: what is measured: the text of "
        f"that script. {about['processor']}, {about['date'][:10]}, commit {commit(Path(__file__).parent)}; {free:.0%} of the "
        f"threads' time was free. Margin: {usual:g} angstrom.",
        "",
        *table(
            ("structure", "step, fs", "without, ms", "with, ms", "ratio", "shared without", "shared with"), rows
        ),
    ]  # fmt: skip
    options.out.write_text(wrapped(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
