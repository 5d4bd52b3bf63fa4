"""Arrays of a field file become quantities on nodes: which arrays, which axis is what, two components to three.

An array is ``[K, T, *space, *components]``; ``K`` trajectories and ``T`` times may be absent. ``space`` is the grid's shape or
``[N]`` of a mesh. Components: none for scalars; two or three for vectors (a plane's vectors get z = 0; on a line a
vector may have none and lies along x); a plane's vorticity or magnetic field may have none and lies along z. A scalar
``[*space, T]``, as MATLAB's users write it, is taken where it cannot be anything else.

What a file lacks may be given as a number: ``--map dt=0.1,spacing=0.5+0.5,periodic=1,viscosity=0.01``, a vector of the whole
record as one for each axis: ``gravity=0+-9.8``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.quantities import CONDITIONS, FIELD_INPUTS, VOCABULARY, Quantity, quantity

from .labels import logger, missing_target, warn_unread
from .options import ReadOptions

Arrays = Mapping[str, Any]
_ROUNDING = 1e-5
"""Imaginary parts below this, relative to the largest real part, are rounding of a Fourier transform."""
TIME_KEYS = ("time", "times", "t", "t-coordinate")
_WHOLE = tuple(n for n in FIELD_INPUTS if VOCABULARY[n].support == "graph")
"""Vectors of the whole record."""
_DERIVED = ("dt", "diffusion_number", "dt_over_spacing")


@dataclass(frozen=True)
class Layout:
    """What the axes of one array are: ``trajectories`` is K or 0, ``timed`` whether there is T, ``components`` as in the file,
    ``time_last`` whether T comes after the axes of space."""

    trajectories: int
    timed: bool
    components: tuple[int, ...]
    time_last: bool = False


@dataclass(frozen=True)
class FieldPlan:
    """The arrays of a file that become quantities, each with its layout; ``K`` trajectories (0: the axis is not there)."""

    layouts: dict[str, Layout]
    trajectories: int
    times: np.ndarray | None
    own: dict[str, Quantity]

    def definition(self, name: str) -> Quantity:
        """The vocabulary's entry, or the file's own."""
        return self.own.get(name) or quantity(name)


def with_numbers(arrays: Arrays, options: ReadOptions, path: Path) -> Arrays:
    """``arrays`` and the numbers that ``map`` gives for what is no array: ``dt=0.1``, ``spacing=0.5+0.5``, ``gravity=1+0``."""
    given: dict[str, Any] = {}
    for name in (*CONDITIONS, "spacing", "periodic", *_WHOLE):
        text = options.map.get(name)
        parts = [] if text is None else text.split("+")
        if text is None or text in arrays or (name in _WHOLE and all(part in arrays for part in parts)):
            continue
        try:
            numbers = np.array([float(part) for part in parts])
        except ValueError:
            raise InputError(
                f"{text!r} (for {name}) is neither an array of the file nor a number; arrays: {', '.join(arrays)}",
                str(path),
            ) from None
        if name in _WHOLE:  # components apart, like u+v
            given |= dict(zip(parts, numbers, strict=True))
        else:
            given[text] = numbers
    return {**arrays, **given} if given else arrays


def plan_fields(
    arrays: Arrays, space: tuple[int, ...], dims: int, options: ReadOptions, path: Path,
    own: Mapping[str, Quantity] | None = None,
) -> FieldPlan:  # fmt: skip
    """Find every quantity and check every shape before anything is read. ``dims``: 1, 2 or 3, of the space that is meant.
    ``own``: definitions of arrays of the file that are kept under their own names.

    Raises ``InputError`` for a missing target, for shapes that do not fit, and if no quantity is found.
    """
    times = read_times(arrays, options, path)
    own = dict(own or {})
    names = wanted(arrays, options, path, own)
    warn_unread([k for k in arrays if k not in own], options, str(path), names)
    if times is None:
        times = _times_of_step(arrays, names, space, options, path)
    layouts: dict[str, Layout] = {}
    for known in (0, 1):  # at second sight the number of trajectories is known
        count = max((layout.trajectories for layout in layouts.values()), default=0)
        for name in names:
            q = own.get(name) or quantity(name)
            shape = array_shape(arrays, options.key(name), path)
            layout = layouts.get(name) or _layout(q, shape, space, dims, times, count)
            if layout is not None:
                layouts[name] = layout
            elif known:
                raise InputError(_misfit(q, options.key(name), shape, space, dims, times), str(path))
    turned = [options.key(n) for n, layout in layouts.items() if layout.time_last]
    if turned:
        logger.info("%s: the last axis of %s is time", path, ", ".join(turned))
    if times is not None and not any(layout.timed for layout in layouts.values()):
        logger.info("%s: nothing that is read depends on time", path)
        times = None
    counts = {layout.trajectories for layout in layouts.values()} - {0}
    if len(counts) > 1:
        raise InputError(f"arrays disagree on the number of trajectories: {sorted(counts)}", str(path))
    trajectories = counts.pop() if counts else 0
    if times is None and trajectories:
        logger.warning(
            "%s: there is no time: the first axis is read as %d separate snapshots; give time or dt if it is time",
            path,
            trajectories,
        )
    for name in options.units:
        if name in names:
            logger.warning("%s: units of %s are ignored: fields stay in the units of their file", path, name)
    return FieldPlan(layouts, trajectories, times, own)


def _times_of_step(
    arrays: Arrays, names: list[str], space: tuple[int, ...], options: ReadOptions, path: Path
) -> np.ndarray | None:
    """``0, dt, 2 dt, ...`` where there is a time step; the length is that of the axis before space."""
    key = options.map.get("dt", "dt")
    if key not in arrays:
        return None
    step = np.asarray(arrays[key], dtype=np.float64).reshape(-1)
    if step.size != 1 or not np.isfinite(step).all() or step[0] <= 0:
        raise InputError(f"{key!r} (for dt) is {step[:4].tolist()}, expected one positive number", str(path))
    for name in names:
        shape = array_shape(arrays, options.key(name), path)
        for start in range(len(shape) - len(space), 0, -1):
            if shape[start : start + len(space)] == space:
                return np.arange(shape[start - 1]) * float(step[0])
    return None


def wanted(
    arrays: Arrays, options: ReadOptions, path: Path, own: Mapping[str, Quantity] | None = None
) -> list[str]:
    """Quantities to be read: targets, mapped ones, the vocabulary's own names and ``own``."""
    own = own or {}
    missing = [t for t in options.targets if any(part not in arrays for part in options.key(t).split("+"))]
    if missing:
        raise InputError(missing_target(missing, arrays, options), str(path))
    for target in options.targets:
        if target not in VOCABULARY and target not in own:
            raise InputError(
                f"target {target!r} of a field is not in the vocabulary, expected one of {', '.join(FIELD_INPUTS)}; "
                f"say what it is with --target solution --map solution={target}",
                str(path),
            )
    mapped = [n for n in options.map if n in VOCABULARY]
    for name in mapped:
        for part in options.map[name].split("+"):
            if part not in arrays:
                raise InputError(
                    f"array {part!r} (for {name}) is not in the file; arrays: {', '.join(arrays)}", str(path)
                )
    trusted = [n for n in FIELD_INPUTS if n in arrays and n not in options.map]
    taken = {part for key in options.map.values() for part in key.split("+")}
    kept = [n for n in own if n not in taken]
    names = list(dict.fromkeys([*options.targets, *mapped, *trusted, *kept]))
    if not any(n in VOCABULARY or own[n].support == "node" for n in names):
        raise InputError(
            f"no array has the name of a field quantity; arrays: {', '.join(arrays) or 'none'}; "
            f"known: {', '.join(FIELD_INPUTS)}; "
            "name one with --map velocity=KEY (or velocity=u+v for components apart)",
            str(path),
        )
    return names


def array_shape(arrays: Arrays, key: str, path: Path) -> tuple[int, ...]:
    """The shape of an array, or of the stack ``u+v`` of components."""
    shapes = [tuple(int(n) for n in arrays[part].shape) for part in key.split("+")]
    if len(set(shapes)) > 1:
        raise InputError(f"components {key!r} have different shapes: {shapes}", str(path))
    return shapes[0] if len(shapes) == 1 else (*shapes[0], len(shapes))


def _component_choices(q: Quantity, dims: int) -> list[tuple[int, ...]]:
    if q.shape == ():
        return [(), (1,)]
    if len(q.shape) == 2:
        return [(3, 3), (dims, dims)] if dims < 3 else [(3, 3)]
    choices: list[tuple[int, ...]] = [(3,)]
    if dims <= 2 and q.irreps == "1o":
        choices.append((2,))
    if dims == 1 and q.irreps == "1o":
        choices += [(1,), ()]
    if dims == 2 and q.irreps == "1e":
        choices += [(1,), ()]
    return choices


def _layout(
    q: Quantity,
    shape: tuple[int, ...],
    space: tuple[int, ...],
    dims: int,
    times: np.ndarray | None,
    trajectories: int,
) -> Layout | None:
    """What the axes are, or None if the shape does not fit. ``trajectories``: of the other arrays, 0 if not known."""
    if q.support == "graph":
        if q.shape == () and len(shape) <= 1:
            return Layout(shape[0] if shape and shape[0] > 1 else 0, False, ())
        fits = shape in (q.shape, (dims,), (2,)) or (dims == 1 and shape == ())
        return Layout(0, False, shape) if fits else None
    num_times = None if times is None else len(times)
    for components in _component_choices(q, dims):
        tail = (*space, *components)
        if shape[len(shape) - len(tail) :] != tail or len(shape) < len(tail):
            continue
        lead = shape[: len(shape) - len(tail)]
        if lead == ():
            return Layout(0, False, components)
        if num_times is not None and lead == (num_times,):
            return Layout(0, True, components)
        if num_times is not None and len(lead) == 2 and lead[1] == num_times and lead[0] > 0:
            return Layout(lead[0], True, components)
        if len(lead) == 1 and lead[0] > 0 and (num_times is None or lead[0] == trajectories):
            return Layout(lead[0], False, components)
    scalar = q.shape == () or (dims == 1 and q.irreps == "1o")
    if num_times is not None and scalar and shape == (*space, num_times):
        return Layout(0, True, (), time_last=True)
    return None


def _misfit(
    q: Quantity,
    key: str,
    shape: tuple[int, ...],
    space: tuple[int, ...],
    dims: int,
    times: np.ndarray | None,
) -> str:
    if q.support == "graph":
        return f"{key!r} has shape {list(shape)}, expected {list(q.shape)} for {q.name}"
    choices = _component_choices(q, dims)
    lead = "" if times is None else f"{len(times)}, "
    fit = " or ".join(f"[{lead}{', '.join(map(str, (*space, *c)))}]" for c in choices)
    ends = [(*space, *c) for c in choices]
    timeless = times is None and any(len(shape) == 2 + len(e) and shape[2:] == e for e in ends)
    turned = len(space) == 2 and space[::-1] != space and space[::-1] == _middle(shape, choices)
    hint = "; the axes of space are in the order x, y" if turned else ""
    if timeless:
        hint = "; if the second axis is time, give the step: --map dt=0.1, or the array of its values: --map time=KEY"
    return f"{key!r} has shape {list(shape)}, expected {fit} for {q.name} (trajectories may come first){hint}"


def _middle(shape: tuple[int, ...], choices: list[tuple[int, ...]]) -> tuple[int, ...]:
    for components in choices:
        if not components:
            return shape[-2:]
        if shape[-1:] == components:
            return shape[-3:-1]
    return ()


def read_times(arrays: Arrays, options: ReadOptions, path: Path) -> np.ndarray | None:
    """``time`` (``times``, ``t``, or as mapped), else ``dt`` and as many steps as ``num_times`` says; None without either."""
    named = options.map.get("time")
    if named is not None and named not in arrays:
        raise InputError(
            f"array {named!r} (for time) is not in the file; arrays: {', '.join(arrays)}", str(path)
        )
    key = named or next((k for k in TIME_KEYS if k in arrays), None)
    if key is None:
        return None
    times = number_array(arrays[key], key, Provenance(str(path)))
    if times.ndim == 2 and (times == times[:1]).all():
        times = times[0]
    if times.ndim != 1 or len(times) == 0:
        raise InputError(f"{key!r} has shape {list(times.shape)}, expected [T]", str(path))
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError(
            f"{key!r} does not increase from one entry to the next, expected increasing times", str(path)
        )
    return times


def quantities_at(
    arrays: Arrays,
    plan: FieldPlan,
    k: int,
    dims: int,
    num_nodes: int,
    options: ReadOptions,
    where: Provenance,
    keep: np.ndarray | None = None,
) -> dict[str, torch.Tensor]:
    """Quantities of trajectory ``k``: ``[T, N, ...]`` or ``[N, ...]``; floats stay in the precision of the file.

    ``keep``: node numbers to take. Raises ``InputError`` that names array, time and node of a number that is not finite.
    """  # fmt: skip
    out = {}
    for name, layout in plan.layouts.items():
        key, q = options.key(name), plan.definition(name)
        parts = [_slice(arrays[part], k, layout, where, part) for part in key.split("+")]
        array = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
        if layout.time_last:
            array = np.moveaxis(array, -1, 0)
        if q.support == "graph":
            if not np.isfinite(array).all():
                raise InputError(f"{key!r} is not finite, expected numbers", where)
            full = np.zeros(q.shape, dtype=array.dtype)
            full.reshape(-1)[: array.size] = array.reshape(-1)
            out[name] = torch.from_numpy(full)
            continue
        lead = (len(plan.times),) if layout.timed and plan.times is not None else ()
        array = array.reshape(*lead, num_nodes, *layout.components)
        if keep is not None:
            array = array[..., keep, :] if layout.components else array[..., keep]
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            place = f"at time {bad[0][0]}, node {bad[0][1]}" if lead else f"at node {bad[0][0]}"
            raise InputError(
                f"{key!r} is not finite {place} ({len(bad)} such numbers), expected numbers", where
            )
        full = three_components(array, q, layout.components)
        out[name] = torch.from_numpy(full if full.flags.writeable else full.copy())
    return out


def _slice(array: Any, k: int, layout: Layout, where: Provenance, key: str) -> np.ndarray:
    value = number_array(array, key, where, k if layout.trajectories else None)
    return value if value.dtype in (np.float32, np.float64) else value.astype(np.float64)


def number_array(array: Any, key: str, where: Provenance, k: int | None = None) -> np.ndarray:
    """``array[k]``, or all of it, as real numbers: a complex array whose imaginary part is rounding counts.

    Raises ``InputError`` for text, objects and complex numbers, and for what cannot be read.
    """
    try:
        value = np.asarray(array[()] if k is None else array[k])
    except (OSError, RuntimeError) as error:
        raise InputError(f"{key!r} cannot be read ({str(error)[:120]}); is the file whole?", where) from None
    if value.dtype.kind == "c":
        rest = float(np.abs(value.imag).max()) if value.size else 0.0
        if not rest <= _ROUNDING * float(np.abs(value.real).max(initial=0.0)):
            raise InputError(
                f"{key!r} is complex (imaginary parts up to {rest:.3g}), expected real numbers", where
            )
        value = value.real
    if value.dtype.kind not in "fiub":
        raise InputError(f"{key!r} holds {value.dtype}, expected numbers", where)
    return value


def three_components(array: np.ndarray, q: Quantity, components: tuple[int, ...]) -> np.ndarray:
    """Scalars as they are; vectors and tensors with three components along each axis."""
    if q.shape == ():
        return np.ascontiguousarray(array[..., 0] if components else array)
    if len(q.shape) == 2 and components != (3, 3):
        full = np.zeros((*array.shape[:-2], 3, 3), dtype=array.dtype)
        full[..., : components[0], : components[0]] = array
        return full
    if components == (3, 3):
        return np.ascontiguousarray(array)
    if components == (3,):
        return np.ascontiguousarray(array)
    base = array.shape[: array.ndim - len(components)]
    full = np.zeros((*base, 3), dtype=array.dtype)
    if components == (2,):
        full[..., :2] = array
    else:
        along = 2 if q.irreps == "1e" else 0
        full[..., along] = array[..., 0] if components else array
    return full


def conditions_at(
    arrays: Arrays, k: int, trajectories: int, options: ReadOptions, where: Provenance
) -> dict[str, float]:
    """``viscosity`` and the like: one number, or one for each trajectory."""
    out = {}
    for name in CONDITIONS:
        key = options.map.get(name, name)
        if name in _DERIVED or key not in arrays:
            continue
        value = number_array(arrays[key], key, where).astype(np.float64).reshape(-1)
        if value.size not in (1, max(trajectories, 1)):
            raise InputError(f"{key!r} has {value.size} numbers, expected 1 or {max(trajectories, 1)}", where)
        number = float(value[k] if value.size > 1 else value[0])
        if not np.isfinite(number):
            raise InputError(f"{key!r} is {number}, expected a finite number; leave it out if unknown", where)
        if number < 0 and CONDITIONS[name].scale == "log":
            raise InputError(
                f"{key!r} (for {name}) is {number:g}, expected a number that is not negative: {name} is read by its logarithm; "
                "shift it or turn its sign",
                where,
            )
        out[name] = number
    return out
