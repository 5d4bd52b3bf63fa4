"""SIGTERM and SIGUSR1 ask a run to save and end; every rank learns of it, whichever was told.

Clusters send them before they take a machine back: SLURM before the end of the time (``--signal=USR1@120``), torchrun when it is
told to end itself. The handler only notes the request. The loop asks at the end of each step and between the batches of a
validation, where all ranks agree.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """In a ``with``: ``wanted`` becomes the name of the first signal that came; the handlers from before return on leaving."""

    def __init__(self) -> None:
        self.wanted = ""
        self._before: dict[signal.Signals, object] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = self.wanted or signal.Signals(number).name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses
            self._before = {s: signal.signal(s, self._note) for s in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
