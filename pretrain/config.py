"""The configuration of a pretraining run: one YAML file, validated, frozen; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from atomfield.models.sizes import NetworkSize

if TYPE_CHECKING:
    from atomfield.models.config import Auxiliary

LawName = Literal[
    "divergence", "curl", "navier_stokes", "burgers", "advection_diffusion", "heat",
    "acoustics", "shallow_water", "gray_scott", "allen_cahn", "kdv", "kuramoto_sivashinsky", "wave", "darcy",
    "conserved_concentration", "conserved_momentum",
    "net_charge", "net_force", "net_torque",
]  # fmt: skip
"""Laws of ``physics_priors/field_laws.py`` and ``balances.py`` that a prediction can be asked to obey."""
BALANCES: tuple[LawName, ...] = ("net_charge", "net_force", "net_torque")
FIELD_LAWS: tuple[LawName, ...] = tuple(n for n in get_args(LawName) if n not in BALANCES)

Objective = Literal["supervised", "denoise", "denoise_forces", "masked_atoms", "masked_patches", "next_step"]
"""``supervised``: every label of atoms. ``denoise``: noise on structures near equilibrium. ``denoise_forces``: noise on any
structure, its forces given. ``masked_atoms``: hidden species. ``masked_patches``: hidden parts of a field. ``next_step``: the
state one step on."""
JUDGED: tuple[Objective, ...] = ("supervised", "next_step")
"""Objectives whose labels validation compares with."""
NOISY: tuple[Objective, ...] = ("denoise", "denoise_forces", "next_step")
"""Objectives that ``noise`` is for."""
ClockName = Literal["wall", "processor"]
"""What a limit of time counts: time that passes, or processor time of all threads of a process."""
PRECISIONS = ("bf16", "bfloat16", "fp16", "amp", "dtype", "precision")
"""Names of a setting that there is not, for the message that says why."""
FRACTIONS = {"denoise_forces": 0.25, "masked_atoms": 0.15, "masked_patches": 0.25}
"""Default share of the nodes of a graph that are disturbed or hidden."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StreamConfig(_Frozen):
    """One data set under one objective."""

    source: str | tuple[str, ...]
    """A store, a folder or a file; ``starter/molecules``, ``starter/crystals``, ``starter/fields`` ship with the package. Several
    of one kind (atoms or fields) are mixed as ``mixture`` says."""
    mixture: Literal["natural", "balanced"] | float | tuple[float, ...] = "natural"
    """How often several sources are seen: ``natural`` (each record once an epoch), ``balanced`` (each source equally often), a
    temperature t >= 1 (in proportion to size**(1/t)), or one weight for each source."""
    objective: Objective = "supervised"
    micro_batches: int = Field(2, ge=1)
    """Micro-batches per step, over all ranks. ``zero_stage`` 0 and 1 deal those of all streams together, at least one to each
    process; at 2 and 3 each stream's must be a multiple of the number of processes."""
    max_edges: int = Field(4000, ge=1)
    """Edge budget of a micro-batch."""
    max_nodes: int | None = Field(None, ge=1)
    """Node budget of a micro-batch; None: no limit."""
    weight: float = Field(1.0, gt=0)
    noise: float = Field(0.0, ge=0)
    """denoise, denoise_forces: standard deviation in angstrom. next_step: input noise relative to the RMS of each quantity."""
    fraction: float | None = Field(None, gt=0, le=1)
    """Share of the nodes of a graph that denoise_forces disturbs and masked_* hide; None: 0.25, of atoms hidden 0.15."""
    rollout: int = Field(1, ge=1)
    """next_step: the network makes up to ``rollout`` - 1 steps without gradient, and learns the one after them (pushforward)."""

    @property
    def share(self) -> float:
        """``fraction``, or its default for the objective."""
        return self.fraction or FRACTIONS.get(self.objective, 0.0)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,) if isinstance(self.source, str) else self.source

    @model_validator(mode="after")
    def _mixture_fits(self) -> StreamConfig:
        from atomfield.data.errors import InputError
        from atomfield.data.sampler import shares_of  # numpy, which --help does without

        if not self.sources:
            raise ValueError("source is empty, expected at least one")
        if self.objective in ("denoise", "denoise_forces") and self.noise == 0:
            raise ValueError(f"noise is 0, expected an amplitude in angstrom for {self.objective}, e.g. 0.1")
        if self.fraction is not None and self.objective not in FRACTIONS:
            raise ValueError(
                f"fraction is given for {self.objective}, expected only for {', '.join(FRACTIONS)}"
            )
        if self.noise and self.objective not in NOISY:
            raise ValueError(f"noise is given for {self.objective}, expected only for {', '.join(NOISY)}")
        if self.mixture != "natural" and len(self.sources) == 1:
            raise ValueError(f"mixture is {self.mixture} for one source, expected only for several")
        if self.rollout > 1 and self.objective != "next_step":
            raise ValueError(f"rollout is {self.rollout} for {self.objective}, expected only for next_step")
        try:
            shares_of([1] * len(self.sources), self.mixture)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self


class LossWeights(_Frozen):
    """Weights of the loss terms. Residuals are in units of the shared energy scale, of the RMS of increments, or of e."""

    energy: float = Field(4.0, ge=0)
    forces: float = Field(10.0, ge=0)
    stress: float = Field(4.0, ge=0)
    dipole: float = Field(0.5, ge=0)
    charges: float = Field(0.5, ge=0)
    noise: float = Field(1.0, ge=0)
    element: float = Field(0.5, ge=0)
    """Cross entropy of a hidden atom, in nats."""
    field: float = Field(1.0, ge=0)
    patch: float = Field(1.0, ge=0)
    """Hidden states, in units of the RMS of each quantity."""
    property: float = Field(1.0, ge=0)
    physics: dict[LawName, Annotated[float, Field(gt=0)]] = {}
    """Laws as penalties, off by default: ``{divergence: 0.1, navier_stokes: 0.01, net_charge: 1}``. Each is the mean square
    of the law's relative residual (``physics_loss.py``); where a record lacks what a law needs, the law asks nothing of it."""


class OptimizerConfig(_Frozen):
    """The optimiser and its schedule: linear warm-up, then down to ``final_fraction`` of the peak."""

    name: Literal["adamw", "nadam"] = "adamw"
    """torch's own. ``nadam``: Adam with Nesterov's momentum (Dozat, ICLR 2016 workshop), its weight decay decoupled alike."""
    learning_rate: float = Field(3e-3, gt=0)
    schedule: Literal["cosine", "wsd"] = "cosine"
    """``wsd``: the peak rate after the warm-up, and down in the last ``decay_fraction``; its plateau can be continued."""
    warmup_fraction: float = Field(0.03, ge=0, lt=1)
    decay_fraction: float = Field(0.2, ge=0, lt=1)
    final_fraction: float = Field(0.01, ge=0, le=1)
    weight_decay: float = Field(1e-4, ge=0)
    gradient_clipping: float = Field(10.0, gt=0)
    ema_decay: float = Field(0.995, ge=0, lt=1)

    @model_validator(mode="after")
    def _phases_fit(self) -> OptimizerConfig:
        if self.schedule == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError(
                f"warmup_fraction {self.warmup_fraction} and decay_fraction {self.decay_fraction} are more than the whole run"
            )
        return self


class NumericsConfig(_Frozen):
    """When a step is skipped, when the run goes back and when it stops."""

    spike_sigma: float | None = Field(6.0, gt=0)
    """A step is skipped whose loss or gradient norm has a logarithm so many standard deviations above the window's mean; None:
    never."""
    spike_window: int = Field(128, ge=4)
    """Steps; a spike is looked for once half of them are there."""
    spikes_before_rollback: int = Field(3, ge=1)
    """So many spikes within one window take the run back to its last checkpoint, to go on with other data."""
    most_rollbacks: int = Field(3, ge=0)
    """More than so many rollbacks end the run."""
    most_bad_in_a_row: int = Field(5, ge=1)
    """So many skipped steps in a row end the run."""


class PlanConfig(_Frozen):
    """What ``--plan`` predicts for. Training does not look at it."""

    gpus: tuple[int, ...] = (1, 8, 64, 1000)
    structures: float | None = Field(None, gt=0)
    """Records of the whole data set; None: those of the sources."""
    epochs: float = Field(1.0, gt=0)
    device_speedup: float = Field(1.0, gt=0)
    """How many times as fast as the device here one of theirs is, as measured by a training there."""
    bandwidth: float = Field(25e9, gt=0)
    """Bytes per second that each GPU sends in collectives (25e9: one 200 Gbit/s card for each)."""
    latency: float = Field(20e-6, ge=0)
    """Seconds per message."""

    @model_validator(mode="after")
    def _gpus_are_counts(self) -> PlanConfig:
        if not self.gpus or min(self.gpus) < 1:
            raise ValueError(f"gpus is {list(self.gpus)}, expected counts of at least 1")
        return self


class PretrainConfig(_Frozen):
    """Everything that defines a run; written into the run's folder as ``config.yaml``."""

    out: Path = Path("runs/pretrain")
    streams: tuple[StreamConfig, ...]
    start: Path | None = None
    """A published checkpoint to go on from, a folder or the name of a shipped model: its weights and its network carry over, its
    levels keep their rows, references and scales; levels that it lacks get rows of their own. It must still be there when the run
    is resumed."""
    fresh_heads: bool = False
    """With ``start``: the heads begin anew, as after a stage of direct forces."""
    network: NetworkSize = NetworkSize()
    """``xs``, ``s``, ``m``, ``l``, or ``{size: s, channels: 48}``."""
    loss: LossWeights = LossWeights()
    balance: Literal["fixed", "inverse_rms"] = "fixed"
    """``fixed``: a residual counts in units of the one energy scale, whatever its level. ``inverse_rms``: those of energies,
    forces and stress times (that scale / RMS force of the level), within a factor of 4; ``--plan`` prints them."""
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(1000, ge=1)
    max_time: float | None = Field(None, gt=0)
    """Seconds; the schedule is cut to end in time, or earlier with ``steps``, whichever comes first. None: exactly ``steps``."""
    clock: ClockName = "wall"
    """What ``max_time`` counts: time that passes, or processor time of rank 0, which does not depend on what else the machine
    does."""
    forces: Literal["conservative", "direct"] = "conservative"
    """``direct``: a vector head in place of the energy's gradient, for a cheaper first stage (no stress); ZeRO 3 allows it."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    seed: int = Field(0, ge=0, lt=2**63)
    fit_records: int = Field(100_000, ge=1000)
    """Scales, references and constants are fitted on about so many records of each source, drawn at random, and on a thousand of
    each element, label and condition; smaller sources are read whole."""
    recompute: bool = False
    """Activation checkpointing: layers are computed again in backward passes, for less memory and more time."""
    compile: bool = False
    """On a GPU, let ``torch.compile`` fuse passes over atoms (supervised, denoise): a minute or two at the start, faster steps
    after."""
    cuda_graphs: bool = True
    """On a GPU, record the kernels of passes over small batches as CUDA graphs and start them together; False: each by itself."""
    workers: int = Field(0, ge=0)
    """Processes per rank that make batches ahead of the training step; 0: one thread. The batches are the same."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every: int = Field(500, ge=1)
    keep_last: int = Field(2, ge=1)
    keep_best: int = Field(1, ge=0)
    """So many checkpoints with the lowest validation score stay besides the last ones."""
    validate_every: int = Field(500, ge=1)
    log_every: int = Field(10, ge=1)
    wandb: Literal["disabled", "offline", "online"] = "offline"
    numerics: NumericsConfig = NumericsConfig()
    plan: PlanConfig = PlanConfig()
    timeout: float = Field(1800.0, gt=0)
    """Seconds that a rank waits for the others before it gives the run up."""
    resume: bool = True
    """Continue from the newest complete training checkpoint in ``out``, if there is one."""

    @property
    def auxiliary(self) -> tuple[Auxiliary, ...]:
        """The parts of the network that the objectives need."""
        wanted = {s.objective for s in self.streams}
        parts: dict[Auxiliary, bool] = {
            "direct": self.forces == "direct" and "supervised" in wanted,
            "elements": "masked_atoms" in wanted,
            "given_forces": "denoise_forces" in wanted,
            "states": "masked_patches" in wanted,
        }
        return tuple(name for name, needed in parts.items() if needed)

    @model_validator(mode="before")
    @classmethod
    def _float32_alone(cls, given: Any) -> Any:
        if isinstance(given, dict) and (named := [name for name in PRECISIONS if name in given]):
            raise ValueError(
                f"{named[0]!r} is no setting: pretraining computes in float32 at every stage, since bfloat16 breaks the symmetry "
                "by a percent and is no faster (docs/log.md); leave it out"
            )
        return given

    @model_validator(mode="after")
    def _conservative_needs_low_stage(self) -> PretrainConfig:
        conservative = self.forces == "conservative" and any(
            s.objective == "supervised" for s in self.streams
        )
        if self.zero_stage == 3 and conservative:
            raise ValueError(
                "zero_stage 3 cannot train conservative forces (second derivatives fail there); "
                "use 0, 1 or 2, forces: direct, or leave out the supervised streams"
            )
        if self.fresh_heads and self.start is None:
            raise ValueError("fresh_heads is true without start, a checkpoint to go on from")
        if not self.streams:
            raise ValueError("streams is empty, expected at least one")
        return self
