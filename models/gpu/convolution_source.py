"""Triton source of the convolution over edges and of its derivatives: what ``fused/source.py`` is for a processor.

One program for each node, receiver or sender: it walks over the node's edges in blocks, so that every sum over the edges of a
node has one owner and one order, with no atomic additions. A tile is ``BLOCK`` edges by as many channels; channels of both parity
classes and those of the natural class alone have kernels of their own. Radial weights ``[E, P]`` and their derivatives pass
through memory: matrix products outside make them.
"""

from __future__ import annotations

from dataclasses import dataclass

from atomfield.models.fused.programs import Channel, Shape, entry, rotation
from atomfield.models.fused.source import KERNELS, Kernel

from .text import HEADER, indented, kernel, statements


@dataclass(frozen=True)
class Part:
    """Channels ``start`` to ``stop`` that one kernel does, as a power of two of ``lanes``."""

    name: str
    both: bool
    start: int
    stop: int

    @property
    def lanes(self) -> int:
        return 1 << (self.stop - self.start - 1).bit_length()


def parts_of(shape: Shape) -> list[Part]:
    """The kernels of a shape: the channels in both classes, then those in the natural class alone."""
    parts = []
    if shape.unnatural and not shape.scalars_only:
        parts.append(Part("both", True, 0, shape.unnatural))
    first = 0 if shape.scalars_only else shape.unnatural
    if shape.channels > first:
        parts.append(Part("natural", False, first, shape.channels))
    return parts


ARGUMENTS = ("start", "order", "other", "x", "g", "w", "d", "ax", "aw", "ad", "out_node", "out_w", "out_d")
"""Pointers of every kernel; those it does not use are any tensor."""


def source(shape: Shape) -> str:
    """The whole module: ``<kernel>_<part>`` for all."""
    made = [_function(shape, k, part, Channel(shape, part.both)) for part in parts_of(shape) for k in KERNELS]
    return HEADER + "\n".join(made)


def _function(shape: Shape, k: Kernel, part: Part, channel: Channel) -> str:
    size_x = shape.channels if shape.scalars_only else shape.components * shape.width
    size_g = shape.components * shape.width
    stride_x = 0 if shape.scalars_only else shape.width
    full = part.lanes == part.stop - part.start
    inside = "valid" if full else "valid & inside"
    own = "g" if k.by_receiver else "x"
    hoisted: dict[str, str] = {}

    def place(name: str) -> str:
        """Of a feature, ``xn4`` or ``gu0``, within its row."""
        stride = shape.width if name[0] == "g" else stride_x
        return f"{int(name[2:]) * stride + (shape.channels if name[1] == 'u' else 0)}"

    def weight(name: str) -> str:
        return f"{int(name[2:]) + (shape.channels if name[1] == 'u' else 0)}"

    def load(name: str) -> str:
        plain = name.removeprefix("a") if name[0] == "a" else name
        if plain[0] in "Do":
            entries.add(name)
            return f"r_{name}"
        where = weight(plain) if plain[0] == "w" else place(plain)
        pointer = f"a{plain[0]}" if name[0] == "a" else plain[0]
        pointers.add(pointer)
        if plain[0] == own:
            masked = "" if full else ", mask=inside, other=0.0"
            hoisted[f"own_{name}"] = f"tl.load(p_{pointer} + {where}{masked})"
            return f"own_{name}"
        return f"tl.load(p_{pointer} + {where}, mask={inside}, other=0.0)"

    entries: set[str] = set()
    pointers: set[str] = set()
    derivatives = channel.second if k.second else channel.first
    outputs: list[tuple[str, int]] = []
    sums: list[str] = []
    if k.node_output:
        names = channel.g if k.node_output == "g" else channel.x
        for name, node in zip(names, derivatives(names), strict=True):
            outputs.append((f"sum_{name} += @", node))
            sums.append(name)
    rates: list[str] = []
    if k.edge_outputs:
        for name, node in zip(channel.w, derivatives(channel.w), strict=True):
            outputs.append((f"tl.store(p_out_w + {weight(name)}, @, mask={inside})", node))
        turning = channel.tangent_turning if k.second else channel.turning
        found = [(f"t{axis}", node) for axis, node in turning.items()]
        if k.second:
            found += zip(("uX", "uZ"), channel.second(["oX", "oZ"]), strict=True)
        found = [(name, node) for name, node in found if node != channel.e.zero]
        rates = [name for name, _ in found]
        outputs += [(f"{name} = tl.sum(@ + zero, axis=1)[:, None]", node) for name, node in found]
    loop_body = statements(channel.e, outputs, load, "v")

    lines = ["n = tl.program_id(0).to(tl.int64)"]
    lines += ["begin = tl.load(start + n)", "end = tl.load(start + n + 1)"]
    lines += [f"c = {part.start} + tl.arange(0, {part.lanes})[None, :]", f"inside = c < {part.stop}"]
    lines += [f"zero = tl.zeros([BLOCK, {part.lanes}], dtype=d.dtype.element_ty)"]
    lines += [f"sum_{name} = zero" for name in sums]
    loop = ["row = first + tl.arange(0, BLOCK)[:, None]", "valid = row < end"]
    loop += ["e = tl.load(order + row, mask=valid, other=0)", "far = tl.load(other + e, mask=valid, other=0)"]
    sizes = {"x": size_x, "g": size_g}
    other = "x" if k.by_receiver else "g"
    rows = {own: f"n * {sizes[own]}", other: f"far * {sizes[other]}", "w": f"e * {shape.num_weights}"}
    if k.edge_outputs:
        pointers.add("out_w")
    for pointer in sorted(pointers):
        kind = pointer[-1]
        (lines if kind == own else loop).append(f"p_{pointer} = {pointer} + {rows[kind]} + c")
    lines += [f"{name} = {value}" for name, value in hoisted.items()]
    loop += _frames(shape, k, entries)
    loop += loop_body
    if k.edge_outputs:
        loop += _direction(k, rates)
    lines += ["for first in range(begin, end, BLOCK):", *indented(loop)]
    size_out = {"x": size_x, "g": size_g, "": 0}[k.node_output]
    for name in sums:
        total = f"tl.sum(sum_{name}, axis=0)[None, :]"
        lines += [f"tl.store(out_node + n * {size_out} + {place(name)} + c, {total}, mask=inside)"]
    return kernel(f"{k.name}_{part.name}", [*ARGUMENTS, "BLOCK: tl.constexpr"], lines)


_FRAME = [entry(1, i, j) for i in range(3) for j in range(3)]


def _frames(shape: Shape, k: Kernel, entries: set[str]) -> list[str]:
    """Entries of the rotations of a block of edges ``[BLOCK, 1]``, and ``omega`` from the cotangents ``ad``."""
    frame = shape.lmax > 0 and (k.second or k.edge_outputs)
    names = sorted({n for n in entries if n[0] == "D"} | (set(_FRAME) if frame else set()))
    if not names:
        return []
    lines = [
        f"i_d{axis} = tl.load(d + 3 * e + {i}, mask=valid, other={1.0 if axis == 'y' else 0.0})"
        for i, axis in enumerate("xyz")
    ]
    lines += ["i_flip = tl.where(i_dy < 0, -1.0, 1.0).to(i_dy.dtype)"]
    r = rotation(shape.lmax)
    lines += statements(
        r.expressions, [(f"r_{n} = @", r.entries[n]) for n in names], lambda name: f"i_{name}", "q"
    )
    if k.second:
        lines += [
            f"a_d{axis} = tl.load(ad + 3 * e + {i}, mask=valid, other=0.0)" for i, axis in enumerate("xyz")
        ]

        def row(i: int) -> str:
            return " + ".join(f"r_{entry(1, i, j)} * a_d{axis}" for j, axis in enumerate("xyz"))

        lines += [f"r_oZ = {row(0)}", f"along = {row(1)}", f"r_oX = -({row(2)})"]
    return lines


def _direction(k: Kernel, rates: list[str]) -> list[str]:
    """From the rates of turning to the derivative with respect to the direction."""
    if not rates:
        return [f"tl.store(out_d + 3 * e + {i}, 0.0 * i_dx, mask=valid)" for i in range(3)]
    lines = [f"{name} = 0.0 * i_dx" for name in ("tX", "tZ", "uX", "uZ") if name not in rates]
    lines += ["radial = 0.0 * i_dx"]
    if k.second:
        lines += ["radial = -(r_oX * uX + r_oZ * uZ)", "tX -= along * uX", "tZ -= along * uZ"]
    for j in range(3):
        rows = [f"r_{entry(1, i, j)}" for i in range(3)]
        value = f"{rows[0]} * tZ + {rows[1]} * radial - {rows[2]} * tX"
        lines += [f"tl.store(out_d + 3 * e + {j}, {value}, mask=valid)"]
    return lines
