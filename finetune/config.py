"""The configuration of a finetuning run. Only ``from``, ``train``, ``target`` and ``out`` are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from atomfield.models.sizes import NetworkSize
from atomfield.pretrain.config import ClockName, LossWeights

GROWS = ("contains", "long_range")
"""Keys of ``network`` that count for a checkpoint too."""
Strategy = Literal["full", "heads", "frozen", "boosted", "lora", "scratch"]


class FinetuneConfig(BaseModel):
    """Everything that defines a run; written into the run's folder as ``config.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    start: str = Field(alias="from")
    """Folder of a checkpoint, the name of a shipped model (``atomfield-s``), or ``scratch``: the same training from random
    weights."""
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
    on_wrong: Literal["raise", "report"] = "raise"
    """Labels that are almost surely mistaken (units, signs, kinds of energies, forgotten charge or spin): stop, or print it."""
    level: str = ""
    """Name of the level of theory or solver of this data; a new one gets a row of its own in every head."""
    references: Literal["refit", "carry"] = "refit"
    """Reference energies of the elements: fitted on the new records, or carried over from the level that the new one starts from,
    with fits for new elements only. The table is printed."""
    task: Literal["auto", "regression", "classification"] = "auto"
    pooling: Literal["auto", "sum", "mean"] = "auto"
    parity: Literal["even", "odd"] = "even"
    """``odd``: the properties change sign in a mirror (optical rotation, R or S)."""
    target_irreps: dict[str, str] = {}
    """Target -> what its value is where it is more than one number per structure: ``{polar: 0e+2e, born: 0e+1e+2e/atom, dos:
    51x0e}`` (``docs/targets.md``)."""
    classes: dict[str, tuple[str, ...]] = {}
    """Target -> the names of its classes where labels are not 0 and 1: ``{phase: [cubic, hexagonal, other]}``, ``{rank: [1, 2,
    3]}``."""
    nonnegative: tuple[str, ...] = ()
    """Targets that are never below zero (spectra, densities of states): predictions are kept there."""
    strategy: Literal["auto", "full", "heads", "frozen", "boosted", "lora", "scratch"] = "auto"
    """``full``: all weights, slower towards the input. ``heads``: heads only. ``frozen``: a closed form on fixed features.
    ``boosted``: the closed form and decision trees. ``lora``: low-rank adapters, merged at the end. ``scratch``: the checkpoint's
    network from random weights. ``auto`` chooses and says why."""
    layer_decay: float = Field(0.8, gt=0, le=1)
    """full: learning rate of a layer relative to the next one towards the heads."""
    lora_rank: int | None = Field(None, ge=1)
    """None: the largest whose adapters are below 5 % of the weights."""
    least_records: int = Field(10, ge=1)
    """Fewer training and validation records are refused."""
    replay: tuple[str, ...] = ()
    """Records of levels that the checkpoint knows, mixed into training so that these are not forgotten; off unless given."""
    replay_weight: float = Field(1.0, gt=0)
    """Weight of the replayed records in the loss; the new ones have 1."""
    control: bool = False
    """Train the same network from random weights beside it (in ``out/scratch``) and show both."""
    search: int = Field(0, ge=0)
    """Trials of a search for hyper-parameters before the run, judged on validation records alone; see ``search.py``. With
    ``folds`` or ``learning_curve``: before each of their runs, on its records alone."""
    folds: int | str | None = None
    """Cross-validation: a number of folds, or a file that names the test records of each."""
    by_id: str = ""
    """Key of the ids that the file of folds names records by; empty: record numbers."""
    learning_curve: tuple[int | Literal["all"], ...] = ()
    """Numbers of training records to train with, each a part of the next."""
    valid_fraction: float | None = Field(None, gt=0, lt=0.9)
    """Share of ``train`` that is held out where there is no ``valid``. None: a tenth; of few records of atoms ten, but no more
    than a fifth."""
    max_time: float | None = Field(None, gt=0)
    """Seconds of training; the schedule fits into them."""
    clock: ClockName = "wall"
    """What ``max_time`` counts: time that passes, or processor time of all threads of this process, which does not depend on what
    else the machine does."""
    steps: int | None = Field(None, ge=1)
    """None: chosen from the number of records."""
    max_edges: int | None = Field(None, ge=1)
    """Edges of one micro-batch. None: by task."""
    max_graphs: int | None = Field(None, ge=1)
    piece_edges: int | None = Field(None, ge=1)
    """A batch of more edges goes through the network in pieces of whole records, whose gradients are added: less memory, and the
    same training to rounding."""
    learning_rate: float | None = Field(None, gt=0)
    """None: 4e-3, and 1e-2 for heads."""
    weight_decay: float = Field(1e-3, ge=0)
    gradient_clipping: float = Field(10.0, gt=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    noise: float = Field(0.01, ge=0)
    """Fields: noise on the input state relative to its RMS, against error growth in rollouts."""
    loss: LossWeights = LossWeights()
    network: NetworkSize = NetworkSize()
    """The network when starting from scratch: ``xs``, ``s``, ``m``, ``l``, or ``{size: s, channels: 48}``. From a checkpoint its
    ``contains`` counts too, and its ``long_range``, where the checkpoint has none: what is added begins by adding nothing."""
    uncertainty: Literal["laplace", "none"] = "laplace"
    """Intervals and an out-of-distribution score, from the last layers' features of the training records and the errors on the
    validation records."""
    seed: int = Field(0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    recompute: bool = False
    """Activation checkpointing: layers are computed again in backward passes, for less memory and more time."""

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, given: object) -> object:
        """Numbers are names too; what YAML takes for truth values is none."""
        if not isinstance(given, dict):
            return given
        return {target: _class_names(names) for target, names in given.items()}

    @model_validator(mode="after")
    def _fits(self) -> FinetuneConfig:
        doubled = [t for t in self.target if self.target.count(t) > 1]
        if doubled:
            raise ValueError(f"target {doubled[0]!r} is given twice, expected each once")
        lost = [t for t in self.nonnegative if t not in self.target]
        if lost:
            raise ValueError(f"nonnegative names {lost[0]!r}, which is not a target")
        own = [n for n, v in NetworkSize() if n not in GROWS and getattr(self.network, n) != v]
        if self.start != "scratch" and own:
            raise ValueError(
                f"network.{own[0]} is given, but a checkpoint has a size of its own; leave it out, or train with --from scratch"
            )
        asked = [n for n in ("folds", "learning_curve") if getattr(self, n)]
        if len(asked) > 1:
            raise ValueError(f"{asked[0]} and {asked[1]} are asked for at once, expected one of them")
        if isinstance(self.folds, int) and self.folds < 2:
            raise ValueError(f"folds is {self.folds}, expected 2 or more, or a file")
        if self.folds is not None and (self.valid or self.test):
            raise ValueError("folds are made of the training records: leave out valid and test")
        if self.by_id and not isinstance(self.folds, str):
            raise ValueError("by_id is for a file of folds, which folds names")
        if any(isinstance(n, int) and n < 2 for n in self.learning_curve):
            raise ValueError("learning_curve has a number of records below 2")
        if self.control and (self.start == "scratch" or self.strategy == "scratch"):
            raise ValueError("control is the run from scratch, which this run is already")
        return self


def _class_names(names: object) -> object:
    if not isinstance(names, (list, tuple)):
        return names
    wrong = next((n for n in names if isinstance(n, bool)), None)
    if wrong is not None:
        raise ValueError(
            f"has {str(wrong).lower()}, as YAML reads yes, no, on, off, true and false; write such names in quotes: ['yes', 'no']"
        )
    return tuple(f"{n:g}" if isinstance(n, (int, float)) else n for n in names)
