"""A permutation of any length that is computed where it is asked for, and never stored.

A balanced Feistel network over the next even number of bits, whose round function is the finalizer of SplitMix64 (Steele, Lea,
Flood, OOPSLA 2014); numbers that leave the range go through it again until they are back (cycle walking: Black and Rogaway,
CT-RSA 2002). Good for shuffling, no cipher.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDS = 6


def scrambled(places: np.ndarray, length: int, key: Sequence[int]) -> np.ndarray:
    """Where a permutation of ``length`` numbers, which ``key`` alone decides, takes ``places`` (any shape, int64)."""
    half = max(1, (max(length - 1, 1).bit_length() + 1) // 2)
    keys = np.random.SeedSequence(list(key)).generate_state(ROUNDS, np.uint64)
    out = np.asarray(places, dtype=np.int64).copy().reshape(-1)
    outside = np.arange(len(out))
    while len(outside):
        out[outside] = _feistel(out[outside].astype(np.uint64), np.uint64(half), keys).astype(np.int64)
        outside = outside[out[outside] >= length]
    return out.reshape(np.shape(places))


def _feistel(x: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right + key) & mask)
    return (left << half) | right


def _mixed(x: np.ndarray) -> np.ndarray:
    """Multiplications wrap."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
