"""The state of a simulation on disk, from which a killed run goes on as if nothing had happened, bit for bit.

One safetensors file: positions, momenta, cell and the integrator's own variables (thermostat and barostat chains,
the velocities of
FIRE) as float64; the step, the generator of random numbers and the settings as JSON in its header. It is written aside, synced
and renamed. With it stand the lengths of the log and of the trajectory, which are cut back to them on resuming: what was written
after the last state is computed again.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.quantities import PER_FRAGMENT

from .convert import STATED

if TYPE_CHECKING:
    from ase import Atoms

VERSION = 1
Kind = Literal["verlet", "langevin", "bussi", "npt", "npt-shape", "fire"]
_CHAINS = ("_thermostat._eta", "_thermostat._p_eta", "_barostat._xi", "_barostat._p_xi")
_VARIABLES: dict[Kind, tuple[str, ...]] = {
    "verlet": (),
    "langevin": ("rng",),
    "bussi": ("rng", "transferred_energy"),
    "npt": ("_q", "_p", "_eps", "_p_eps", "_cell0", "_volume0", *_CHAINS),
    "npt-shape": ("_q", "_p", "_h", "_p_g", *_CHAINS),
    "fire": ("vel", "v", "dt", "a", "Nsteps"),
}
"""What ASE's integrators keep between two steps beside positions, momenta and cell; FIRE calls its velocities v
before ASE 3.27."""
OTHER = {
    "identity": "another model, precision or level",
    "structure": "another structure, or other atoms held fixed",
}
"""Settings that are hashes, in words."""
ANEW = "give the same options (only --steps may differ), or start anew in another folder"


@dataclass
class State:
    """Everything between two steps. ``sizes``: bytes of the log and the trajectory at this step."""

    step: int
    positions: np.ndarray
    momenta: np.ndarray
    cell: np.ndarray
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, atoms: Atoms, walker: Any, kind: Kind, step: int, settings: dict[str, Any]) -> State:
        """What ``walker`` (an integrator or optimizer of ASE) and its atoms hold now."""
        state = cls(
            step, atoms.get_positions(), atoms.get_momenta(), atoms.cell.array.copy(), settings=settings
        )
        for path in _VARIABLES[kind]:
            owner, name = _owner(walker, path)
            if path in ("v", "vel") and not hasattr(owner, name):
                continue
            value = getattr(owner, name)
            if name == "rng":
                state.numbers[path] = value.bit_generator.state
            elif isinstance(value, np.ndarray):
                state.arrays[path] = value.copy()
            elif value is not None:  # FIRE has no velocities before its first step
                state.numbers[path] = value if isinstance(value, int) else float(value)
        return state

    def give(self, walker: Any, kind: Kind) -> None:
        """Put the variables of the integrator back; the atoms have been given theirs by :meth:`place`."""
        for path in _VARIABLES[kind]:
            owner, name = _owner(walker, path)
            if name == "rng":
                owner.rng.bit_generator.state = self.numbers[path]
            elif path in self.arrays:
                setattr(owner, name, self.arrays[path].copy())
            elif path in self.numbers:
                setattr(owner, name, self.numbers[path])
        walker.nsteps = self.step

    def place(self, atoms: Atoms) -> None:
        """Positions, momenta and cell of ``atoms`` as they were."""
        atoms.set_cell(self.cell)
        atoms.set_positions(self.positions, apply_constraint=False)
        if self.momenta.any() or atoms.has("momenta"):  # a relaxation has none, not even zeros
            atoms.set_momenta(self.momenta, apply_constraint=False)


def stated_by(atoms: Atoms) -> dict[str, str]:
    """What the model reads of ``atoms`` beside the geometry, for the settings of a run; nothing where nothing is stated."""
    said = {name: atoms.info[name] for name in STATED if atoms.info.get(name) is not None}
    said |= {name: atoms.arrays[name] for name in PER_FRAGMENT.values() if name in atoms.arrays}
    return {name: ", ".join(str(x) for x in _numbers(value)) for name, value in said.items()}


def _numbers(value: Any) -> list[Any]:
    """0 and 0.0 alike; what is no number is for the calculator to refuse."""
    array = np.asarray(value).ravel()
    return (array.astype(np.float64) if array.dtype.kind in "biuf" else array).tolist()


def _owner(walker: Any, path: str) -> tuple[Any, str]:
    *parents, name = path.split(".")
    for parent in parents:
        walker = getattr(walker, parent)
    return walker, name


class Checkpoint:
    """Writes the state at most every ``seconds`` and reads it back. ``path`` None: nothing is kept."""

    def __init__(self, path: str | Path | None, seconds: float):
        self.path = None if path is None else Path(path)
        self.seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        return self.path is not None and time.monotonic() - self._last >= self.seconds

    def write(self, state: State) -> None:
        """Whole or not at all."""
        if self.path is None:
            return
        from safetensors.numpy import save

        arrays = {"positions": state.positions, "momenta": state.momenta, "cell": state.cell}
        arrays |= {f"walker/{name}": value for name, value in state.arrays.items()}
        header = {
            "version": VERSION, "step": state.step, "numbers": state.numbers, "settings": state.settings,
            "sizes": state.sizes,
        }  # fmt: skip
        content = save(
            {name: np.ascontiguousarray(value, dtype=np.float64) for name, value in arrays.items()},
            metadata={"atomfield": json.dumps(header)},
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path)
        self._last = time.monotonic()

    def read(self, settings: dict[str, Any]) -> State | None:
        """The state, or None where there is none yet. Raises ``InputError`` where it is of a run with other ``settings``."""
        if self.path is None or not self.path.is_file():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "numpy") as file:
                header = json.loads((file.metadata() or {})["atomfield"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(
                f"is not the state of a simulation ({error}); delete it to start anew", str(self.path)
            ) from error
        if header["version"] != VERSION:
            raise InputError(f"state of version {header['version']}, expected {VERSION}", str(self.path))
        before = header["settings"]
        if "structure" in before:
            settings.setdefault("structure", before["structure"])  # of a caller who does not tell
        for name in dict.fromkeys([*settings, *before]):
            if name == "structure" and name not in before:
                continue  # an older file
            if before.get(name) != settings.get(name):
                if name in OTHER:
                    raise InputError(f"the run to resume had {OTHER[name]}; {ANEW}", str(self.path))
                raise InputError(
                    f"the run to resume had {name} = {before.get(name)}, now it is {settings.get(name)}; {ANEW}",
                    str(self.path),
                )
        own = {n.removeprefix("walker/"): v for n, v in arrays.items() if n.startswith("walker/")}
        return State(
            header["step"], arrays["positions"], arrays["momenta"], arrays["cell"], own, header["numbers"], before,
            header["sizes"],
        )  # fmt: skip
