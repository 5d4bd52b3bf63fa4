"""Denormal numbers in the threads that share the loops of this one: on Linux, torch's are those of our kernels.

``torch.set_flush_denormal`` sets the thread that calls it and no other.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

from .library import compiled
from .shared_loop import FLUSHED, FLUSHING

_FUNCTION = """
void {name}(int threads, unsigned *words)
{{
#pragma omp parallel num_threads(threads)
{{
unsigned *const word = words + omp_get_thread_num();
{body}
}}
}}
"""
_BODIES = {
    "look": "*word = CONTROL_WORD();",
    "flush": f"*word = CONTROL_WORD(); SET_CONTROL_WORD(*word | {FLUSHED:#x}u);",
    "restore": "if (*word) SET_CONTROL_WORD(*word);",
}


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    functions = [_FUNCTION.format(name=name, body=body) for name, body in _BODIES.items()]
    return compiled(
        lambda: "\n".join(["#include <omp.h>", FLUSHING, *functions]),
        dict.fromkeys(_BODIES, (ctypes.c_int, ctypes.c_void_p)),
    )


def control_words(count: int) -> list[int]:
    """Of ``count`` threads, this one first; zeros where the processor has none or there is no C compiler."""
    words = (ctypes.c_uint * count)()
    if (library := _library()) is not None:
        library.look(count, words)
    return list(words)


def flush(count: int) -> ctypes.Array[ctypes.c_uint]:
    """Denormal numbers are zero from now on in ``count`` threads, this one among them; returns what :func:`restore` needs."""
    words = (ctypes.c_uint * count)()
    if (library := _library()) is not None:
        library.flush(count, words)
    return words


def restore(words: ctypes.Array[ctypes.c_uint]) -> None:
    """The control words of these threads as :func:`flush` found them."""
    if (library := _library()) is not None:
        library.restore(len(words), words)
