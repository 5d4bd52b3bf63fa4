"""SIGTERM, SIGUSR1 and Ctrl-C ask a run to save and end; every rank learns of it, whichever was told.

Clusters send the first two before they take a machine back: SLURM before the end of the time (``--signal=USR1@120``), torchrun
when it is told to end itself. The handler only notes the request. The loop asks at the end of each step and between the batches
of a validation, where all ranks agree. A second Ctrl-C ends the process at once.

Where one rank has died, torchrun ends the others within a tenth of a second, whether they have said what they were waiting for or
not. So after a failure the first two take effect a little later.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
APART = 1.0
"""Seconds between two presses of Ctrl-C: torchrun sends its processes one of its own besides that of the terminal."""
GRACE = 5.0
"""Seconds that a run which failed has to say so, once it is told to end."""
Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class StopRequest:
    """In a ``with``: ``wanted`` becomes the name of the first signal that came; the handlers from before return on leaving, after
    an error with ``GRACE`` for the process to say it.

    aloud: say what Ctrl-C will do, on standard error.
    """

    def __init__(self, *, aloud: bool = False) -> None:
        self.wanted, self.aloud = "", aloud
        self._since = 0.0
        self._before: dict[signal.Signals, Handler] = {}

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
        failed = kind is not None and issubclass(kind, Exception)
        for number, handler in self._before.items():
            signal.signal(number, _Later(handler) if failed and number != signal.SIGINT else handler)


class _Later:
    """A handler that lets ``handler`` have the signal ``GRACE`` after it came first, if the process is still there."""

    def __init__(self, handler: Handler):
        self.handler = handler
        self.waits = self.over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.over:
            signal.signal(number, self.handler)
            signal.raise_signal(number)
        elif not self.waits:
            self.waits = True
            again = threading.Timer(GRACE, self._end, (number,))
            again.daemon = True
            again.start()

    def _end(self, number: int) -> None:
        self.over = True
        os.kill(os.getpid(), number)  # handlers run, and are set, in the main thread
