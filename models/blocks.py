"""The node-by-node parts of a layer as programs for the compiled node blocks; eager mode is in ``layers.py`` and ``backbone.py``.

Legend: ``N`` nodes, ``M`` = (lmax+1)^2, ``C`` natural and ``U`` unnatural channels, ``K`` = C + U, ``H`` radial hidden units.

Three blocks make a layer together with the edge convolution and the products at nodes: ``before`` normalises and mixes what is
sent, ``gather`` mixes what arrived and bounds the factors of the products, ``after`` mixes the products and applies the gated
update.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from .config import NetworkConfig
from .fused import NodeBlock, NodeProgram, Parameter, Piece
from .layers import BOUND_EPS, NORM_EPS, degree_slices


class Size(NamedTuple):
    """What the programs depend on."""

    lmax: int
    channels: int
    unnatural: int
    correlation: int
    hidden: int


@dataclass(frozen=True)
class Blocks:
    """``before``: x -> y, sender, receiver. ``gather``: x, gathered -> x, factors. ``after``: x, products, condition -> x."""

    before: NodeBlock
    gather: NodeBlock
    after: NodeBlock


class _Features:
    """A pair of values: natural and unnatural channels (None where there are none)."""

    def __init__(self, natural: int, unnatural: int | None):
        self.parts = (natural, unnatural)

    @property
    def natural(self) -> int:
        return self.parts[0]


class _Builder:
    """One program, with the places of its tensors and the parameters that it used."""

    def __init__(self, size: Size):
        self.p = NodeProgram()
        self.c, self.u, self.lmax = size.channels, size.unnatural, size.lmax
        self.size = (self.lmax + 1) ** 2
        self.degree = [l for l in range(self.lmax + 1) for _ in range(2 * l + 1)]
        self.inputs: dict[str, Piece] = {}
        self.outputs: list[tuple[int, Piece]] = []
        self.parameters: dict[str, Parameter] = {}

    def block(self) -> NodeBlock:
        return NodeBlock(self.p, self.inputs, self.outputs, list(self.parameters.values()))

    def _spans(self) -> list[tuple[int, int]]:
        return [(0, self.c), (self.c, self.u)]

    def features(self, name: str, rows: int | None = None) -> _Features:
        """A feature tensor ``[N, M, K]``; with ``rows`` only so many components of the natural channels, the rest is zero."""
        size = self.size
        if rows is not None:
            piece = self.inputs[name] = Piece(name, 0, rows, self.c, size, self.c + self.u)
            return _Features(self.p.input(name, rows, piece.columns), None)
        values: list[int | None] = []
        for which, (start, count) in zip("nu", self._spans(), strict=True):
            if not count:
                values.append(None)
                continue
            key = f"{name}_{which}"
            self.inputs[key] = Piece(name, start, size, count, size, self.c + self.u)
            values.append(self.p.input(key, size, count))
        assert values[0] is not None
        return _Features(values[0], values[1])

    def scalars(self, name: str, columns: int) -> int:
        self.inputs[name] = Piece(name, 0, 1, columns, 1, columns)
        return self.p.input(name, 1, columns)

    def write(self, name: str, value: int) -> None:
        rows, columns = self.p.size(value)
        self.outputs.append((value, Piece(name, 0, rows, columns, rows, columns)))

    def write_features(self, name: str, x: _Features) -> None:
        for value, (start, count) in zip(x.parts, self._spans(), strict=True):
            if value is not None:
                piece = Piece(name, start, self.size, count, self.size, self.c + self.u)
                self.outputs.append((value, piece))

    # ------------------------------------------------------------------ parts of a layer
    def _parameter(self, name: str, count: int, inner: int, outer: int) -> str:
        self.parameters[name] = Parameter(name, count, inner, outer)
        return name

    def norm(self, x: _Features, name: str, eps: float) -> _Features:
        """As :class:`EquivariantNorm`."""
        p, width = self.p, self.c + self.u
        rows = p.size(x.natural)[0]
        degree = self.degree[:rows]
        weights = p.constant([1 / ((2 * l + 1) * (self.lmax + 1) * width) for l in degree])
        total = p.constant([eps])
        for part in x.parts:
            if part is not None:
                total = p.add(total, p.sum_to(p.mul(p.mul(part, part), weights), 1, 1))
        inverse = p.rsqrt(total)
        scale = p.parameter(self._parameter(name, self.lmax + 1, 0, width), degree, width)
        found: list[int | None] = []
        for part, (start, count) in zip(x.parts, self._spans(), strict=True):
            if part is None:
                found.append(None)
            else:
                found.append(p.mul(p.mul(part, inverse), p.columns(scale, start, start + count)))
        assert found[0] is not None
        return _Features(found[0], found[1])

    def mix(self, x: _Features, name: str) -> _Features:
        """As :class:`EquivariantLinear`."""
        found: list[int | None] = []
        for which, part, count in zip(("n", "u"), x.parts, (self.c, self.u), strict=True):
            if count:
                self._parameter(f"{name}_{which}", self.lmax + 1, count, count)
            if part is None:
                found.append(None)
            else:
                degree = self.degree[: self.p.size(part)[0]]
                found.append(self.p.linear(part, f"{name}_{which}", degree, count))
        assert found[0] is not None
        return _Features(found[0], found[1])

    def dense(self, x: int, name: str, columns: int, *, bias: str = "") -> int:
        """As ``nn.Linear``, whose weight is ``[columns, inner]``."""
        inner = self.p.size(x)[1]
        value = self.p.linear(x, self._parameter(name, 1, columns, inner), [0], columns, transposed=True)
        return (
            self.p.add(value, self.p.parameter(self._parameter(bias, 1, 0, columns), [0], columns))
            if bias
            else value
        )

    def plus(self, a: _Features, b: _Features) -> _Features:
        found = [
            y if x is None else x if y is None else self.p.add(x, y)
            for x, y in zip(a.parts, b.parts, strict=True)
        ]
        assert found[0] is not None
        return _Features(found[0], found[1])

    def first(self, x: _Features) -> int:
        """Natural scalars."""
        return self.p.rows(x.natural, 0, 1)


def blocks(config: NetworkConfig, scalars_only: bool) -> Blocks:
    """The programs of a layer; ``scalars_only``: its input is zero beyond natural l = 0."""
    size = Size(
        config.lmax, config.channels, config.channels_unnatural, config.correlation, config.radial_hidden
    )
    return _blocks(size, scalars_only)


@lru_cache(maxsize=32)
def _blocks(size: Size, scalars_only: bool) -> Blocks:
    return Blocks(_before(size, scalars_only), _gather(size), _after(size))


def _before(size: Size, scalars_only: bool) -> NodeBlock:
    b = _Builder(size)
    x = b.features("x", 1 if scalars_only else None)
    y = b.mix(b.norm(x, "norm", NORM_EPS), "before")
    if scalars_only:
        b.write("y", y.natural)
    else:
        b.write_features("y", y)
    b.write("sender", b.dense(b.first(y), "to_sender", size.hidden))
    b.write("receiver", b.dense(b.first(y), "to_receiver", size.hidden, bias="basis_bias"))
    return b.block()


def _gather(size: Size) -> NodeBlock:
    b = _Builder(size)
    p = b.p
    x, gathered = b.features("x"), b.features("gathered")
    h = b.norm(x, "norm", NORM_EPS)
    a = b.plus(b.mix(gathered, "neighbors"), b.mix(h, "itself"))
    gate = b.dense(b.first(h), "element", b.c + b.u, bias="element_bias")
    parts = [
        None if part is None else p.mul(part, p.columns(gate, start, start + count))
        for part, (start, count) in zip(a.parts, b._spans(), strict=True)
    ]
    assert parts[0] is not None
    a = _Features(parts[0], parts[1])
    b.write_features("x1", b.plus(x, b.mix(a, "mix0")))
    if size.correlation > 1:
        b.write_features("factors", b.norm(a, "bound", BOUND_EPS))
    return b.block()


def _after(size: Size) -> NodeBlock:
    b = _Builder(size)
    p, c, u, lmax, width = b.p, b.c, b.u, b.lmax, b.c + b.u
    x = b.features("x")
    for power in range(1, size.correlation):
        x = b.plus(x, b.mix(b.features(f"power{power}"), f"mix{power}"))
    condition = b.scalars("condition", c)
    scalars = b.first(x)
    hidden = p.silu(
        p.add(b.dense(scalars, "up", 2 * c, bias="up_bias"), b.dense(condition, "condition_up", 2 * c))
    )
    gates = hidden
    if width * lmax + u:  # scalars are not gated
        gates = p.scale(p.sigmoid(b.dense(hidden, "gates", width * lmax + u, bias="gates_bias")), 2.0)
    natural = [p.add(scalars, b.dense(hidden, "down", c, bias="down_bias"))]
    unnatural = []
    if u:
        assert x.parts[1] is not None
        unnatural.append(p.mul(p.rows(x.parts[1], 0, 1), p.columns(gates, width * lmax, width * lmax + u)))
    for l, s in enumerate(degree_slices(lmax)[1:]):
        natural.append(p.mul(p.rows(x.natural, s.start, s.stop), p.columns(gates, l * width, l * width + c)))
        if u:
            assert x.parts[1] is not None
            part = p.rows(x.parts[1], s.start, s.stop)
            unnatural.append(p.mul(part, p.columns(gates, l * width + c, (l + 1) * width)))
    starts = [s.start for s in degree_slices(lmax)]
    for start, value in zip(starts, natural, strict=True):
        b.outputs.append((value, Piece("out", 0, p.size(value)[0], c, b.size, width, start)))
    for start, value in zip(starts, unnatural if u else [], strict=bool(u)):
        b.outputs.append((value, Piece("out", c, p.size(value)[0], u, b.size, width, start)))
    return b.block()
