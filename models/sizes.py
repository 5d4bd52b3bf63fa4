"""One dial for the size of a network: ``xs``, ``s``, ``m`` or ``l``; every hyper-parameter that it sets can be given on its own.

``docs/sizes.md`` says what each costs and is made by ``benchmarks/sizes.py``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Size = Literal["xs", "s", "m", "l"]

_KEYS = ("channels", "channels_unnatural", "lmax", "layers", "correlation", "radial_hidden", "head_hidden")
_PRESETS = {
    "xs": (32, 0, 1, 2, 2, 32, 32),
    "s": (32, 8, 2, 2, 3, 32, 32),
    "m": (64, 16, 2, 3, 3, 32, 64),
    "l": (128, 32, 3, 4, 3, 64, 128),
}
SIZES: tuple[Size, ...] = ("xs", "s", "m", "l")


class NetworkSize(BaseModel):
    """The free hyper-parameters of the network; everything else follows from the data.

    Written ``s``, or ``{size: s, channels: 48}``: what is not given is that of the size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: Size = "s"
    """xs: natural parity only and degree 1, so neither vorticity nor magnetic fields. s: the default. m, l: for GPUs."""
    channels: int = Field(32, ge=4)
    channels_unnatural: int = Field(8, ge=0)
    lmax: int = Field(2, ge=0, le=4)
    layers: int = Field(2, ge=1)
    correlation: Literal[1, 2, 3] = 3
    num_radial: int = Field(8, ge=2)
    radial_hidden: int = Field(32, ge=4)
    head_hidden: int = Field(32, ge=4)
    cutoff: float = Field(5.0, gt=0)
    symmetry: Literal["O3", "none"] = "O3"
    """``none``: the control without the symmetry, of the same channels and layers but degree 0."""
    priors: tuple[str, ...] = ()
    """Analytic terms in the energy of atoms: ``zbl``, ``d3:<functional>``, ``d4:<functional>``, and pair potentials with their
    constants (``lennard_jones:Ar-Ar=0.0104/3.4``, ``models/pair_terms.py``); see ``models/priors.py``."""
    contains: dict[str, tuple[str, ...]] = {}
    """Level -> the dispersion that its labels contain already (``d3:pbe``, ``d4``, ...); empty: none."""
    dispersion_cutoff: float = 12.0
    constraints: tuple[
        Literal["divergence", "conserved_concentration", "conserved_momentum", "nonnegative"], ...
    ] = ()
    """Laws that forecasts of fields obey exactly; see ``models/constraints.py``."""
    long_range: Literal["none", "filter", "coarse", "both"] | None = None
    """What acts beyond the cutoff. None: coarse levels for steady problems of fields, where every point counts for every other;
    else nothing."""
    long_range_route: Literal["auto", "direct", "mesh"] = "auto"
    long_range_channels: int = 8
    long_range_widths: int = 4
    long_range_smallest: float = 1.5
    long_range_largest: float = 12.0
    fourier: bool | None = None
    """Messages through Fourier space for fields on regular grids (``models/fourier.py``). None: if data has periodic ones."""
    electrostatics: bool = False
    electrostatics_charges: Literal["bonds", "atoms"] = "bonds"
    """Where the charges come from: they flow between neighbours, or every atom brings its own (``models/electrostatics.py``)."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """A bare name is a size; what is not given is taken from the size. Wrong values pass on to the checks of the fields."""
        if isinstance(given, str):
            given = {"size": given}
        if not isinstance(given, dict):
            return given
        preset = _PRESETS.get(str(given.get("size", "s")), ())
        control = {"lmax": 0, "channels_unnatural": 0} if given.get("symmetry") == "none" else {}
        return {**dict(zip(_KEYS, preset, strict=False)), **control, **given}

    @model_validator(mode="after")
    def _parts_fit(self) -> NetworkSize:
        if self.symmetry == "none" and (self.lmax or self.channels_unnatural):
            raise ValueError("symmetry none has scalars only: leave out lmax and channels_unnatural")
        if self.electrostatics_charges != "bonds" and not self.electrostatics:
            raise ValueError(
                "electrostatics_charges without electrostatics: give electrostatics: true with it, or leave it out"
            )
        from .config import NetworkConfig  # later than --help

        try:
            NetworkConfig(**self.hyperparameters())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            said = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{where}: {said}" if where else said) from None
        return self

    def hyperparameters(self) -> dict[str, Any]:
        """What ``NetworkConfig`` takes."""
        decided = {"fourier": bool(self.fourier), "long_range": self.long_range or "none"}
        return self.model_dump(exclude={"size"}) | decided

    def for_data(self, *, grids: bool, steady: bool = False) -> NetworkSize:
        """The size with what it leaves open decided: ``fourier`` for fields on periodic ``grids``, and never in the control;
        coarse levels for ``steady`` problems."""
        fourier = grids and self.symmetry == "O3" if self.fourier is None else self.fourier
        far = ("coarse" if steady else "none") if self.long_range is None else self.long_range
        return self.model_copy(update={"fourier": fourier, "long_range": far})


def network_size(name: str) -> NetworkSize:
    """The hyper-parameters of one size; raises pydantic's ``ValidationError`` that names the four for another name."""
    return NetworkSize.model_validate(name)
