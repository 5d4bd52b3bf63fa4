"""Options that several commands share: the same name, meaning and help everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from atomfield.data.graph import Graph
    from atomfield.data.readers import BadRecord, ReadOptions
    from atomfield.models.config import PropertyConfig
    from atomfield.models.network import AtomFieldNet

DeviceName = Literal["auto", "cpu", "cuda"]
DtypeName = Literal["float32", "float64"]
OnBadName = Literal["raise", "skip"]

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CKPT",
        help="A checkpoint: DIR of a run, its DIR/model, or a shipped model such as atomfield-s.",
        show_default=False,
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SRC",
        help="A file, a folder, a store, STORE:PART (made by prepare --split), or starter/NAME of the shipped corpus.",
        show_default=False,
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME,...",
        help="Quantities, or columns of the file; several by commas or by repeating.",
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OURS=KEY,...",
        help="Keys of the file, e.g. energy=REF_energy,forces=REF_forces or smiles=SMILES; numbers for what a file of fields "
        "lacks, e.g. dt=0.1,viscosity=0.01.",
    ),
]
Units = Annotated[
    list[str] | None,
    typer.Option(
        "--units", metavar="NAME=UNIT,...", help="Units of the file, e.g. energy=kcal/mol,stress=GPa."
    ),
]
TargetIrreps = Annotated[
    list[str] | None,
    typer.Option(
        "--target-irreps",
        metavar="NAME=IRREPS,...",
        help="Targets that are more than one number: polar=0e+2e, dos=51x0e, born=0e+1e+2e/atom, elastic=2x0e+2x2e+4e.",
    ),
]
Level = Annotated[
    str,
    typer.Option(
        "--level", metavar="NAME", help="Level of theory or solver of the records.", show_default=False
    ),
]
Conformers = Annotated[int, typer.Option("--conformers", metavar="N", min=1, help="Conformers per SMILES.")]
OnBad = Annotated[
    OnBadName,
    typer.Option(
        "--on-bad", metavar="raise|skip", help="A bad record: stop with exit code 2, or skip it and report."
    ),
]
MaxBad = Annotated[
    float,
    typer.Option(
        "--max-bad",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="With --on-bad skip: the share of records that may be skipped; more is an error.",
    ),
]
MaxEdges = Annotated[
    int,
    typer.Option(
        "--max-edges", metavar="N", min=1, help="Pairs of atoms in a batch; fewer need less memory."
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of everything that is drawn.")]
GivenSeed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, help="Seed of everything that is drawn.", show_default=False),
]
Device = Annotated[
    DeviceName,
    typer.Option(
        "--device", metavar="auto|cpu|cuda", help="Where to compute; auto takes a GPU where there is one."
    ),
]
GivenDevice = Annotated[
    DeviceName | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Where to compute; auto takes a GPU where there is one.",
        show_default=False,
    ),
]
Dtype = Annotated[
    DtypeName | None,
    typer.Option(
        "--dtype",
        metavar="float32|float64",
        help="Precision of the network; default: that of the checkpoint.",
        show_default=False,
    ),
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="TIME",
        help="Fit the schedule to this time: 90s, 30m, 1h30m.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override one key of the configuration; may be repeated."),
]


# ---------------------------------------------------------------- parsing
def listed(texts: list[str] | None) -> tuple[str, ...]:
    """``["energy,forces", "dipole"]`` -> three names; ``\\,`` is a comma within a name."""
    parts = [part.replace("\\,", ",").strip() for text in texts or [] for part in re.split(r"(?<!\\),", text)]
    return tuple(dict.fromkeys(part for part in parts if part))


def sources(texts: list[str] | None) -> tuple[str, ...] | None:
    """Several SRC, or None where none is given; a path that is there may have a comma in its name."""
    return (
        tuple(part for text in texts or [] for part in ((text,) if Path(text).exists() else listed([text])))
        or None
    )


def paired(texts: list[str] | None, option: str) -> dict[str, str]:
    """``["energy=REF_energy,forces=REF_forces"]`` -> a dictionary; ``option`` is named in errors."""
    pairs: dict[str, str] = {}
    for part in listed(texts):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not (sign and name and value):
            raise InputError(f"found {part!r}, expected NAME=VALUE such as energy=REF_energy", option)
        if name in pairs and pairs[name] != value:
            raise InputError(f"{name!r} is given twice, as {pairs[name]!r} and {value!r}", option)
        pairs[name] = value
    return pairs


def seconds(text: str | None) -> float | None:
    """``"90s"``, ``"30m"``, ``"1h30m"`` as seconds; None stays None."""
    if text is None:
        return None
    found = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower()
    )
    total = (
        sum(float(n) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True) if n)
        if found
        else 0.0
    )
    if not total:
        raise InputError(f"found {text!r}, expected a time such as 90s, 30m or 1h30m", "--max-time")
    return total


def read_options(
    *, targets: tuple[str, ...] = (), map: list[str] | None = None, units: list[str] | None = None, level: str = "",
    conformers: int = 1, seed: int = 0, on_bad: OnBadName = "raise", properties: Sequence[PropertyConfig] = (),
    target_irreps: list[str] | None = None,
) -> ReadOptions:  # fmt: skip
    """What the options say about the files to read, and the ``properties`` of a checkpoint about its own targets."""
    from atomfield.data.quantities import PER_ATOM, VOCABULARY
    from atomfield.data.readers import ReadOptions

    own = [p for p in properties if p.name in targets]
    declared = {
        p.name: p.irreps + (PER_ATOM if p.support == "node" else "")
        for p in own
        if p.name not in VOCABULARY and (p.irreps not in ("0e", "0o") or p.support == "node")
    } | paired(target_irreps, "--target-irreps")

    return ReadOptions(
        map=paired(map, "--map"), targets=targets, conformers=conformers, seed=seed, on_bad=on_bad, level=level,
        units=paired(units, "--units"), declared=declared, classes={p.name: p.classes for p in own if p.classes},
    )  # fmt: skip


# ---------------------------------------------------------------- building
def device_of(name: DeviceName) -> torch.device:
    """The device that ``--device`` names; raises ``InputError`` where it is not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("found no GPU that torch can use; take --device cpu", "--device cuda")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_net(checkpoint: Path, device: DeviceName, dtype: DtypeName | None) -> AtomFieldNet:
    """The network of a checkpoint, where and as precise as the options say."""
    import torch

    from atomfield.models.checkpoint import load

    precision = {"float32": torch.float32, "float64": torch.float64, None: None}[dtype]
    return load(checkpoint, device_of(device), precision)


def opened(
    source: str, options: ReadOptions, max_bad: float, bad: list[BadRecord] | None = None
) -> Sequence[Graph]:
    """The records of a source; tells on stderr what was skipped, and raises ``InputError`` where it was more than ``max_bad``.
    bad: what was skipped goes there too."""
    from atomfield.data.checks import check_share
    from atomfield.data.source import open_source

    bad = [] if bad is None else bad
    graphs = open_source(source, options, bad)
    tell_skipped(bad)
    check_share(bad, len(graphs), max_bad, source)
    return graphs


def tell_skipped(bad: list[BadRecord]) -> None:
    """Say on stderr what was skipped: the number, and the first three; and how many were only without a label."""
    gaps = [one for one in bad if one.gap]
    bad = [one for one in bad if not one.gap]
    if gaps:
        what = "1 record has" if len(gaps) == 1 else f"{len(gaps)} records have"
        typer.echo(f"{what} no label of a target and are left out, the first: {gaps[0].where}", err=True)
    if not bad:
        return
    typer.echo(f"skipped {len(bad)} bad record{'s' if len(bad) > 1 else ''}:", err=True)
    for one in bad[:3]:
        typer.echo(f"  {one.where}: {one.message}", err=True)
    if len(bad) > 3:
        typer.echo(f"  and {len(bad) - 3} more", err=True)
