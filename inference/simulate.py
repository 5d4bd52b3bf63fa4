"""The verbs of a simulation: relaxation (:mod:`.relax`) and molecular dynamics (:mod:`.dynamics`), recorded and resumable."""

from __future__ import annotations

from .dynamics import Thermostat, npt, nve, nvt
from .recorder import Output
from .relax import CellMode, Optimizer, relax
from .run import Run
from .watch import Limits

__all__ = ["CellMode", "Limits", "Optimizer", "Output", "Run", "Thermostat", "npt", "nve", "nvt", "relax"]
