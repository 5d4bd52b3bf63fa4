"""RDKit's own printing, switched off while any thread wants it so.

``rdBase.BlockLogs`` alone does not do with threads: it remembers what was on when it began, and so does RDKit inside of its
embedding; what one thread switched on for a moment, another restores for good. So the messages go to a logger of Python, which
says nothing, and threads are counted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside = 0
_block: Any = None
_logger = logging.getLogger("rdkit")
_level = logging.NOTSET


@contextmanager
def silent_rdkit() -> Iterator[None]:
    """Within it RDKit prints nothing, in any thread."""
    from rdkit import rdBase

    global _inside, _block, _level
    with _lock:
        _inside += 1
        if _inside == 1:
            _block, _level = rdBase.BlockLogs(), _logger.level
            route_rdkit()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                route_rdkit()
                _block = None


def route_rdkit() -> None:
    """Send the messages where they go now: nowhere within :func:`silent_rdkit`, else to the terminal."""
    from rdkit import rdBase

    if _inside:
        _logger.setLevel(logging.CRITICAL + 1)
        rdBase.LogToPythonLogger()
    else:
        _logger.setLevel(_level)
        rdBase.LogToCppStreams()
    rdBase.DisableLog("rdApp.*")
