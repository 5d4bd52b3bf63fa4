"""The asking side of ``worker.py``: one process per package, kept alive, asked in turns."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = ("speed", "ase")
"""What a worker is for: ``PACKAGE_speed.py`` times the network alone, ``PACKAGE_ase.py`` whole steps through its ASE
calculator."""

SETTINGS = {
    "atomfield": {},
    "mace": {
        "PYTHONWARNINGS": "ignore",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    },  # its e3nn 0.4.4 loads constants of its own, a pickle with a slice in it, which torch refuses otherwise
    "nequip": {"PYTHONWARNINGS": "ignore"},
}
"""Environment variables that a package needs."""


class Worker:
    """A package's process with ``threads`` threads; ``hello`` holds its versions.

    It may allocate ``memory_gb``: beyond, its package reports an error instead of the machine ending a process of its choice.
    0 is no limit, which CUDA needs, since it maps the whole card. ``device``: ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        package: str,
        python: Path,
        threads: int,
        memory_gb: float,
        kind: str = "speed",
        device: str = "cpu",
    ):
        settings = {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "BENCHMARK_DEVICE": device,
        }
        limit = int(memory_gb * 2**30) if memory_gb else resource.RLIM_INFINITY
        read, write = os.pipe()
        self.package = package
        self.process = subprocess.Popen(
            [str(python), str(HERE / f"{package}_{kind}.py"), str(write)],
            stdin=subprocess.PIPE, stdout=sys.stderr, text=True, pass_fds=[write],
            env={**os.environ, **settings, **SETTINGS[package]},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )  # fmt: skip
        os.close(write)
        self.answers = os.fdopen(read)

    @cached_property
    def hello(self) -> dict[str, Any]:
        """Its first words, at most three minutes after its start; ``{"error": ...}`` where it does not come up."""
        return self.receive(180.0)

    def ask(self, timeout: float | None = None, **question: Any) -> dict[str, Any]:
        """The answer; ``{"error": ...}`` where the package failed, its process ended (out of memory, say), or ``timeout``
        seconds have passed, which ends its process."""
        return self.receive(timeout) if self.send(**question) else {"error": "its process has ended"}

    def send(self, **question: Any) -> bool:
        """Ask without waiting, to be followed by :meth:`receive`; False where the process has ended."""
        assert self.process.stdin is not None
        if "error" in self.hello:
            return False
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """The answer to the last question, as :meth:`ask` gives it."""
        if not select.select([self.answers], [], [], timeout)[0]:
            self.process.kill()
            self.process.wait()
            return {"error": f"no answer within {timeout:.0f} s"}
        line = self.answers.readline()
        if not line:
            return {"error": f"its process ended with code {self.process.wait()}"}
        return json.loads(line)

    def alive(self) -> bool:
        return self.process.poll() is None

    def processor_seconds(self) -> float:
        """Processor time that its process has taken so far (Linux); 0 once it has ended."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it; at once where it has not ended 20 seconds later."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # a question that it did not live to read
            self.process.stdin.close()
        try:
            self.process.wait(20.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()


def python_of(package: str, environments: Path) -> Path:
    """The interpreter of a package: ours, or that of ``environments/PACKAGE``."""
    if package == "atomfield":
        return Path(sys.executable)
    python = environments / package / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"no environment {environments / package}; make it: bash {HERE}/make_env.sh {package} {environments}"
        )
    return python
