"""How a ``Graph`` lies in a row of a store: flat columns, lossless, nothing stored that follows from the rest.

=====================  ==========================================================================================
column                 content
=====================  ==========================================================================================
``world`` ...          ``level``, ``dataset``, ``group``, ``formula``, ``id``, ``file``, ``licence``: text
``num_nodes`` ...      ``num_times``, ``record``, ``line``: integers; ``spacing``: float; ``pbc``: bits 1, 2, 4
``positions64/32``     3N floats; 32 when every number is a float32 exactly. Absent where ``axes`` say them all
``axes``               coordinates along each axis of a grid in C order (``grid_shape``), instead of positions
``species``            N bytes, absent for fields; ``node_type`` N bytes, absent where it is the default
``cell``, ``times``    9 and T floats, absent if zero or none; ``volume``: N floats, or one where all are equal
``q64/NAME q32/NAME``  a quantity, flattened in C order; ``n64/NAME``: the same of ``next_quantities``
``c/NAME``             a condition; null is unknown
``e/KIND/senders``     ``receivers``, ``shift`` (absent if zero): mesh and nearest-neighbour edges. Grid edges follow from
                       ``grid_shape`` and ``pbc``; radius edges are never stored
``b/pairs b/kind``     bonds, two atoms and one byte each: type, + 8 if conjugated, + 16 if in a ring. Null: bonds not known
``layout``             JSON of what the defaults above do not say about the quantities of the row
=====================  ==========================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from .bonds import Bonds
from .errors import Provenance
from .formula import formula
from .graph import EdgeKind, Edges, Graph, NodeType
from .neighbors import grid_edges
from .quantities import VOCABULARY, Quantity

_TEXT = ("world", "level", "dataset", "group", "formula", "id", "file", "licence", "layout")
_INTEGERS = ("num_nodes", "num_times", "record", "line")
ALWAYS = (*_TEXT, *_INTEGERS, "spacing", "pbc")
"""Columns that are in every table, even if no row says its ``record`` or ``line``."""
_EDGE_KINDS: tuple[EdgeKind, ...] = ("mesh", "knn", "grid")
_CONJUGATED, _IN_RING = 8, 16
Row = dict[str, Any]


def arrow_type(column: str) -> pa.DataType:
    """The Arrow type of a column, which its name alone decides."""
    if column in _TEXT:
        return pa.string()
    if column in _INTEGERS:
        return pa.int64()
    if column == "pbc":
        return pa.uint8()
    if column == "spacing" or column.startswith("c/"):
        return pa.float64()
    if column in ("species", "node_type", "b/kind"):
        return pa.large_list(pa.uint8())
    if column in ("grid_shape", "b/pairs") or (
        column.endswith(("/senders", "/receivers")) and column.startswith("e/")
    ):
        return pa.large_list(pa.int32())
    if column.startswith("e/"):
        return pa.large_list(pa.int8())
    if column == "positions32" or column.startswith(("q32/", "n32/", "volume32")):
        return pa.large_list(pa.float32())
    return pa.large_list(pa.float64())


def table_of(rows: list[Row]) -> pa.Table:
    """One table, one row per record; a column that a row lacks is null there."""
    names = sorted({name for row in rows for name in row})
    columns = []
    for name in names:
        kind = arrow_type(name)
        values = [row.get(name) for row in rows]
        columns.append(_list_array(values, kind) if pa.types.is_large_list(kind) else pa.array(values, kind))
    return pa.table(columns, names=names)


def _list_array(values: list[np.ndarray | None], kind: pa.DataType) -> pa.Array:
    lengths = np.array([0 if v is None else len(v) for v in values], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    present = [v for v in values if v is not None]
    dtype = kind.value_type.to_pandas_dtype()
    flat = np.concatenate(present).astype(dtype, copy=False) if present else np.zeros(0, dtype)
    missing = np.array([v is None for v in values])
    return pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()),
        pa.array(flat, kind.value_type),
        type=kind,
        mask=pa.array(missing) if missing.any() else None,
    )


# ---------------------------------------------------------------------- encode
def encode(graph: Graph) -> Row:
    """The row of one graph."""
    where = graph.provenance
    row: Row = {
        "world": graph.world,
        "level": graph.level,
        "dataset": graph.dataset,
        "group": graph.group,
        "formula": formula(graph),
        "id": graph.id,
        "file": where.file,
        "licence": where.licence,
        "record": where.record,
        "line": where.line,
        "num_nodes": graph.num_nodes,
        "num_times": graph.num_times,
        "spacing": float(graph.spacing),
        "pbc": sum(bit for bit, periodic in zip((1, 2, 4), graph.pbc.tolist(), strict=True) if periodic),
    }
    _encode_points(graph, row)
    layout: dict[str, list[Any]] = {}
    for prefix, quantities in (("q", graph.quantities), ("n", graph.next_quantities)):
        for name, value in quantities.items():
            _encode_quantity(graph, prefix, name, value, row, layout)
    row["layout"] = json.dumps(layout, separators=(",", ":"), sort_keys=True) if layout else ""
    for name, number in graph.conditions.items():
        row[f"c/{name}"] = float(number)
    for kind in _EDGE_KINDS:
        if kind in graph.edges and not (kind == "grid" and "grid_shape" in row):
            edges = graph.edges[kind]
            row[f"e/{kind}/senders"], row[f"e/{kind}/receivers"] = edges.index.numpy().astype(np.int32)
            if edges.shift.any():
                row[f"e/{kind}/shift"] = edges.shift.numpy().reshape(-1)
    if graph.bonds is not None:
        row["b/pairs"] = graph.bonds.index.numpy().T.reshape(-1)
        row["b/kind"] = _bond_bytes(graph.bonds)
    return row


def _bond_bytes(bonds: Bonds) -> np.ndarray:
    flags = _CONJUGATED * bonds.conjugated.numpy() + _IN_RING * bonds.in_ring.numpy()
    return (bonds.kind.numpy() + flags).astype(np.uint8)


def bonds_of_bytes(pairs: np.ndarray, code: np.ndarray) -> Bonds:
    """The inverse of what is stored: ``pairs [2 B]`` node numbers and ``code [B]``."""
    code = code.astype(np.int64)
    return Bonds(
        torch.from_numpy(np.ascontiguousarray(pairs.reshape(-1, 2).T.astype(np.int64))),
        torch.from_numpy(code % _CONJUGATED),
        torch.from_numpy((code & _CONJUGATED) > 0),
        torch.from_numpy((code & _IN_RING) > 0),
    )


def _encode_points(graph: Graph, row: Row) -> None:
    positions = graph.positions.numpy()
    shape = _grid_shape(graph)
    if shape is not None:
        row["grid_shape"] = np.array(shape, dtype=np.int32)
        axes = _axes(positions, shape)
        if axes is not None:
            row["axes"] = axes
    if "axes" not in row:
        row["positions" + _bits(positions)] = positions.reshape(-1)
    species, node_type, cell = graph.species.numpy(), graph.node_type.numpy(), graph.cell.numpy()
    if species.any():
        row["species"] = species
    default = NodeType.INTERIOR if graph.world == "field" else NodeType.ATOM
    if (node_type != int(default)).any():
        row["node_type"] = node_type
    if cell.any():
        row["cell"] = cell.reshape(-1)
    if graph.times is not None:
        row["times"] = np.asarray(graph.times, dtype=np.float64)
    if graph.volume is not None:
        volume = np.asarray(graph.volume, dtype=np.float64)
        row["volume" + _bits(volume)] = (
            volume[:1] if len(volume) > 1 and (volume == volume[0]).all() else volume
        )


def _encode_quantity(
    graph: Graph, prefix: str, name: str, value: torch.Tensor, row: Row, layout: dict[str, list[Any]]
) -> None:
    if value.dtype not in (torch.float32, torch.float64):
        value = value.to(torch.float32)
    array = value.detach().cpu().numpy()
    shape = graph.definition(name).shape
    plain_ndim = len(shape) + (graph.definition(name).support == "node")
    timed = array.ndim > plain_ndim
    kept = None
    if graph.world == "field" and shape == (3,):  # a plane's vectors have components that are zero everywhere
        kept = [k for k in range(3) if array[..., k].any()]
        kept = None if len(kept) == 3 else kept
        if kept is not None:
            array = array[..., kept]
    bits = _bits(array)
    row[f"{prefix}{bits}/{name}"] = np.ascontiguousarray(array).reshape(-1)
    widened = bits == "32" and value.dtype == torch.float64
    if timed or widened or kept is not None:
        layout[f"{prefix}/{name}"] = [int(timed), int(widened), kept]


def _bits(array: np.ndarray) -> str:
    """``"32"`` if every number is a float32 exactly, else ``"64"``."""
    if array.dtype == np.float32:
        return "32"
    with np.errstate(over="ignore", under="ignore"):
        return "32" if bool((array.astype(np.float32).astype(np.float64) == array).all()) else "64"


def _grid_shape(graph: Graph) -> tuple[int, ...] | None:
    """The grid whose stencil the graph's grid edges are, or None. Found from the coordinates if the graph does not say."""
    if "grid" not in graph.edges:
        return None
    shape = graph.grid_shape
    if shape is None:
        sizes = [len(np.unique(x)) for x in graph.positions.numpy().T]
        while len(sizes) > 1 and sizes[-1] == 1:
            sizes.pop()
        shape = tuple(sizes)
    if int(np.prod(shape)) != graph.num_nodes:
        return None
    expected, found = _grid_edges(shape, _flags(graph)), graph.edges["grid"]
    same = found is expected or (
        torch.equal(expected.index, found.index) and torch.equal(expected.shift, found.shift)
    )
    return shape if same else None


def _flags(graph: Graph) -> tuple[bool, bool, bool]:
    x, y, z = (bool(p) for p in graph.pbc)
    return x, y, z


@lru_cache(maxsize=64)
def _grid_edges(shape: tuple[int, ...], pbc: tuple[bool, bool, bool]) -> Edges:
    return grid_edges(shape, pbc[: len(shape)])


def _axes(positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Coordinates along each axis, concatenated, if together they say every position exactly."""
    if len(shape) > 3:
        return None
    grid = positions.reshape(*shape, 3)
    axes = [
        grid[tuple(slice(None) if i == d else 0 for i in range(len(shape)))][:, d] for d in range(len(shape))
    ]
    flat = np.concatenate(axes)
    return flat if np.array_equal(_positions_of(flat, shape), positions) else None


def _positions_of(axes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    parts = np.split(axes, np.cumsum(shape)[:-1])
    positions = np.zeros((int(np.prod(shape)), 3))
    for d, x in enumerate(np.meshgrid(*parts, indexing="ij")):
        positions[:, d] = x.reshape(-1)
    return positions


# ---------------------------------------------------------------------- decode
def decode(get: Callable[[str], Any], names: tuple[str, ...], properties: Mapping[str, Quantity]) -> Graph:
    """The graph of one row. ``get(column)`` is the row's value (arrays may be read-only views) or None."""
    num_nodes, world = get("num_nodes"), get("world")
    bits = get("pbc")
    flags = (bool(bits & 1), bool(bits & 2), bool(bits & 4))
    shape_list = get("grid_shape")
    grid_shape = None if shape_list is None else tuple(int(n) for n in shape_list)
    axes = get("axes")
    if axes is not None:
        assert grid_shape is not None
        positions = torch.from_numpy(_positions_of(axes, grid_shape))
    else:
        flat = get("positions64")
        flat = get("positions32") if flat is None else flat
        positions = torch.from_numpy(np.array(flat, dtype=np.float64)).view(num_nodes, 3)
    species, node_type = get("species"), get("node_type")
    default = NodeType.INTERIOR if world == "field" else NodeType.ATOM
    cell, times = get("cell"), get("times")
    volume = get("volume64")
    volume = get("volume32") if volume is None else volume
    if volume is not None:
        volume = torch.from_numpy(np.array(volume, dtype=np.float64)).expand(num_nodes).clone()
    plan = _plan(names)
    conditions = {n[2:]: float(value) for n in plan.conditions if (value := get(n)) is not None}
    quantities, later = _decode_quantities(get, plan.quantities, properties, num_nodes, get("num_times"))
    used = {name: properties[name] for name in (*quantities, *later) if name in properties}
    return Graph.trusted(
        {
            "positions": positions,
            "species": torch.zeros(num_nodes, dtype=torch.int64)
            if species is None
            else torch.from_numpy(species.astype(np.int64)),
            "world": world,
            "node_type": torch.full((num_nodes,), int(default), dtype=torch.int64)
            if node_type is None
            else torch.from_numpy(node_type.astype(np.int64)),
            "cell": torch.zeros(3, 3, dtype=torch.float64)
            if cell is None
            else torch.from_numpy(np.array(cell)).view(3, 3),
            "pbc": torch.tensor(flags),
            "volume": volume,
            "edges": _decode_edges(get, names, grid_shape, flags),
            "quantities": quantities,
            "next_quantities": later,
            "conditions": conditions,
            "level": get("level"),
            "dataset": get("dataset"),
            "group": get("group"),
            "times": None if times is None else torch.from_numpy(np.array(times)),
            "spacing": get("spacing"),
            "properties": used,
            "provenance": Provenance(get("file"), get("record"), get("line"), get("licence")),
            "grid_shape": grid_shape,
            "id": get("id") or "",
            "bonds": None if (pairs := get("b/pairs")) is None else bonds_of_bytes(pairs, get("b/kind")),
        }
    )


class _Plan(NamedTuple):
    """Which columns of a shard are conditions and which are quantities."""

    conditions: tuple[str, ...]
    quantities: tuple[str, ...]


@lru_cache(maxsize=256)
def _plan(names: tuple[str, ...]) -> _Plan:
    return _Plan(
        tuple(n for n in names if n.startswith("c/")),
        tuple(n for n in names if n.startswith(("q32/", "q64/", "n32/", "n64/"))),
    )


@lru_cache(maxsize=256)
def _layout(text: str) -> dict[str, list[Any]]:
    return json.loads(text) if text else {}


def _decode_quantities(
    get: Callable[[str], Any],
    names: tuple[str, ...],
    properties: Mapping[str, Quantity],
    num_nodes: int,
    num_times: int,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    layout = _layout(get("layout"))
    found: dict[str, dict[str, torch.Tensor]] = {"q": {}, "n": {}}
    for column in names:
        flat = get(column)
        if flat is None:
            continue
        prefix, name = column[0], column[4:]
        timed, widened, kept = layout.get(f"{prefix}/{name}", (0, 0, None))
        q = properties.get(name) or VOCABULARY[name]
        lead = ((num_times,) if timed else ()) + ((num_nodes,) if q.support == "node" else ())
        dtype = np.float64 if widened else flat.dtype
        if kept is None:
            array = np.array(flat, dtype=dtype).reshape((*lead, *q.shape))
        else:
            array = np.zeros((*lead, *q.shape), dtype=dtype)
            array[..., kept] = flat.reshape((*lead, len(kept)))
        found[prefix][name] = torch.from_numpy(array)
    return found["q"], found["n"]


def _decode_edges(
    get: Callable[[str], Any],
    names: tuple[str, ...],
    grid_shape: tuple[int, ...] | None,
    pbc: tuple[bool, bool, bool],
) -> dict[EdgeKind, Edges]:
    edges: dict[EdgeKind, Edges] = {}
    if grid_shape is not None:
        edges["grid"] = _grid_edges(grid_shape, pbc)
    for kind in _EDGE_KINDS:
        if f"e/{kind}/senders" not in names or (senders := get(f"e/{kind}/senders")) is None:
            continue
        index = torch.from_numpy(np.stack([senders, get(f"e/{kind}/receivers")]).astype(np.int64))
        shift = get(f"e/{kind}/shift") if f"e/{kind}/shift" in names else None
        edges[kind] = Edges(
            index,
            torch.zeros(len(senders), 3, dtype=torch.int64)
            if shift is None
            else torch.from_numpy(shift.astype(np.int64)).view(-1, 3),
        )
    return edges
