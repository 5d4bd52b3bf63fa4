"""Hyper-parameters of the network: frozen, JSON only, unknown keys refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from atomfield.data.quantities import CONDITIONS, FIELD_INPUTS, FIELD_STATES

FORMAT_VERSION = 1


class PropertyConfig(BaseModel):
    """A user's scalar per graph that finetuning added."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Literal["regression", "classification"] = "regression"
    pooling: Literal["sum", "mean"] = "mean"
    """``sum``: extensive, contributions of atoms add up. ``mean``: intensive, read from the mean over atoms."""
    unit: str = ""


class NetworkConfig(BaseModel):
    """Everything needed to rebuild a network; stored as ``config.json`` beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = FORMAT_VERSION
    channels: int = Field(32, ge=4)
    """Channels of natural parity (-1)^l at each l."""
    channels_unnatural: int = Field(8, ge=0)
    """Channels of the other parity, -(-1)^l: vorticity, magnetic field, chirality. At most ``channels``."""
    lmax: int = Field(2, ge=0, le=4)
    """Highest degree of features and messages."""
    layers: int = Field(2, ge=1)
    correlation: Literal[1, 2, 3] = 3
    """Highest body-order product taken at nodes."""
    num_radial: int = Field(8, ge=2)
    radial_hidden: int = Field(32, ge=4)
    head_hidden: int = Field(32, ge=4)
    cutoff: float = Field(5.0, gt=0)
    """angstrom for atoms; fields are scaled so that neighbours are ``field_spacing`` apart."""
    field_spacing: float = Field(1.5, gt=0)
    average_neighbors: float = Field(16.0, gt=0)
    """Messages are divided by its square root."""
    levels: tuple[str, ...] = ()
    """Levels of theory and solvers; one row of every stacked head each."""
    default_level_atoms: str = ""
    default_level_field: str = ""
    field_inputs: tuple[str, ...] = FIELD_INPUTS
    field_states: tuple[str, ...] = FIELD_STATES
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    properties: tuple[PropertyConfig, ...] = ()
    priors: tuple[str, ...] = ()
    """Analytic terms in the energy, ``zbl`` and ``d3:<functional>``; see ``priors.py``."""
    contains: dict[str, tuple[str, ...]] = {}
    """Level -> the dispersion that its labels contain already (``d3:pbe``, ``d4``, ``vv10``, ...); empty: none."""
    dispersion_cutoff: float = Field(12.0, gt=0)
    """angstrom."""

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        if self.channels_unnatural > self.channels:
            raise ValueError(
                f"channels_unnatural is {self.channels_unnatural}, expected at most channels = {self.channels}"
            )
        for name in (self.default_level_atoms, self.default_level_field):
            if name and name not in self.levels:
                raise ValueError(f"default level {name!r} is not among the levels {list(self.levels)}")
        for term in self.priors:
            if term != "zbl" and not (term.startswith("d3:") and len(term) > 3):
                raise ValueError(
                    f"prior {term!r} is unknown, expected 'zbl' or 'd3:<functional>', e.g. 'd3:pbe'"
                )
        if len({t.split(":")[0] for t in self.priors}) != len(self.priors):
            raise ValueError(f"priors {list(self.priors)} count a term twice")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"levels {list(self.levels)} repeat a name")
        return self

    @property
    def width(self) -> int:
        """All channels of a feature tensor: natural first, then unnatural."""
        return self.channels + self.channels_unnatural
