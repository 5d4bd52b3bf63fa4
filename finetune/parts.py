"""The records of a run: read, held out where no validation records are given, and compared with each other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from atomfield.data.checks import Overlap, check_share, overlap
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.readers import BadRecord, ReadOptions
from atomfield.data.source import open_source
from atomfield.data.splits import split_groups
from atomfield.models import checkpoint

from .config import FinetuneConfig
from .mistakes import check_sources
from .time_order import in_blocks

logger = logging.getLogger("atomfield")

NEW_LEVEL = "finetuned"
"""The level of records that name none."""
USUAL_SHARE, MOST_SHARE, ENOUGH = 0.1, 0.2, 10
"""Validation records where none are given: a tenth of all, or so many, but no more than a fifth (a quarter, where whole groups do
not make up so many otherwise)."""
RARE, FEWEST_RARE = 0.2, 5
"""Share of the labels below which a class is rare, and groups of it that there must be to part them by themselves."""
SMALLEST_SERIES = 8
"""Times of the shortest single trajectory that is cut into training and validation blocks."""


@dataclass
class Parts:
    """Training, validation and test records of a run."""

    train: list[Graph]
    valid: list[Graph]
    test: list[Graph]
    test_is_valid: bool = False


def read_records(
    config: FinetuneConfig,
    sources: tuple[str, ...],
    console: Console,
    left_out: list[BadRecord] | None = None,
) -> list[Graph]:
    """All records of ``sources`` that have a label of a target. What was skipped, and what a store holds beside them, is said,
    and appended to ``left_out``.

    Raises ``InputError`` where no record has a label of a target.
    """
    options = ReadOptions(
        map={**config.map, **({"id": config.by_id} if config.by_id else {})},
        targets=config.target,
        conformers=config.conformers,
        seed=config.seed,
        on_bad=config.on_bad,
        level=config.level,
        units=dict(config.units),
        declared=dict(config.target_irreps),
        classes=dict(config.classes),
    )
    graphs: list[Graph] = []
    bad: list[BadRecord] = []
    others = left_out if left_out is not None else []
    for source in sources:
        skipped: list[BadRecord] = []
        its = open_source(source, options, skipped)
        check_share(skipped, len(its), config.max_bad, source)
        gaps = [one for one in skipped if one.gap]
        bad.extend(one for one in skipped if not one.gap)
        if gaps:
            left = f"{len(gaps)} of {len(its) + len(skipped)} records have no label of {' or '.join(config.target)}"
            console.print(
                f"{source}: {left}, the first: {gaps[0].where}; they are left out",
                highlight=False,
                markup=False,
            )
            others += gaps
        labelled: list[Graph] = []
        unlabelled: list[Graph] = []
        for graph in its:
            (labelled if graph.quantities.keys() & set(config.target) else unlabelled).append(graph)
        if unlabelled:
            left = f"{len(unlabelled)} of {len(its)} records have no label of {' or '.join(config.target)}"
            if not labelled:
                raise InputError(f"{left}, expected at least one that has", source)
            console.print(f"{source}: {left}; they are left out", highlight=False, markup=False)
            others += [BadRecord(g.provenance, left) for g in unlabelled]
        for line in _lacking(labelled, config.target):
            console.print(f"{source}: {line}", highlight=False, markup=False)
        graphs += labelled
    if bad:
        said = f"left out {len(bad)} bad records, the first: {bad[0].where}: {bad[0].message}"
        console.print(said, style="yellow", highlight=False, markup=False)
    others += bad
    return graphs


def _lacking(graphs: Sequence[Graph], targets: Sequence[str]) -> list[str]:
    """One line for each of several targets that some of ``graphs`` have no label of."""
    lines = []
    for target in targets:
        without = [g for g in graphs if target not in g.quantities]
        if without:
            lines.append(
                f"{len(without)} of {len(graphs)} records have no {target}, the first: {without[0].provenance}; they count for "
                "the other targets alone"
            )
    return lines


def read_parts(config: FinetuneConfig, console: Console) -> Parts:
    """Read the sources; hold out validation records by groups where none are given."""
    check_sources(config)
    if config.start != "scratch":
        checkpoint.find(config.start)  # before records are read, which may take long
    train_part = read_records(config, config.train, console)
    valid_part, test_part = (
        read_records(config, sources, console) for sources in (config.valid, config.test)
    )
    if not train_part:
        raise InputError("no record could be read", ", ".join(config.train))
    if not valid_part and len(train_part) == 1 and train_part[0].num_times >= SMALLEST_SERIES:
        train_part, valid_part = split_in_time(train_part[0], held_share(config, train_part))
        console.print(
            "one trajectory: its last part is held out for validation, after a gap of the same length"
        )
    elif not valid_part:
        train_part, valid_part = hold_out(train_part, config)
    console.print(f"{len(train_part)} training, {len(valid_part)} validation, {len(test_part)} test records")
    if not train_part or not valid_part:
        raise InputError(
            f"{len(train_part)} training and {len(valid_part)} validation records, expected at least one of each; give "
            "more data or --valid",
            ", ".join(config.train),
        )
    return Parts(train_part, valid_part, test_part or valid_part, test_is_valid=not test_part)


def hold_out(graphs: list[Graph], config: FinetuneConfig) -> tuple[list[Graph], list[Graph]]:
    """(training, validation) records, by groups. With energies, what has the only atoms of an element stays in training, without
    which the element has no reference energy, and so do single atoms, whose energies are the references."""
    groups = [g.group or str(g.provenance) for g in graphs]
    share = held_share(config, graphs)
    blocks = in_blocks(graphs, groups, share)
    least = ENOUGH if config.valid_fraction is None and graphs[0].world != "field" else 0
    kept, held = _split(groups, rare_groups(graphs, groups, config), share, config.seed, blocks, least)
    if any(blocks[i] for i in held if blocks) and {groups[i] for i in held} & {groups[i] for i in kept}:
        logger.warning(
            "%d frames follow each other in time: they are held out in blocks of neighbours, since between two training frames "
            "nothing would be found out", sum(map(bool, blocks)),
        )  # fmt: skip
    if "energy" in config.target:
        back = {*with_unseen_elements(graphs, kept, held), *(i for i in held if graphs[i].num_nodes == 1)}
        parted = {groups[i] for i in kept}  # on both sides, where the split is by record
        names = {groups[i] for i in back} - parted
        left = [i for i in held if i not in back and groups[i] not in names]
        if back and left:
            logger.info(
                "%d records stay in training: single atoms, or an element that is in no other group",
                len(held) - len(left),
            )
            kept, held = sorted({*range(len(graphs))} - {*left}), left
    return [graphs[i] for i in kept], [graphs[i] for i in held]


def _split(
    groups: Sequence[str], rare: set[str], share: float, seed: int, blocks: Sequence[str], least: int
) -> tuple[list[int], list[int]]:
    """As ``split_groups``, with the groups ``rare`` apart from the others, so that both sides get their share of them."""
    if not rare:
        return split_groups(groups, share, seed, blocks, least)
    kept: list[int] = []
    held: list[int] = []
    for side in (True, False):
        own = [i for i, group in enumerate(groups) if (group in rare) == side]
        parts = split_groups([groups[i] for i in own], share, seed)
        kept += [own[i] for i in parts[0]]
        held += [own[i] for i in parts[1]]
    return sorted(kept), sorted(held)


def rare_groups(graphs: Sequence[Graph], groups: Sequence[str], config: FinetuneConfig) -> set[str]:
    """The groups with a record of the rarest class, where a target is one of classes and the class has less than ``RARE`` of the
    labels but ``FEWEST_RARE`` groups or more; else none. Drawn with all others, the validation part could have none of them, and
    could not tell a model that denies the class from a good one."""
    if graphs[0].world == "field" or config.task == "regression":
        return set()
    for target in config.target:
        labelled = [
            i for i, g in enumerate(graphs) if target in g.quantities and g.quantities[target].ndim == 0
        ]
        counts = Counter(float(graphs[i].quantities[target]) for i in labelled)
        if len(counts) < 2 or not (target in config.classes or counts.keys() <= {0.0, 1.0}):
            continue
        label, count = min(counts.items(), key=lambda item: item[1])
        found = {groups[i] for i in labelled if float(graphs[i].quantities[target]) == label}
        if count < RARE * len(labelled) and FEWEST_RARE <= len(found) <= len(set(groups)) - FEWEST_RARE:
            return found
    return set()


def held_share(config: FinetuneConfig, graphs: Sequence[Graph]) -> float:
    """The share of the records that is held out. A 90 % interval takes at least nine validation records, and fewer choose the
    best weights by chance."""
    if config.valid_fraction is not None:
        return config.valid_fraction
    return (
        USUAL_SHARE if graphs[0].world == "field" else max(USUAL_SHARE, min(MOST_SHARE, ENOUGH / len(graphs)))
    )


def with_unseen_elements(graphs: Sequence[Graph], known: Sequence[int], asked: Sequence[int]) -> list[int]:
    """Those of the records ``asked`` that have an element which is in none of the records ``known``."""
    seen = {int(z) for i in known for z in graphs[i].species.unique()}
    return [i for i in asked if not seen.issuperset(graphs[i].species.unique().tolist())]


def level_of(config: FinetuneConfig, parts: Parts) -> str:
    """The level of theory that all records are taken for: as asked, that of the training records, or a new one.

    Raises ``InputError`` where the records are of several and none is asked for.
    """
    named = {"--train": parts.train, "--valid": parts.valid, "--test": parts.test}
    held = {o: Counter(g.level for g in graphs if g.level) for o, graphs in named.items()}
    levels = list(dict.fromkeys(level for counts in held.values() for level in counts))
    if config.level or len(levels) < 2:
        return config.level or next(iter(held["--train"]), NEW_LEVEL)
    found = "; ".join(
        f"{option} {', '.join(f'{n} of {level}' for level, n in counts.most_common(4))}"
        for option, counts in held.items()
        if counts
    )
    raise InputError(
        f"the records are of {len(levels)} levels of theory or solvers ({found}), and a finetuning is about one: their labels "
        "differ by more than an error; give records of one level, or --level NAME to take them all for one"
    )


def check_overlap(config: FinetuneConfig, parts: Parts, console: Console) -> Overlap:
    """What the records that the report is about share with the training records and what was held out of these for validation.

    Raises ``InputError`` where they are the same set, or where anything is shared and ``on_leak`` is ``raise``.
    """
    names = {"valid": ", ".join(config.valid) or "a part of --train", "test": ", ".join(config.test)}
    sets = {"test": parts.test} if not parts.test_is_valid else {}
    if config.valid or parts.test_is_valid:
        sets["valid"] = parts.valid
    found = {}
    for name, graphs in sets.items():
        held_out = name == "test" and not config.valid
        known = [*parts.train, *parts.valid] if held_out else parts.train
        its = overlap(known, graphs, config.target, f"--{name} {names[name]}")
        found[name] = replace(its, num_train=len(parts.train))
        found[name].refuse(config.on_leak if name == "test" or config.valid else "report")
        for finding in found[name].findings():
            if finding.severity != "note":
                console.print(finding.line(), style="yellow", highlight=False, markup=False)
    return found["valid"] if parts.test_is_valid else found["test"]


def split_in_time(graph: Graph, fraction: float) -> tuple[list[Graph], list[Graph]]:
    """Blocks of one trajectory: training, a gap as long as the validation block, validation."""
    size = max(2, round(fraction * graph.num_times))
    total = graph.num_times
    return [graph.window(0, total - 2 * size)], [graph.window(total - size, total)]
