"""C text of a loop that threads share, within which denormal numbers are zero.

A processor takes many times as long for numbers too small for a normal exponent (below 1e-38 in float32, 1e-308 in float64), and
whether it takes them for zero instead is a setting of each thread. The threads of OpenMP do not follow the one that calls
them, so each sets its own at the start of the region and puts its control word back at the end. On x86 alone: elsewhere nothing
is set.
"""

from __future__ import annotations

FLUSHED = 0x8040
"""Bits of the control word: results that are denormal are zero (15), and so are arguments (6)."""
FLUSHING = f"""
#if defined(__SSE3__)
#include <xmmintrin.h>
#define CONTROL_WORD() _mm_getcsr()
#define SET_CONTROL_WORD(word) _mm_setcsr(word)
#else
#define CONTROL_WORD() 0u
#define SET_CONTROL_WORD(word) (void)(word)
#endif
#define DENORMALS_ARE_ZERO const unsigned control_word = CONTROL_WORD(); SET_CONTROL_WORD(control_word | {FLUSHED:#x}u)
#define DENORMALS_AS_BEFORE SET_CONTROL_WORD(control_word)
"""
"""To stand before the functions of a file."""


def opened(schedule: str) -> str:
    """What stands before the ``for`` of a loop that ``threads`` share by OpenMP's ``schedule``; :data:`CLOSED` comes after it."""
    return (
        "#pragma omp parallel num_threads(threads)\n{\nDENORMALS_ARE_ZERO;\n"
        f"#pragma omp for schedule({schedule}) nowait"
    )


CLOSED = "DENORMALS_AS_BEFORE;\n}"
