"""The configuration of a finetuning run. Only ``from``, ``train``, ``target`` and ``out`` are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from atomfield.models.sizes import NetworkSize
from atomfield.pretrain.config import LossWeights


class FinetuneConfig(BaseModel):
    """Everything that defines a run; written into the run's folder as ``config.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    start: str = Field(alias="from")
    """Folder of a checkpoint, or ``scratch``: the same training from random weights."""
    train: tuple[str, ...] = Field(min_length=1)
    valid: tuple[str, ...] = ()
    """Empty: a part of ``train`` is held out by groups (molecules, compositions, trajectories)."""
    test: tuple[str, ...] = ()
    """Empty: the report is about the validation part, and says so."""
    target: tuple[str, ...] = Field(min_length=1)
    """Vocabulary names (energy, forces, stress, dipole, charges, velocity, ...) or the file's own name
    of a scalar per structure."""
    out: Path = Path("runs/finetune")
    map: dict[str, str] = {}
    units: dict[str, str] = {}
    conformers: int = Field(1, ge=1)
    on_bad: Literal["raise", "skip"] = "raise"
    max_bad: float = Field(0.01, ge=0, le=1)
    """With ``on_bad: skip``, the share of the records of a source that may be skipped."""
    on_leak: Literal["report", "raise"] = "report"
    """Test records that are in the training set: report metrics with and without them, or stop."""
    level: str = ""
    """Name of the level of theory or solver of this data; a new one gets a row of its own in every head."""
    task: Literal["auto", "regression", "classification"] = "auto"
    pooling: Literal["auto", "sum", "mean"] = "auto"
    parity: Literal["even", "odd"] = "even"
    """``odd``: the properties change sign in a mirror (optical rotation, R or S)."""
    target_irreps: dict[str, str] = {}
    """Target -> what its value is where it is more than one number per structure: ``{polar: 0e+2e, born: 0e+1e+2e/atom, dos:
    51x0e}`` (``docs/targets.md``)."""
    classes: dict[str, tuple[str, ...]] = {}
    """Target -> the names of its classes where there are more than two: ``{phase: [cubic, hexagonal, other]}``."""
    nonnegative: tuple[str, ...] = ()
    """Targets that are never below zero (spectra, densities of states): predictions are kept there."""
    valid_fraction: float = Field(0.1, gt=0, lt=0.9)
    max_time: float | None = None
    """Seconds of training; the schedule fits into them."""
    steps: int | None = Field(None, ge=1)
    """None: chosen from the number of records."""
    max_edges: int | None = Field(None, ge=1)
    """Edges of one micro-batch. None: by task."""
    max_graphs: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    """None: 2e-3 from a checkpoint, 4e-3 from scratch."""
    weight_decay: float = Field(1e-3, ge=0)
    gradient_clipping: float = Field(10.0, gt=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    noise: float = Field(0.01, ge=0)
    """Fields: noise on the input state relative to its RMS, against error growth in rollouts."""
    loss: LossWeights = LossWeights()
    network: NetworkSize = NetworkSize()
    """The network when starting from scratch: ``xs``, ``s``, ``m``, ``l``, or ``{size: s, channels: 48}``; its ``contains``
    counts from a checkpoint too."""
    uncertainty: Literal["laplace", "none"] = "laplace"
    """Intervals and an out-of-distribution score, from the last layers' features of the training records and the errors on the
    validation records."""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    recompute: bool = False
    """Activation checkpointing: layers are computed again in backward passes, for less memory and more time."""
