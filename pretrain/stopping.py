"""SIGTERM, SIGUSR1 and Ctrl-C ask a run to save and end; every rank learns of it, whichever was told.

Clusters send the first two before they take a machine back: SLURM before the end of the time (``--signal=USR1@120``), torchrun
when it is told to end itself. The handler only notes the request. The loop asks at the end of each step and between the batches
of a validation, where all ranks agree. A second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
APART = 1.0
"""Seconds between two presses of Ctrl-C: torchrun sends its processes one of its own besides that of the terminal."""


class StopRequest:
    """In a ``with``: ``wanted`` becomes the name of the first signal that came; the handlers from before return on leaving.

    aloud: say what Ctrl-C will do, on standard error.
    """

    def __init__(self, *, aloud: bool = False) -> None:
        self.wanted, self.aloud = "", aloud
        self._since = 0.0
        self._before: dict[signal.Signals, object] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.wanted:
            self.wanted, self._since = signal.Signals(number).name, now
            if number == signal.SIGINT and self.aloud:  # not print: the program may be in the middle of one
                os.write(2, b"\nCtrl-C: the run saves after this step and ends; once more ends it at once\n")
        elif number == signal.SIGINT and now - self._since > APART:
            raise KeyboardInterrupt

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses
            self._before = {s: signal.signal(s, self._note) for s in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
