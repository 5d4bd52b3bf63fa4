"""Calls of kernels that are made again at the same places in memory, for a structure that moves and is otherwise as it was.

A step of dynamics of a small molecule takes longer to prepare its calls than to compute. While a :class:`Tape` records, each call
of a kernel and each operation of :func:`made` is noted with the tensors that it reads and writes, which are kept;
:meth:`Tape.replay` makes the calls again, for what stands in the inputs by then. What a call reads must be an input, a constant
or written by a call before it: anything else would silently stay as it was, and is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

_here = threading.local()


class Tape:
    """known: inputs and constants, kept as long as the tape is."""

    def __init__(self, known: Sequence[Tensor]):
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._kept: list[Tensor] = list(known)
        self._known = {_storage(t) for t in known}

    def note(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        reads: Sequence[Tensor],
        writes: Sequence[Tensor],
    ) -> None:
        """A call that was just made."""
        strange = [tuple(t.shape) for t in reads if _storage(t) not in self._known]
        assert not strange, f"a recorded call reads tensors that nothing recorded writes, shapes {strange}"
        self._calls.append((function, arguments))
        self._kept += [*reads, *writes]
        self._known |= {_storage(t) for t in writes}

    def know(self, *constants: Tensor) -> None:
        """Tensors that stay as they are."""
        self._kept += constants
        self._known |= {_storage(t) for t in constants}

    def replay(self) -> None:
        """Make all calls again."""
        for function, arguments in self._calls:
            function(*arguments)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextmanager
def recording(tape: Tape | None) -> Iterator[None]:
    """Note the calls that this thread makes; None: do not."""
    before = getattr(_here, "tape", None)
    _here.tape = tape
    try:
        yield
    finally:
        _here.tape = before


def current() -> Tape | None:
    """The tape that records this thread's calls."""
    return getattr(_here, "tape", None)


def call(
    function: Callable[..., Any], arguments: tuple[Any, ...], reads: Sequence[Tensor | None], writes: Sequence[Tensor | None]
) -> None:  # fmt: skip
    """Call a kernel with ``arguments``, in which ``reads`` and ``writes`` stand as addresses."""
    function(*arguments)
    tape = current()
    if tape is not None:
        tape.note(
            function, arguments, [t for t in reads if t is not None], [t for t in writes if t is not None]
        )


def made(operation: Callable[..., Tensor], *given: Tensor | Sequence[Tensor]) -> Tensor:
    """``operation(*given)``, one of torch's that can be told where to write (``out``)."""
    out = operation(*given)
    tape = current()
    if tape is not None:
        reads = [t for g in given for t in ([g] if isinstance(g, Tensor) else g)]
        tape.note(_written, (operation, given, out), reads, [out])
    return out


def _written(operation: Callable[..., Tensor], given: tuple[Any, ...], out: Tensor) -> None:
    operation(*given, out=out)


def constant(*tensors: Tensor) -> None:
    """What was made of constants, and no call writes to."""
    tape = current()
    if tape is not None:
        tape.know(*tensors)
