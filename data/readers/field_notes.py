"""What a file of fields seems to hold or to be that nobody has said: numbers of each trajectory, axes that go round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.quantities import CONDITIONS, FIELD_INPUTS, VOCABULARY

from .fields import TIME_KEYS, Arrays, FieldPlan, Layout
from .labels import logger
from .options import ROLES, ReadOptions

_SYNONYMS = {
    "viscosity": ("nu", "visc", "mu", "viscosities"),
    "diffusivity": ("d", "du", "kappa", "diffusion", "alpha", "diff"),
    "wave_speed": ("c", "speed", "c0"),
    "reaction_rate": ("rate", "rho", "r"),
    "feed": ("f",),
    "kill": ("k",),
}
"""Conditions that a varying number of each trajectory may be given as, and what files often call them (small letters)."""
_LOOKED_AT = 8
"""Trajectories and times in which edges are compared."""
_LIKE_NEIGHBOURS = 1.3
"""Points across the edge differ by no more than so much of what neighbours do (RMS): they are neighbours."""
_SMOOTH = 0.8
"""Neighbours differ by less than so much of the standard deviation; of noise nothing can be told."""
_ALIVE = 0.3
"""Share of the field's standard deviation that its values along an edge must have; a field that vanishes there proves nothing."""


def say_unread(
    arrays: Arrays, plan: FieldPlan, shape: tuple[int, ...], options: ReadOptions, path: Path
) -> None:
    """A line each if fields, and numbers that differ from trajectory to trajectory, are not read: a network that is not told them
    cannot know why two states that look alike go on differently. ``shape``: of space."""
    taken = {part for key in options.map.values() for part in key.split("+")}
    known = (*CONDITIONS, *VOCABULARY, *ROLES, *TIME_KEYS, *plan.own, *taken, "dt", "node_type")
    unread = {key: array for key, array in arrays.items() if key not in known and hasattr(array, "shape")}
    fields = [key for key, array in unread.items() if _is_field(tuple(array.shape), shape, plan)]
    if fields:
        free = [n for n in FIELD_INPUTS if n not in options.map and n not in arrays]
        first = "permeability" if plan.times is None and "permeability" in free else "NAME"
        logger.warning(
            "%s: %s %s a value at every point and %s not read; if the target follows from it: --map %s=%s (names of ours for "
            "what is given or evolves: %s)",
            path, ", ".join(map(repr, fields)), *(("has", "is") if len(fields) == 1 else ("have", "are")), first,
            fields[0], ", ".join(free),
        )  # fmt: skip
    numbers = [key for key, array in unread.items() if _varies(array, plan.trajectories)]
    if numbers:
        hint = ",".join(f"{name}={key}" for name, key in _conditions_for(numbers, arrays, options).items())
        logger.warning(
            "%s: %s %s from trajectory to trajectory and %s not read; if the evolution depends on it: --map %s (any of our names "
            "that is free will do, the same one everywhere)",
            path, ", ".join(map(repr, numbers)), *(("differs", "is") if len(numbers) == 1 else ("differ", "are")), hint,
        )  # fmt: skip


def _is_field(have: tuple[int, ...], space: tuple[int, ...], plan: FieldPlan) -> bool:
    lead = [(), (plan.trajectories,)] if plan.trajectories else [()]
    if plan.times is not None:
        lead += [(*first, len(plan.times)) for first in lead]
    return any(
        have == (*first, *space, *last)
        for first in lead
        if first or len(space) > 1
        for last in ((), (1,), (2,), (3,))
    )


def _varies(array: Any, trajectories: int) -> bool:
    if trajectories < 2 or tuple(array.shape) not in ((trajectories,), (trajectories, 1)):
        return False
    values = np.asarray(array[...])
    return bool(
        values.dtype.kind in "fiu" and np.isfinite(values).all() and np.ptp(values) > 0 and values.min() >= 0
    )


def _conditions_for(keys: list[str], arrays: Arrays, options: ReadOptions) -> dict[str, str]:
    """Condition -> key: by the usual names first, then any condition that is free, as far as there are some."""
    free = [name for name in _SYNONYMS if name not in options.map and name not in arrays]
    named: dict[str, str] = {}
    for key in keys:
        own = next((n for n in free if n not in named and key.lower() in _SYNONYMS[n]), None)
        if own is not None:
            named[own] = key
    for key in keys:
        if key not in named.values() and (rest := [n for n in free if n not in named]):
            named[rest[0]] = key
    return named


def say_wraps(
    arrays: Arrays, plan: FieldPlan, shape: tuple[int, ...], periodic: tuple[bool, ...], options: ReadOptions, path: Path
) -> None:  # fmt: skip
    """One line if axes that were not said to be periodic look so: values at opposite edges differ as neighbours do."""
    if "periodic" in options.map or "periodic" in arrays or min(shape) < 8:
        return
    found = []
    for axis in range(len(shape)):
        told = [
            _wraps(arrays[key], len(shape), axis, layout.components)
            for key, layout in _plain(arrays, plan, options)
        ]
        found.append(bool(told) and all(told) and not periodic[axis])
    if any(found):
        axes = ", ".join("xyz"[i] for i, wraps in enumerate(found) if wraps)
        flags = "1" if all(found) else "+".join(str(int(wraps)) for wraps in found)
        logger.warning(
            "%s: opposite edges (%s) differ no more than neighbours do: if the domain is periodic, say --map periodic=%s; it "
            "is read as one with edges",
            path, axes, flags,
        )  # fmt: skip


def _plain(arrays: Arrays, plan: FieldPlan, options: ReadOptions) -> Iterator[tuple[str, Layout]]:
    """Arrays of nodes whose last axes are those of space, and components."""
    for name, layout in plan.layouts.items():
        key = options.key(name)
        if plan.definition(name).support == "node" and key in arrays and not layout.time_last:
            yield key, layout


def _wraps(array: Any, dims: int, axis: int, components: tuple[int, ...]) -> bool:
    lead = array.ndim - dims - len(components)
    sizes = array.shape[:lead]
    index = tuple(slice(None, None, max(1, n // _LOOKED_AT)) for n in sizes)
    values = np.moveaxis(np.asarray(array[index], dtype=np.float64), lead + axis, 0)
    across = values[0] - values[-1]
    steps = np.diff(values, axis=0)
    size = values.std()
    edge = np.concatenate([values[:1], values[-1:]]).std()
    near = np.sqrt((steps**2).mean())
    return bool(
        np.isfinite(values).all()
        and edge > _ALIVE * size > 0
        and near < _SMOOTH * size
        and np.sqrt((across**2).mean()) < _LIKE_NEIGHBOURS * near
    )
