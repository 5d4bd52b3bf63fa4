"""Compiled once per shape, precision and machine, kept in a cache folder and loaded with ctypes.

Only source that this package writes is compiled; nothing of a checkpoint enters it beyond a few small integers.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from .gemm import Registers, registers_of

logger = logging.getLogger("atomfield")

_FLAGS = (
    "-O2", "-ftree-vectorize", "-fno-tree-slp-vectorize", "-march=native", "-shared", "-fPIC", "-fopenmp",
    "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-w",
)  # fmt: skip
FLAGS_VARIABLE = "ATOMFIELD_KERNEL_FLAGS"
"""Environment: further flags for the compiler. ``-O0`` compiles twenty times faster and runs as much slower, for tests."""
_VERSION = "1"


def cache_folder() -> Path:
    """``$ATOMFIELD_CACHE``, or ``atomfield`` in the user's cache folder."""
    named = os.environ.get("ATOMFIELD_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atomfield"


def compiler() -> str | None:
    """The C compiler: ``$CC``, cc, gcc or clang; None if there is none."""
    return next(
        (p for n in (os.environ.get("CC"), "cc", "gcc", "clang") if n and (p := shutil.which(n))), None
    )


def compiled(source: Callable[[], str], functions: Mapping[str, tuple[type, ...]]) -> ctypes.CDLL | None:
    """The functions of ``source()``, each with its argument types; None, said once, where they cannot be compiled."""
    cc = compiler()
    if cc is None:
        logger.info("no C compiler found: the network runs in eager mode, which is slower")
        return None
    code, flags = source(), _flags()
    key = hashlib.sha256("\0".join([_VERSION, code, cc, *flags, _machine()]).encode()).hexdigest()[:24]
    file = cache_folder() / "kernels" / f"{key}.so"
    try:
        loaded = _load(file) or _load(_compile(cc, code, file))
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning(
            "kernels could not be compiled (%s): the network runs in eager mode, which is slower",
            _reason(error),
        )
        return None
    if loaded is None:
        logger.warning("%s cannot be loaded: the network runs in eager mode, which is slower", file)
        return None
    for name, arguments in functions.items():
        function = getattr(loaded, name)
        function.restype = None
        function.argtypes = arguments
    return loaded


@functools.cache
def registers() -> Registers:
    """Of the machine that kernels are compiled for, as its compiler sees it."""
    cc = compiler()
    if cc is None:
        return registers_of("")
    command = [cc, *(f for f in _flags() if f.startswith("-m")), "-dM", "-E", "-xc", os.devnull]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return registers_of(asked.stdout)


def _flags() -> tuple[str, ...]:
    return (*_FLAGS, *shlex.split(os.environ.get(FLAGS_VARIABLE, "")))


def _load(file: Path) -> ctypes.CDLL | None:
    """None where the file is not there or is damaged."""
    try:
        return ctypes.CDLL(str(file)) if file.exists() else None
    except OSError:
        return None


def _compile(cc: str, code: str, file: Path) -> Path:
    """Into a folder of its own beside the target, then renamed: processes that compile at once do not disturb each other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        text = Path(folder) / "kernels.c"
        text.write_text(code)
        draft = Path(folder) / "kernels.so"
        command = [cc, *_flags(), str(text), "-o", str(draft), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        os.replace(draft, file)
    return file


def _reason(error: Exception) -> str:
    return (getattr(error, "stderr", None) or str(error)).strip()[:300]


def _machine() -> str:
    """What ``-march=native`` depends on, since a cache may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line for line in lines if line.startswith("flags")), "") + platform.machine()
    except OSError:
        return platform.machine() + platform.processor() + platform.node()
