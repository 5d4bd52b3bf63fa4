"""Hyper-parameters of the network: frozen, JSON only, unknown keys refused."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from atomfield.data.quantities import CONDITIONS, FIELD_INPUTS, FIELD_STATES, READ_ALWAYS, parse_irreps

FORMAT_VERSION = 4
"""2: uncertainty beside the weights. 3: a linear part in the energies of atoms. 4: properties that are read by trees. Files of
earlier versions are read."""
WITHOUT_TREES = 3
"""What a file says that has no trees, so that those who know of none read it too."""
Auxiliary = Literal["direct", "elements", "given_forces", "states"]
"""``direct``: forces as a vector head, no gradient of the energy. ``elements``: a token for hidden atoms and their classifier.
``given_forces``: forces as an input of atoms. ``states``: a token for hidden points and the head of their state."""


class TreesConfig(BaseModel):
    """Sizes of the tables of a property's decision trees (``trees.py``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    count: int = Field(ge=1)
    nodes: int = Field(ge=1)
    """Of the largest tree, leaves included."""
    depth: int = Field(ge=0)
    """Questions from the root to the deepest leaf."""
    descriptors: bool = False
    """Whether they ask for descriptors of the chemical graph, so that a structure needs its bonds."""
    whole: bool = False
    """Whether they answer for the structure as a whole where the property's other parts are sums over atoms."""


class PropertyConfig(BaseModel):
    """A user's property that finetuning added: a number, a vector, a tensor, a spectrum or a class, per graph or per atom."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Literal["regression", "classification", "multiclass"] = "regression"
    """``classification``: labels 0 and 1, the head gives a logit. ``multiclass``: labels 0 to K-1, K logits."""
    pooling: Literal["sum", "mean"] = "mean"
    """``sum``: extensive, contributions of atoms add up. ``mean``: intensive, read from the mean over atoms."""
    unit: str = ""
    irreps: str = "0e"
    """``0o``: a pseudoscalar, which has opposite signs for mirror images (optical rotation, handedness). ``1o``, ``0e+2e``,
    ``51x0e`` and so on: see ``data/quantities.py``."""
    support: Literal["graph", "node"] = "graph"
    """``node``: one value per atom, and no pooling."""
    classes: tuple[str, ...] = ()
    """multiclass: the name of each class."""
    nonnegative: bool = False
    """Values are kept above zero (spectra, densities of states); of invariants alone."""
    trees: TreesConfig | None = None
    """Decision trees whose answers are added to what the head says; None: none, and nothing about them in files."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = dump(self)
        if self.trees is None:
            written.pop("trees", None)
        return written

    @model_validator(mode="after")
    def _consistent(self) -> PropertyConfig:
        parts = parse_irreps(self.irreps)
        if (self.kind == "multiclass") != (len(self.classes) > 1):
            raise ValueError(f"property {self.name!r} is {self.kind} with {len(self.classes)} classes")
        if self.kind != "regression" and (self.irreps not in ("0e", "0o") or self.nonnegative):
            raise ValueError(f"property {self.name!r} is a class, expected irreps 0e, found {self.irreps}")
        if self.nonnegative and any((l, parity) != (0, 1) for _, l, parity in parts):
            raise ValueError(
                f"property {self.name!r} cannot be nonnegative with irreps {self.irreps}, which change sign"
            )
        if self.trees is not None and (self.is_open or self.irreps != "0e"):
            raise ValueError(f"property {self.name!r} has trees, expected one number or class per graph")
        return self

    @property
    def is_open(self) -> bool:
        """Whether it is more than one number per graph; ``tensor_head.py`` reads it then."""
        return (
            self.irreps not in ("0e", "0o")
            or self.support == "node"
            or self.kind == "multiclass"
            or self.nonnegative
        )


FeatureSpaceName = Literal["atoms", "structure", "property_atoms", "property_sum", "property_mean", "points"]
"""Last-layer features: of an atom and their mean in the energy head; of an atom, their mean and what is pooled in the property
head; of a point of a field."""


class UncertaintyConfig(BaseModel):
    """What the uncertainty of a network covers; its numbers are buffers beside the weights (``uncertainty.py``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    level: str
    """The level of theory or solver that it was calibrated on; records of other levels get none."""
    targets: tuple[str, ...] = ()
    """Quantities and properties that get a standard deviation and an interval."""
    spaces: tuple[FeatureSpaceName, ...]
    calibration_units: tuple[int, ...] = ()
    """Per target: independent validation units (records, or their groups) that its interval was calibrated on."""
    unit_kind: Literal["records", "groups", "times"] = "records"
    rollout_steps: int = Field(0, ge=0)
    """Steps of a rollout that have intervals of their own; 0: none."""
    rollout_units: int = Field(0, ge=0)
    """Independent trajectories that these were calibrated on."""


def _pairs(value: object) -> object:
    return tuple(value.items()) if isinstance(value, dict) else value


ByLevel = Annotated[
    tuple[tuple[str, tuple[str, ...]], ...],
    BeforeValidator(_pairs),
    PlainSerializer(lambda pairs: {name: list(terms) for name, terms in pairs}, when_used="json"),
]
"""A mapping of names to lists in files, pairs in memory: a configuration is hashable."""


class NetworkConfig(BaseModel):
    """Everything needed to rebuild a network; stored as ``config.json`` beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_version: int = FORMAT_VERSION
    symmetry: Literal["O3", "none"] = "O3"
    """``none``: the control without the symmetry (``control.py``), with lmax 0 and natural channels only."""
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
    long_range: Literal["none", "filter", "coarse", "both"] = "none"
    """What acts beyond the cutoff: a learned |k|^2 filter (``long_range.py``), coarse graph levels (``coarse.py``), or both."""
    long_range_route: Literal["auto", "direct", "mesh"] = "auto"
    """How the filter and the Coulomb energy are summed: exactly, on a mesh, or exactly while that is cheap."""
    long_range_channels: int = Field(8, ge=1)
    long_range_widths: int = Field(4, ge=1)
    """Gaussians in the kernel of each channel."""
    long_range_smallest: float = Field(1.5, gt=0)
    """Bounds of their widths, in the unit of ``cutoff``; the smallest sets the mesh."""
    long_range_largest: float = Field(12.0, gt=0)
    linear_readout: bool = True
    """Energies of atoms have a part that is linear in the invariant features, one row ``[channels]`` for each level, beside the
    one behind the silu; files of versions 1 and 2 are without it."""
    fourier: bool = False
    """Fields on grids: messages through Fourier space in every layer (``fourier.py``)."""
    electrostatics: bool = False
    """Charges that add up to the total, and their Coulomb energy in the energy (``electrostatics.py``)."""
    electrostatics_charges: Literal["bonds", "atoms"] = "bonds"
    """Charge flows between neighbours, and a neutral fragment stays neutral; or every atom brings its own, and ions stay ions."""
    levels: tuple[str, ...] = ()
    """Levels of theory and solvers; one row of every stacked head each."""
    default_level_atoms: str = ""
    default_level_field: str = ""
    crystal_levels: tuple[str, ...] = ()
    """Levels whose training records were periodic: a periodic structure without a level of its own is answered by the one of them
    that knows it. Empty: by ``default_level_atoms``."""
    element_pairs: ByLevel = ()
    """Level -> the pairs of elements that stood together in one of its records, by atomic number (``O-Mg``), and the elements
    that stood alone (``Cu``). A level that is not here knows whatever its elements can make."""
    field_inputs: tuple[str, ...] = FIELD_INPUTS
    field_states: tuple[str, ...] = FIELD_STATES
    conditions: tuple[str, ...] = READ_ALWAYS
    """Conditions that are read, those of one equation where training records have them (:meth:`reading`)."""
    inputs: ByLevel = ()
    """Level -> quantities of fields that all its training records had and that it does not find; others are not known."""
    centred: tuple[str, ...] = ()
    """Numbers of fields that are read, and where steady found, as their distance from the mean of their level, since at some
    level they stand far from zero (kelvin, pascal): ``NodeEmbedding.input_mean``, ``FieldHead.steady_mean``."""
    steady: tuple[str, ...] = ()
    """Field states that are found from the other fields at once instead of stepped from the present (``data/steady.py``)."""
    properties: tuple[PropertyConfig, ...] = ()
    auxiliary: tuple[Auxiliary, ...] = ()
    """Parts that only some objectives of pretraining need, see ``auxiliary.py``."""
    priors: tuple[str, ...] = ()
    """Analytic terms in the energy, ``zbl``, ``d3:<functional>``, ``d4:<functional>`` and pair potentials; see ``priors.py``."""
    contains: ByLevel = ()
    """Level -> the dispersion that its labels contain already (``d3:pbe``, ``d4:pbe``, ``d4``, ``vv10``, ...); empty: none."""
    dispersion_cutoff: float = Field(12.0, gt=0)
    """angstrom, of pair potentials too."""
    constraints: tuple[
        Literal["divergence", "conserved_concentration", "conserved_momentum", "nonnegative"], ...
    ] = ()
    """Laws that forecasts of fields obey exactly; see ``constraints.py``."""
    uncertainty: UncertaintyConfig | None = None
    """None: the network gives no intervals."""

    def reading(self, found: Collection[str]) -> tuple[str, ...]:
        """``conditions`` and, behind them, those of ``found`` that are not among them."""
        return (*self.conditions, *(n for n in CONDITIONS if n in found and n not in self.conditions))

    @model_validator(mode="before")
    @classmethod
    def _of_its_version(cls, given: Any) -> Any:
        """A file of an earlier version describes the network of that version."""
        if (
            isinstance(given, dict)
            and isinstance(version := given.get("format_version"), int)
            and version < FORMAT_VERSION
        ):
            older = {"linear_readout": False} if version < 3 else {}
            return {**older, **given, "format_version": FORMAT_VERSION}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        if self.channels_unnatural > self.channels:
            raise ValueError(
                f"channels_unnatural is {self.channels_unnatural}, expected at most channels = {self.channels}"
            )
        if self.symmetry == "none" and (self.lmax or self.channels_unnatural):
            raise ValueError(
                f"symmetry is none with lmax {self.lmax} and channels_unnatural {self.channels_unnatural}, expected 0 and 0"
            )
        for prop in self.properties:
            if self.symmetry == "O3" and (lack := self.lacks(prop)):
                raise ValueError(f"property {prop.name!r} has irreps {prop.irreps}, {lack}")
        if self.symmetry == "O3" and self.lmax == 0 and {"direct", "given_forces"} & set(self.auxiliary):
            raise ValueError("lmax is 0, expected at least 1: forces as a head or as an input are vectors")
        if self.long_range_largest <= self.long_range_smallest:
            raise ValueError(
                f"long_range_largest is {self.long_range_largest}, expected more than "
                f"long_range_smallest = {self.long_range_smallest}"
            )
        for name in (self.default_level_atoms, self.default_level_field, *self.crystal_levels):
            if name and name not in self.levels:
                raise ValueError(
                    f"level {name!r} has a role, but is not among the levels {list(self.levels)}"
                )
        from .pair_terms import EXAMPLE, constants_of, is_pair_term  # torch, which --help does without

        for term in self.priors:
            if is_pair_term(term):
                constants_of(term)
            elif term != "zbl" and not (term.startswith(("d3:", "d4:")) and len(term) > 3):
                raise ValueError(
                    f"prior {term!r} is unknown, expected 'zbl', 'd3:<functional>' or 'd4:<functional>', e.g. 'd3:pbe', or a "
                    f"pair potential, e.g. {EXAMPLE}"
                )
        kinds = [t.partition(":")[0].replace("d4", "d3") for t in self.priors]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"priors {list(self.priors)} count a term twice")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"levels {list(self.levels)} repeat a name")
        return self

    def lacks(self, prop: PropertyConfig) -> str:
        """What a network of this size is too small for in a property; empty where it can say it."""
        for _, l, parity in parse_irreps(prop.irreps):
            if parity == (-1) ** l and l > 2 * self.lmax:
                return f"expected lmax of at least {(l + 1) // 2}, found {self.lmax}"
            if parity != (-1) ** l and (l > self.lmax or self.lmax == 0 or self.channels_unnatural == 0):
                need = f"lmax of at least {max(l, 1)} and channels_unnatural above 0"
                return f"expected {need}, found {self.lmax} and {self.channels_unnatural}"
        return ""

    @property
    def open_properties(self) -> tuple[PropertyConfig, ...]:
        """Properties that are more than one number per graph."""
        return tuple(p for p in self.properties if p.is_open)

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Property -> the names of its classes, in order, of those that have names."""
        return {p.name: p.classes for p in self.properties if p.classes}

    @property
    def num_edge_features(self) -> int:
        """What the radial network of an edge reads."""
        return self.num_radial if self.symmetry == "O3" else 4 * self.num_radial

    @property
    def width(self) -> int:
        """All channels of a feature tensor: natural first, then unnatural."""
        return self.channels + self.channels_unnatural
