"""What a first run gets wrong, found before any training: each is one message that says what to do.

Some are certain and always an error (too few records, a target that never changes, one class, the training file as test file).
Others are almost certain (units, signs, a forgotten charge or spin, energies of two kinds): ``--on-wrong report`` prints them and
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from atomfield.data.checks import audit
from atomfield.data.checks.overlap import molecule_name
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import PER_FRAGMENT
from atomfield.data.references import fit_level
from atomfield.data.source import split_part

from .config import FinetuneConfig
from .tasks import Task

SURFACE = {"energy", "forces", "stress"}
MOST_AUDITED = 2000
"""Records, evenly spread, whose units and signs are weighed against nature."""
LEAST_FOR_ROWS = 20
"""Labels that must count records one by one before they are called row numbers."""
NEAR_ZERO, FAR = 1.0, 5.0
"""eV per atom: interaction energies are below the first, totals above the second."""
CONTRADICTS = 0.5
"""Of the standard deviation of all labels, by which two labels of one molecule differ when they contradict each other."""
OTHER_ZERO = 5.0
"""eV per atom by which the median record of one set may miss the references of another."""

Say = Callable[[str], None]


def check_sources(config: FinetuneConfig) -> None:
    """Refuse a source that is both for training and for judging, or for validation and for the test, also as a part of a store
    and the whole of it, and one that is given twice."""
    for option, sources in (("--train", config.train), ("--valid", config.valid), ("--test", config.test)):
        for number, source in enumerate(sources):
            if any(_shared(source, other) for other in sources[:number]):
                raise InputError(
                    "holds records of another source of the same option, which would count twice; give each once",
                    f"{option} {source}",
                )
            if option == "--test" and any(_shared(source, other) for other in config.valid):
                raise InputError(
                    "the same source is given as --valid, whose records choose the weights and calibrate the intervals; give "
                    "other records, or leave --test out for a report about the validation records",
                    f"--test {source}",
                )
            for other in config.train if option != "--train" else ():
                if _shared(source, other):
                    raise InputError(
                        f"the same source is given as --train {other}: errors on training records say nothing; give other "
                        f"records, or leave {option} out to hold some out",
                        f"{option} {source}",
                    )


def check_records(
    config: FinetuneConfig,
    task: Task,
    train: Sequence[Graph],
    others: Mapping[str, Sequence[Graph]],
    say: Say,
) -> None:
    """Look at the training records, and at ``others`` (name of a part -> records) beside them. Raises ``InputError`` for a
    mistake; ``say`` gets those that ``on_wrong: report`` lets pass."""
    count = len(train) + len(others.get("valid", ()))
    if task.world == "atoms" and count < config.least_records:
        raise InputError(
            f"{count} records for training and validation, expected at least {config.least_records}: no error could be told "
            "from chance; add records (or insist with --set least_records=1)",
            ", ".join(config.train),
        )
    for name in task.names:
        _check_answered(name, train)
        _check_varies(name, train, task)
    for part in (train, *others.values()):
        _check_kind(task, part)
    judged = next((others[n] for n in ("test", "valid") if others.get(n)), ())
    if judged and not any(is_answered(g, name) for g in judged for name in task.names):
        raise InputError(
            f"none of the {len(judged)} records that the report is about has a label that can be compared with an answer",
            judged[0].provenance,
        )
    for name in task.properties:
        _check_rows(name, train)
        if told := _contradictions(name, [*train, *others.get("valid", ())], config.classes.get(name, ())):
            say(told)
    doubts = _doubts(task, train, {"train": train, **others})
    for where, message in doubts:
        if config.on_wrong == "raise":
            raise InputError(f"{message} (if it is meant: --on-wrong report)", where)
        say(f"{where}: {message}")


def _doubts(task: Task, train: Sequence[Graph], parts: dict[str, Sequence[Graph]]) -> list[tuple[str, str]]:
    """(where, what) of each mistake that is almost certain."""
    if task.world != "atoms":
        return []
    found: list[tuple[str, str]] = []
    if SURFACE & set(task.names):
        picked = train
        if len(train) > MOST_AUDITED:
            picked = [train[i] for i in np.linspace(0, len(train) - 1, MOST_AUDITED).astype(int)]
        found += [(f.where, f"{f.message}; {f.advice}") for f in audit(picked).wrong]
    if "energy" in task.names:
        found += _kinds_of_energy(train)
        found += [
            d for name, graphs in parts.items() if name != "train" for d in _other_zero(train, graphs, name)
        ]
    return found + [d for graphs in parts.values() for d in _electrons(graphs)]


# ---------------------------------------------------------------- labels
def is_answered(graph: Graph, name: str) -> bool:
    """Whether a record has a label of ``name`` that predictions can be compared with: a dipole only where nothing is periodic, a
    stress only where all directions are."""
    if name not in graph.quantities or graph.world == "field":
        return name in graph.quantities
    return not bool(graph.pbc.any()) if name == "dipole" else name != "stress" or bool(graph.pbc.all())


def _check_kind(task: Task, graphs: Sequence[Graph]) -> None:
    """Records that could only be found wanting after the training."""
    for graph in graphs:
        if (graph.world == "field") != (task.world == "field"):
            raise InputError(
                f"found a {graph.world} among records of {'fields' if task.world == 'field' else 'atoms'}, expected one of them",
                graph.provenance,
            )
        if task.world == "field" and not task.steady and graph.num_times < 2:
            raise InputError(
                "a field record has 1 time among trajectories, expected at least 2 to learn or judge a step; leave it out",
                graph.provenance,
            )


def _check_answered(name: str, train: Sequence[Graph]) -> None:
    labelled = [g for g in train if name in g.quantities]
    lost = [g for g in labelled if not is_answered(g, name)]
    if name == "dipole" and lost:
        raise InputError(
            f"{len(lost)} of {len(labelled)} records with a dipole are periodic, where it depends on which image of each atom is "
            "listed and is not predicted; leave them out, or write molecules in a box without periodicity (pbc F F F)",
            lost[0].provenance,
        )
    if name == "stress" and len(lost) == len(labelled) > 0:
        raise InputError(
            f"none of {len(labelled)} records with a stress is periodic in three directions, where alone it is predicted; take "
            "stress out of --target",
            lost[0].provenance,
        )


def _check_varies(name: str, graphs: Sequence[Graph], task: Task) -> None:
    labelled = [g for g in graphs if name in g.quantities]
    if not labelled:
        return  # what is missing altogether is told elsewhere
    where = labelled[0].provenance.file or "training records"
    if task.world == "field":
        if not task.steady and not any(_evolves(g, name) for g in labelled):
            raise InputError(
                f"{name!r} has no time in the {len(labelled)} training records that have it: it is an input that stands still, "
                "which is no target",
                where,
            )
        if not task.steady and all(
            bool((g.quantities[name] == g.quantities[name][:1]).all()) for g in labelled
        ):
            raise InputError(
                f"{name!r} is the same at all times of every training trajectory, so there is nothing to learn",
                where,
            )
        return
    values = [g.quantities[name].double().numpy() for g in labelled]
    if name == "forces":
        if not any(v.any() for v in values):
            raise InputError(
                f"all forces of {len(values)} training records are zero, expected the gradient of the energy",
                where,
            )
        return
    known = [v for v in values if np.isfinite(v).all()]
    if len(known) < 2 or any(v.shape != known[0].shape or not np.array_equal(v, known[0]) for v in known[1:]):
        return
    value = known[0].ravel()[0]
    if name in task.properties and known[0].size == 1 and value in (0.0, 1.0):
        raise InputError(
            f"all {len(known)} training labels of {name!r} are {value:g}: one class only, so there is nothing to tell apart; "
            "add records of the other class, or split by another rule",
            where,
        )
    shown = f"{value:g}" if known[0].size == 1 else "the same"
    raise InputError(
        f"all {len(known)} training labels of {name!r} are {shown}: the target is constant; is this the column you mean?",
        where,
    )


def _evolves(graph: Graph, name: str) -> bool:
    q = graph.definition(name)
    return graph.times is not None and graph.quantities[name].ndim == 1 + (q.support == "node") + len(q.shape)


def _check_rows(name: str, graphs: Sequence[Graph]) -> None:
    """Labels that count the records are the number of the row, read as a property."""
    pairs = {
        (g.provenance.record, float(g.quantities[name]))
        for g in graphs
        if name in g.quantities and g.provenance.record is not None and g.quantities[name].numel() == 1
    }
    if len(pairs) >= LEAST_FOR_ROWS and len({value - record for record, value in pairs}) == 1:
        raise InputError(
            f"the values of {name!r} count the records one by one: this column is a row number, not a property; choose another "
            "--target",
            graphs[0].provenance.file,
        )


def _contradictions(name: str, graphs: Sequence[Graph], classes: Sequence[str] = ()) -> str:
    """A sentence where rows of one molecule have labels far from each other: one of them is wrong, or they were measured under
    other conditions, which the model is not told."""
    rows: dict[str, dict[tuple[str, int | None], Graph]] = {}
    for g in graphs:
        if (molecule := molecule_name(g)) and name in g.quantities and g.quantities[name].ndim == 0:
            rows.setdefault(molecule, {})[g.provenance.file, g.provenance.record] = g
    labels = {m: [float(g.quantities[name]) for g in its.values()] for m, its in rows.items()}
    values = [v for its in labels.values() for v in its]
    if not values or len(labels) == len(values):
        return ""
    of_classes = bool(classes) or set(values) <= {0.0, 1.0}
    least = 0.0 if of_classes else CONTRADICTS * float(np.std(values))
    far = [m for m, its in labels.items() if max(its) - min(its) > least]
    if not far:
        return ""
    first, second = (
        choose(rows[far[0]].values(), key=lambda g: float(g.quantities[name])) for choose in (min, max)
    )
    shown = [
        classes[int(g.quantities[name])] if classes else f"{float(g.quantities[name]):g}"
        for g in (first, second)
    ]
    return (
        f"{name}: {len(far)} molecules stand in several records with labels that contradict each other, the first: {shown[0]} in "
        f"{first.provenance} and {shown[1]} in {second.provenance}; all are trained on"
    )


# ---------------------------------------------------------------- energies
def _kinds_of_energy(graphs: Sequence[Graph]) -> list[tuple[str, str]]:
    """Totals and interaction energies in one set: both near zero and far from it, of the same elements."""
    near: list[Graph] = []
    far: list[Graph] = []
    for g in graphs:
        if "energy" in g.quantities and g.num_nodes > 1:
            energy = abs(float(g.quantities["energy"])) / g.num_nodes
            (near if energy < NEAR_ZERO else far if energy > FAR else []).append(g)
    elements = {int(z) for g in far for z in g.species}
    near = [g for g in near if {int(z) for z in g.species} <= elements]
    least = max(2, len(graphs) // 100)
    if len(near) < least or len(far) < least:
        return []
    message = (
        f"{len(far)} records have energies of more than {FAR:g} eV per atom and {len(near)} of less than {NEAR_ZERO:g} with the "
        f"same elements, such as {near[0].provenance}: total energies and interaction (or relative) energies are mixed; give "
        "one kind, or each its own --level"
    )
    return [(far[0].provenance.file or "training records", message)]


def _other_zero(train: Sequence[Graph], others: Sequence[Graph], name: str) -> list[tuple[str, str]]:
    """Energies of another part that the references of the training records miss by far: another unit, or another zero."""
    counts, energies = _compositions(train)
    rest, its = _compositions(others)
    if len(energies) == 0 or len(its) == 0:
        return []
    fit = fit_level("train", counts, energies)
    seen = np.zeros(counts.shape[1], dtype=bool)
    seen[list(fit.energies)] = True
    table = np.zeros(counts.shape[1])
    table[list(fit.energies)] = list(fit.energies.values())
    usable = ~(rest[:, ~seen] > 0).any(1)
    if usable.sum() < 2:
        return []
    missed = float(np.median(np.abs(its - rest @ table)[usable] / rest[usable].sum(1)))
    if missed < max(OTHER_ZERO, 20 * fit.residual):
        return []
    message = (
        f"the references of the training records miss the energies of the {name} records by {missed:.1f} eV per atom (median): "
        "these are of another unit or kind (total against interaction energies)"
    )
    return [(f"--{name}", message)]


def _compositions(graphs: Sequence[Graph]) -> tuple[np.ndarray, np.ndarray]:
    labelled = [g for g in graphs if "energy" in g.quantities]
    counts = [np.bincount(g.species.numpy(), minlength=119) for g in labelled]
    return np.array(counts, dtype=np.float64).reshape(-1, 119), np.array(
        [float(g.quantities["energy"]) for g in labelled]
    )


# ---------------------------------------------------------------- charge and spin
def _electrons(graphs: Sequence[Graph]) -> list[tuple[str, str]]:
    """Molecules whose number of electrons contradicts what is said, or not said, about charge and spin."""
    kinds: dict[str, list[Graph]] = {"forgotten": [], "contradicting": []}
    for g in graphs:
        kind = electrons_of(g)[0]
        if kind != "possible":
            kinds[kind].append(g)
    found = []
    for name, its in kinds.items():
        if not its:
            continue
        electrons, first = electrons_of(its[0])[1], its[0]
        if name == "forgotten":
            message = (
                f"{len(its)} of {len(graphs)} molecules have an odd number of electrons and no spin, the first "
                f"{first.provenance} with {electrons}: radicals need spin (unpaired electrons) and ions charge, as keys or "
                "columns of the file (--map charge=KEY,spin=KEY)"
            )
        else:
            charge, spin = (first.conditions.get(n, 0.0) for n in ("charge", "spin"))
            message = (
                f"{len(its)} of {len(graphs)} molecules cannot have the spin that is given, the first {first.provenance}: "
                f"{electrons} electrons at charge {charge:g} with {spin:g} unpaired; spin is the number of unpaired electrons "
                "(2S + 1 belongs under the key multiplicity)"
            )
        found.append((first.provenance.file or "records", message))
    return found


def electrons_of(graph: Graph) -> tuple[Literal["possible", "forgotten", "contradicting"], int]:
    """Whether charge and spin fit the atoms, and the number of electrons. Crystals, single atoms and charges that are no whole
    number are not judged; a charge that is not given counts as none."""
    charge = graph.conditions.get("charge", float("nan"))
    spin = graph.conditions.get("spin", float("nan"))
    charge = 0.0 if np.isnan(charge) else charge
    electrons = int(graph.species.sum()) - round(charge)
    per_fragment = any(name in graph.quantities for name in PER_FRAGMENT.values())
    whole = abs(charge - round(charge)) < 1e-6
    if graph.world == "field" or bool(graph.pbc.any()) or graph.num_nodes < 2 or per_fragment or not whole:
        return "possible", electrons
    if np.isnan(spin):
        return ("forgotten" if electrons % 2 else "possible"), electrons
    fits = abs(spin - round(spin)) < 1e-6 and (electrons - round(spin)) % 2 == 0 and abs(spin) <= electrons
    return ("possible" if fits else "contradicting"), electrons


def _shared(first: str, second: str) -> bool:
    """Whether two sources are one, or a store and a part of it; different parts of a store are two."""
    (a, part), (b, other) = (split_part(s) for s in (first, second))
    return _place(a) == _place(b) and (part == other or not (part and other))


def _place(source: str) -> str:
    path = Path(source)
    return str(path.resolve()) if path.exists() else source
