"""The configuration of ``atomfield identify``: a law, data, and what is known about its constants beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

TRAJECTORY_LAWS = ("lotka_volterra", "lorenz")
"""Laws of a few numbers in time."""
ENERGY_LAWS = ("lennard_jones", "morse", "buckingham")
"""Energies between atoms."""
RECORD_LAWS = ("navier_stokes", "acoustics", "shallow_water", "gray_scott", "wave", "darcy", *ENERGY_LAWS)
"""Laws of what a record holds; the others are laws of a field on a line, from arrays, unless ``data.record`` is given."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Frozen):
    """Where the numbers are."""

    file: Path
    """A table with a header (``.csv``, ``.tsv``; lines that start with # are skipped) or arrays (``.npz``, ``.mat``). A relative
    path is looked for from where the command runs, then beside the configuration."""
    time: str = "t"
    """Column or array of the times."""
    columns: dict[str, str] = {}
    """Laws of trajectories: state of the law -> column, in any order. Laws of records: quantity -> its name in the file."""
    record: int | None = Field(None, ge=0)
    """Laws of fields in any dimension: which record (from 0) of a file or store of any kind that AtomField reads."""
    field: str = "u"
    """Laws of fields: the array, points along one axis and times along the other; of complex ones the real part is taken."""
    x: str = "x"
    """Array of the positions."""


class ConstantConfig(_Frozen):
    """One constant of the law."""

    start: float | None = Field(None, allow_inf_nan=False)
    """Where the search starts; positive for trajectories. Left out, a network starts from the weak form's estimate on a uniform
    grid and from 1 elsewhere."""
    mean: float = Field(0.0, allow_inf_nan=False)
    deviation: float = Field(float("inf"), gt=0)
    """Of a normal prior on the constant; the default says nothing. Trajectories only."""
    reference: float | None = Field(None, allow_inf_nan=False)
    """A known or published value, shown beside the result."""


class NetworkConfig(_Frozen):
    """Of the method ``network``."""

    points: int = Field(2000, ge=10)
    """Values of the field that are used, drawn at random; the law is imposed at the same points."""
    width: int = Field(20, ge=2)
    depth: int = Field(4, ge=1)
    max_steps: int = Field(300, ge=1)


class TermsConfig(_Frozen):
    """The library of ``law: discover``."""

    max_power: int = Field(3, ge=1, le=6)
    max_order: int = Field(4, ge=1, le=4)
    threshold: float = Field(0.05, gt=0, lt=1)
    """Share of du/dt below which a term is dropped."""
    reference: dict[str, float] = {}
    """Term -> known coefficient, shown beside the result; terms are written as in the table, e.g. ``u u_x``."""


class IdentifyConfig(_Frozen):
    """Everything that defines an identification."""

    law: Literal[
        "lotka_volterra", "lorenz", "burgers", "kdv", "kuramoto_sivashinsky", "allen_cahn", "heat",
        "advection_diffusion", "discover", "navier_stokes", "acoustics", "shallow_water", "gray_scott", "wave", "darcy",
        "lennard_jones", "morse", "buckingham",
    ]  # fmt: skip
    data: DataConfig
    out: Path = Path("runs/identify")
    method: Literal["weak_form", "network"] = "weak_form"
    """Of laws on a line. weak_form: linear least squares against test functions on a uniform grid, seconds. network:
    a physics-informed
    network on scattered values, minutes."""
    constants: dict[str, ConstantConfig] = {}
    errors: Literal["normal", "lognormal"] = "normal"
    """Of measured trajectories."""
    error_start: float = Field(0.3, gt=0)
    substeps: int = Field(10, ge=1)
    """Runge-Kutta steps between two measured times."""
    windows: tuple[int, int] | None = None
    """Half-widths of the test functions in points along x and t; null: from the spectrum of the data."""
    draws: int = Field(200, ge=20)
    """Bootstrap draws behind the deviations of the weak form."""
    network: NetworkConfig = NetworkConfig()
    terms: TermsConfig = TermsConfig()
    cutoff: float = Field(12.0, gt=0)
    """Angstrom; of energies between atoms in periodic structures. Molecules have all their pairs."""
    noise: float = Field(0.0, ge=0)
    """Gaussian noise added to a field first, relative to its standard deviation: how robust is the result?"""
    seed: int = 0

    @property
    def of_records(self) -> bool:
        """Whether the data are a record of a field, or structures."""
        return self.law in RECORD_LAWS or self.data.record is not None

    @model_validator(mode="after")
    def _fits_together(self) -> IdentifyConfig:
        from atomfield.physics_priors import line_laws, lorenz, lotka_volterra
        from atomfield.physics_priors.energy_laws import energy_law
        from atomfield.physics_priors.field_laws import field_law

        given = list(self.constants)
        match self.law:
            case "lennard_jones" | "morse" | "buckingham":
                names: tuple[str, ...] = energy_law(self.law).constants
                # one for all kinds of pairs, or "epsilon Ar-Ne" for one kind
                given = [name.split(" ")[0] for name in given]
            case "navier_stokes" | "acoustics" | "shallow_water" | "gray_scott" | "wave" | "darcy":
                names = field_law(self.law).constants
            case (
                "burgers" | "heat" | "advection_diffusion" | "allen_cahn" | "kdv" | "kuramoto_sivashinsky"
            ) if self.of_records:
                names = field_law(self.law).constants
            case _ if self.data.record is not None:
                raise ValueError(f"data.record is given, but {self.law} is no law of a record; leave it out")
            case "lotka_volterra":
                names = lotka_volterra.CONSTANTS
            case "lorenz":
                names = lorenz.CONSTANTS
            case "discover":
                names = ()
            case _:
                names = line_laws.line_law(self.law).constants
        unknown = [name for name, base in zip(self.constants, given, strict=True) if base not in names]
        if unknown:
            known = f"expected {', '.join(names)}" if names else "law: discover has none"
            raise ValueError(f"constants has {unknown[0]!r}; {known}")
        if self.noise and self.law in (*TRAJECTORY_LAWS, *ENERGY_LAWS):
            raise ValueError(f"noise is added to fields, {self.law} has none; leave it out")
        if self.windows and (self.of_records or self.law in TRAJECTORY_LAWS):
            raise ValueError(f"windows are those of a law on a line, not of {self.law} here; leave them out")
        if self.of_records and self.method == "network":
            raise ValueError(
                f"method: network is for laws on a line, {self.law} of a record has one way; leave it out"
            )
        if self.law in ENERGY_LAWS:
            without = [n for n in names if getattr(self.constants.get(n), "start", None) is None]
            if without:
                raise ValueError(f"constants.{without[0]}.start is missing: where does the search begin?")
            low = next((n for n, c in self.constants.items() if c.start is not None and c.start <= 0), None)
            if low is not None:
                raise ValueError(f"constants.{low}.start is {self.constants[low].start:g}, expected > 0")
        if self.law in TRAJECTORY_LAWS:
            without = [n for n in names if self.constants.get(n, ConstantConfig()).start is None]
            if without:
                raise ValueError(f"constants.{without[0]}.start is missing: where does the search begin?")
            for name in names:
                start = self.constants[name].start
                if start is not None and start <= 0:
                    raise ValueError(
                        f"constants.{name}.start is {start:g}, expected > 0: rates of {self.law} are"
                    )
            wanted = ("prey", "predator") if self.law == "lotka_volterra" else ("x", "y", "z")
            if set(self.data.columns) != set(wanted):
                found = ", ".join(self.data.columns) or "nothing"
                raise ValueError(
                    f"data.columns names {found}; expected a column for each of {', '.join(wanted)}"
                )
        return self
