"""Boundary conditions in The Well's layout: masks along some axes become periodicity, node types and values on nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import NodeType

from .attributes import attribute, flag, text_of, texts
from .fields import number_array

_TYPES = ("periodic", "wall", "open")


class Walls:
    """The boundary conditions of trajectory ``k``: which axes are periodic, node types, and values given on nodes."""

    def __init__(
        self,
        file: Any,
        dims: tuple[str, ...],
        num_trajectories: int,
        axes: list[np.ndarray],
        k: int,
        where: Provenance,
    ):
        shape = tuple(len(a) for a in axes)
        periodic = dict.fromkeys(dims, False)
        kinds = np.full(shape, int(NodeType.INTERIOR), dtype=np.int64)
        self.values: dict[str, np.ndarray] = {}
        group = file.get("boundary_conditions", {})
        opened = []
        for name in group:
            entry, label = group[name], f"boundary_conditions/{name}"
            kind = str(text_of(attribute(entry, "bc_type", where))).lower()
            if kind not in _TYPES:
                raise InputError(f"{label} has bc_type {kind!r}, expected one of {', '.join(_TYPES)}", where)
            about = texts(attribute(entry, "associated_dims", where))
            unknown = [d for d in about if d not in dims]
            if unknown or not about:
                raise InputError(f"{label} is about {about}, expected some of {', '.join(dims)}", where)
            if kind == "periodic":
                periodic.update(dict.fromkeys(about, True))
                continue
            if "mask" not in entry:
                raise InputError(f"{label} has no mask", where)
            mask = np.asarray(number_array(entry["mask"], f"{label}/mask", where)).astype(bool)
            expected = tuple(len(axes[dims.index(d)]) for d in about)
            if flag(entry, "time_varying", where.file):
                raise InputError(f"{label} varies in time, which is not supported", where)
            if flag(entry, "sample_varying", where.file):
                if mask.ndim != len(expected) + 1 or len(mask) != num_trajectories:
                    raise InputError(
                        f"{label}/mask has shape {list(mask.shape)}, expected {[num_trajectories, *expected]}",
                        where,
                    )
                mask = mask[k]
            if mask.shape != expected:
                raise InputError(
                    f"{label}/mask has shape {list(mask.shape)}, expected {list(expected)}", where
                )
            order = np.argsort([dims.index(d) for d in about])
            spread = np.transpose(mask, order).reshape(
                [len(a) if d in about else 1 for a, d in zip(axes, dims, strict=True)]
            )
            full = np.broadcast_to(spread, shape)
            if kind == "open":
                opened.append(full)
            else:
                kinds[full] = int(NodeType.WALL)
            self._take_values(entry, label, name, mask, spread.shape, shape, order, where)
        for full in opened:  # a corner of a wall and an open side is wall
            kinds[full & (kinds == int(NodeType.INTERIOR))] = int(NodeType.OUTLET)
        self.periodic = tuple(periodic[d] for d in dims)
        self.node_type = (
            torch.from_numpy(kinds.reshape(-1)) if (kinds != int(NodeType.INTERIOR)).any() else None
        )

    def _take_values(
        self, entry: Any, label: str, name: str, mask: np.ndarray, spread: tuple[int, ...], shape: tuple[int, ...],
        order: np.ndarray, where: Provenance,
    ) -> None:  # fmt: skip
        if "values" not in entry or not entry["values"].size:
            return
        given = number_array(entry["values"], f"{label}/values", where).astype(np.float64)
        if given.shape != (int(mask.sum()),) or not np.isfinite(given).all():
            raise InputError(
                f"{label}/values has shape {list(given.shape)}, expected [{int(mask.sum())}] finite numbers as the mask says",
                where,
            )
        full = np.zeros(mask.shape)
        full[mask] = given
        self.values[name] = (
            np.broadcast_to(np.transpose(full, order).reshape(spread), shape).reshape(-1).copy()
        )
