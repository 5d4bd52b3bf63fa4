"""Case number ``n``: a seed and what was done to it; and the process that judges cases one after the other."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from .judge import judge
from .mutate import as_hdf5, as_npz, mutant, mutant_arrays
from .seeds import Seed, seeds

_MEMORY = 4 * 2**30
"""Bytes that the process which judges may take: a file that asks for more must not take the machine's."""


def spoiled(seed: Seed, number: int) -> bytes:
    """The content of case ``number`` of a seed; the same on every machine."""
    rng = np.random.default_rng([number, len(seed.name), *seed.name.encode()])
    if seed.arrays is not None and rng.random() < 0.7:
        arrays = seed.arrays
        for _ in range(int(rng.integers(1, 3))):
            arrays = mutant_arrays(arrays, rng) if arrays else arrays
        return as_npz(arrays) if seed.container == "npz" else as_hdf5(arrays)
    if seed.name.endswith(".gz") and rng.random() < 0.5:
        import gzip

        return gzip.compress(mutant(gzip.decompress(seed.content), rng), mtime=0)
    return mutant(seed.content, rng)


def serve() -> None:
    """Read ``NAME NUMBER`` lines, answer with a JSON line each: for a parent that kills what takes too long."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print must not look like an answer
    with tempfile.TemporaryDirectory() as folder:
        known = {s.name: s for s in seeds(Path(folder))}
        for seed in known.values():  # imports and caches, outside of the time limit
            judge(_put(Path(folder), seed, seed.content), seed)
        answers.write('"ready"\n')
        for line in sys.stdin:
            name, number = line.split()
            content = spoiled(known[name], int(number))
            answers.write(json.dumps(judge(_put(Path(folder), known[name], content), known[name])) + "\n")


def _put(folder: Path, seed: Seed, content: bytes) -> Path:
    path = folder / seed.name
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    serve()
