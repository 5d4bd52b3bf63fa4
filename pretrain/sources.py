"""The records of a run and the streams over them: what is held out, how streams are called, what has no label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.sampler import UNLIMITED
from atomfield.data.source import open_source
from atomfield.data.splits import FEWEST_GROUPS, fraction_of, split_of
from atomfield.data.subset import Joined, Subset, columns_of, in_store

from .config import JUDGED, PretrainConfig
from .losses import Targets
from .streams import Stream


def opened(source: str) -> Sequence[Graph]:
    """The records of a source. An error that advises an option of other commands says how to follow it here."""
    try:
        return open_source(source)
    except InputError as error:
        advice = "skip such records with --on-bad skip"
        if advice not in error.message:
            raise
        ours = f"leave such records out with `atomfield prepare {source} --on-bad skip --out STORE`, and give the store"
        raise InputError(error.message.replace(advice, ours), error.where) from None


def select(graphs: Sequence[Graph], part: str) -> Subset:
    """Records of one part (``train`` or ``valid``): see :func:`split`."""
    train, valid = split(graphs)
    return valid if part == "valid" else train


def split(graphs: Sequence[Graph]) -> tuple[Subset, Subset]:
    """Records for training and for validation by the standing split by group (molecule, composition and prototype, trajectory);
    not read yet.

    With fewer than five groups none is held out whole: the split is by records, and of fewer than five records none is held out.
    """
    groups = columns_of(graphs)["group"]
    names = [group or str(graphs[i].provenance) for i, group in enumerate(groups)]
    sides = {name: split_of(name) for name in dict.fromkeys(names)}
    if len(sides) >= FEWEST_GROUPS:
        found = ([i for i, name in enumerate(names) if sides[name] == part] for part in ("train", "valid"))
        train, valid = (Subset(graphs, numbers) for numbers in found)
        return train, valid
    count = len(names)
    order = sorted(range(count), key=lambda i: fraction_of(f"{names[i]}\0record {i}", 0))
    held, test = (max(1, round(0.05 * count)), round(0.1 * count)) if count >= FEWEST_GROUPS else (0, 0)
    return Subset(graphs, sorted(order[held + test :])), Subset(graphs, sorted(order[:held]))


def stream_names(config: PretrainConfig) -> list[str]:
    """The last parts of a stream's sources, with its objective where that hides something. Losses are added up by these names,
    so a name that is taken gets a number."""
    names: list[str] = []
    for s in config.streams:
        title = "+".join(Path(source).name for source in s.sources)
        title += "" if s.objective in JUDGED else f"-{s.objective}"
        taken = {title, *(f"{title}-{n}" for n in range(2, len(names) + 2))} & {*names}
        names.append(f"{title}-{len(taken) + 1}" if taken else title)
    return names


def stream_of(
    config: PretrainConfig,
    number: int,
    sets: dict[str, Subset],
    cutoff: float,
    factors: tuple[tuple[str, float], ...],
    validation: bool = False,
) -> Stream:
    """Stream ``number`` over the records of ``sets``, by source; for ``validation`` without noise."""
    s = config.streams[number]
    own = [sets[name] for name in s.sources]
    joined = Joined(own) if len(own) > 1 else None
    sigma = 0.0 if validation else s.noise
    return Stream(
        joined or own[0],
        Targets(s.objective, noise=sigma, direct=config.forces == "direct", balance=factors),
        cutoff=cutoff,
        max_edges=s.max_edges,
        max_nodes=s.max_nodes or UNLIMITED,
        parts=joined.parts if joined else None,
        mixture="natural" if validation else s.mixture,  # a source may have no validation records
        seed=config.seed * 1000 + number,
        noise=sigma,
        fraction=s.share,
        rollout=1 if validation else s.rollout,
        micro_batches=s.micro_batches,
        weight=s.weight,
        name=stream_names(config)[number],
        fourier=config.network.fourier is not False,
    )


def without_labels(sets: dict[str, Subset], unlabelled: Iterable[tuple[int, int]]) -> list[str]:
    """Sentences on sources of which some records have no label; ``InputError`` where none has one."""
    said = []
    for number, count in unlabelled:
        name, graphs = list(sets.items())[number]
        if count == len(graphs):
            found = (
                ", ".join(sorted({*graphs[0].quantities, *graphs[0].next_quantities}))
                or "nothing but the structure"
            )
            raise InputError(
                f"none of {count} training records has a label that is learnt (the first has {found}); prepare the source with "
                "--map or --target so that it has, or give the stream another objective",
                name,
            )
        said.append(f"{name}: {count} of {len(graphs)} training records have no label")
    return said


def nameless_levels(sets: dict[str, Subset]) -> str:
    """A sentence where several sources have energies of a level of theory without a name, which are then one level."""
    first = {name: graphs[0] for name, graphs in sets.items()}
    found = [n for n, g in first.items() if g.world != "field" and not g.level and "energy" in g.quantities]
    if len(found) < 2:
        return ""
    return (
        f"Energies of {', '.join(found)} have no level of theory and count as one; if their methods differ, prepare them with "
        "--level"
    )


def fitted_on_samples(sets: dict[str, Subset], most: int) -> list[str]:
    """Sentences on sources of which a sample was read for scales and references."""
    return [
        f"{name}: scales and references are fitted on about {most} of {len(graphs)} records (fit_records), and on "
        "some more of what is rare"
        for name, graphs in sets.items()
        if len(graphs) > most and in_store(graphs)
    ]


def no_validation(streams: list[Stream], validation: list[Stream]) -> str:
    """A sentence on streams with labels that nothing judges, or nothing."""
    judged = {s.name for s in validation}
    blind = [s.name for s in streams if s.targets.objective in JUDGED and s.name not in judged]
    if not blind:
        return ""
    return (
        f"No validation records in {', '.join(blind)} (5 % of the groups of a source, by their names): nothing judges what is "
        "learnt there"
    )
