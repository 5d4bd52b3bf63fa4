"""What vectors wider than the machine's registers cost: tiles of matrix products, and steps of the shipped model.

    python benchmarks/vector_width.py [--steps 10]

Processor time of one thread. Kernels of each width are compiled for this run alone (a minute or two).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time

os.environ |= {"OMP_NUM_THREADS": "1", "ATOMFIELD_CACHE": tempfile.mkdtemp(prefix="vector-width-")}

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

import atomfield
from atomfield.models.fused import library, node_source, source
from atomfield.models.fused.gemm import Registers, rows_times

INNER, COLUMNS, ROWS = 32, 192, 48
REPEATS = 1000


def tile_rate(machine: Registers) -> float:
    """GFLOP/s of ``[ROWS, INNER]`` times ``[INNER, COLUMNS]`` in float32."""
    tile = rows_times("tile", INNER, COLUMNS, 4, machine.width("float"), machine.sums)
    text = "\n".join(("typedef float T;", machine.vectors(), tile.replace("static void", "void")))
    pointer = ctypes.c_void_p
    compiled = library.compiled(lambda: text, {"tile": (pointer, pointer, pointer, ctypes.c_int)})
    if compiled is None:
        raise SystemExit("needs a C compiler")
    a, w, out = (np.ones(shape, np.float32) for shape in ((ROWS, INNER), (INNER, COLUMNS), (ROWS, COLUMNS)))
    seconds = []
    for _ in range(10):
        began = time.process_time()
        for _ in range(REPEATS):
            compiled.tile(a.ctypes.data, w.ctypes.data, out.ctypes.data, ROWS)
        seconds.append(time.process_time() - began)
    return 2e-9 * REPEATS * ROWS * INNER * COLUMNS / min(seconds)


def step_ms(machine: Registers, atoms: Atoms, steps: int) -> float:
    """Of energy and forces by ``atomfield-s`` with kernels of this width."""
    for module in (source, node_source):
        module.registers = lambda: machine  # type: ignore[attr-defined]
    atoms = atoms.copy()
    atoms.calc = atomfield.load("atomfield-s").calculator()
    atoms.get_forces()
    began = time.process_time()
    for step in range(steps):
        atoms.rattle(0.001, seed=step)
        atoms.get_forces()
    return 1e3 * (time.process_time() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--size", type=int, help="bytes of a vector; default: 64 and the machine's, each in a process"
    )
    given = parser.parse_args()
    own = library.registers()
    if given.size is None:
        for size in dict.fromkeys((64, own.size)):
            subprocess.run(
                [sys.executable, __file__, "--steps", str(given.steps), "--size", str(size)], check=True
            )
        return
    machine = own if given.size == own.size else Registers(given.size, 16)
    ethanol = step_ms(machine, molecule("CH3CH2OH"), given.steps)
    copper = step_ms(machine, bulk("Cu", cubic=True) * (4, 4, 4), given.steps)
    print(
        f"vectors of {machine.size} bytes where registers have {own.size}: tiles {tile_rate(machine):.1f} GFLOP/s, "
        f"9 atoms {ethanol:.1f} ms, 256 copper atoms {copper:.0f} ms a step",
        flush=True,
    )


if __name__ == "__main__":
    main()
