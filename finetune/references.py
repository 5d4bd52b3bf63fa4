"""Reference energies of the level that is finetuned: refitted on the new records, or carried over from the checkpoint, and shown.

Every level has its own zero of energy. An element that the new records lack may keep the reference of the level that the new one
starts from only where both levels agree about the other elements; otherwise its energy at the new level is unknown, and is said
to be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from ase.data import chemical_symbols

from atomfield.data.errors import InputError
from atomfield.data.references import NUM_SPECIES, WORST_RESIDUAL, ReferenceFit, fit_new_elements
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.normalize import Statistics, fit_references

AGREE = 1.0
"""eV per atom: two levels whose references of shared elements differ by less (RMS) have one zero of energy."""
SAME_LEVEL = 5.0
"""eV per atom: records that the references of their own level miss by more (RMS) are of another kind of energy."""


@torch.no_grad()
def set_references(
    net: AtomFieldNet, level: str, source: str | None, statistics: Statistics, mode: Literal["refit", "carry"]
) -> list[str]:
    """Write the references of ``level`` into ``net`` and return the table as lines. source: the level that it starts from
    (``level`` itself where the checkpoint knows it, None from scratch).

    Raises ``InputError`` where the records contradict what the checkpoint knows about the level, and where ``mode`` is ``carry``
    but the references carried over do not fit.
    """
    table = net.atom_head.reference[net.config.levels.index(level)]
    old = np.zeros(NUM_SPECIES)
    if source is not None:
        old = net.atom_head.reference[net.config.levels.index(source)].double().cpu().numpy().copy()
    fit = next(f for f in fit_references(statistics) if f.level == level)
    counts = np.array(statistics.counts[level], dtype=np.float64)
    energies = np.array(statistics.energies[level])
    if source == level:
        _check_same_level(level, old, counts, energies)
    if mode == "carry":
        if source is None:
            raise InputError(
                "there is nothing to carry over from --from scratch; leave it out", "references: carry"
            )
        fit = _carried(source, old, counts, energies, fit)
    for number, energy in fit.energies.items():
        table[number] = energy
    agree = source == level or _agree(old, fit)
    rows, unknown = [], []
    for number in sorted({*fit.energies, *np.flatnonzero(old).tolist()}):
        if number in fit.energies:
            kept = mode == "carry" and old[number] != 0
            how = f"carried over from {source}" if kept else f"fitted on {fit.num_records} records"
            how += " (isolated atom)" if number in fit.isolated and not kept else ""
        elif agree:
            how = f"carried over from {source}: not in the records"
        else:
            table[number] = 0.0
            unknown.append(chemical_symbols[number])
            continue
        rows.append((chemical_symbols[number], float(table[number]), float(old[number]), how))
    lines = _lines(level, source, rows, fit)
    if unknown:
        lines.append(
            f"  {', '.join(unknown)}: unknown at level {level}, since the records lack them and {source} is not known to have "
            "the same zero of energy"
        )
    return lines


def _check_same_level(level: str, old: np.ndarray, counts: np.ndarray, energies: np.ndarray) -> None:
    usable = np.asarray(~(counts[:, old == 0] > 0).any(1))
    if usable.sum() == 0:
        return
    missed = _rms_per_atom(energies - counts @ old, counts, usable)
    if missed > SAME_LEVEL:
        raise InputError(
            f"the checkpoint knows level {level!r}, but its references miss these energies by {missed:.1f} eV per atom (RMS): "
            "they are of another unit, method or kind (total against interaction energies); name them with --level, or "
            "declare the unit with --units energy=...",
            f"level {level!r}",
        )


def _carried(
    source: str, old: np.ndarray, counts: np.ndarray, energies: np.ndarray, fit: ReferenceFit
) -> ReferenceFit:
    """The references of ``source``, and fits of what is left for elements that it lacks."""
    present = np.flatnonzero(counts.sum(0))
    table = {int(z): float(old[z]) for z in present if old[z] != 0} | fit_new_elements(old, counts, energies)
    rest = energies - counts[:, list(table)] @ np.array(list(table.values()))
    left = _rms_per_atom(rest, counts, np.ones(len(rest), dtype=bool))
    if left > WORST_RESIDUAL:
        raise InputError(
            f"the references of {source!r} leave {left:.1f} eV per atom (RMS), expected below {WORST_RESIDUAL:g}: these energies "
            "have another zero; leave references at refit",
            "references: carry",
        )
    return replace(fit, energies=dict(sorted(table.items())), residual=left, isolated=(), undetermined=())


def _agree(old: np.ndarray, fit: ReferenceFit) -> bool:
    """Whether both levels have one zero of energy, by the elements that both know."""
    shared = [z for z in fit.energies if old[z] != 0 and z not in fit.undetermined]
    if not shared:
        return False
    return float(np.sqrt(np.mean([(fit.energies[z] - old[z]) ** 2 for z in shared]))) < AGREE


def _rms_per_atom(left: np.ndarray, counts: np.ndarray, used: np.ndarray) -> float:
    return float(np.sqrt(np.mean((left[used] / counts[used].sum(1)) ** 2)))


def _lines(
    level: str, source: str | None, rows: list[tuple[str, float, float, str]], fit: ReferenceFit
) -> list[str]:
    beside = "" if source in (None, level) else f"{source}, "
    lines = [
        f"Reference energies of level {level}, eV per atom (they leave {fit.residual * 1000:.0f} meV/atom RMS over "
        f"{fit.num_records} records)"
    ]
    for symbol, energy, before, how in rows:
        was = f" ({beside}before: {before:.4f})" if before else ""
        lines.append(f"  {symbol:2} {energy:12.4f}  {how}{was}")
    if fit.undetermined:
        names = ", ".join(chemical_symbols[z] for z in fit.undetermined)
        lines.append(f"  {names} do not vary on their own, so only sums of their references are determined")
    return lines
