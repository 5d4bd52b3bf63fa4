"""C source of the kernels of one shape: loops over nodes, blocks of edges and channels around the expressions.

All functions have one signature. Edges are visited node by node, receivers or senders, so that every sum over the edges of a
node has one owner and one order: no atomic additions. Sums over all edges (derivatives of the radial network) are kept apart for
each chunk of nodes, and chunks depend on the graph alone: the same bits for any number of threads. What depends on the direction
alone, and the radial weights, are computed for a block of edges at once and never leave the cache. A block goes on from one node
to the next, since few nodes have a multiple of its length.

The radial network of an edge: ``p = near + far + basis W1``, ``h = silu(p) envelope``, ``w = h W2`` (see ``radial.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .expressions import Expressions
from .gemm import add_outer, rows_times
from .library import registers
from .programs import Channel, Shape, entry, rotation
from .radial import EXPONENTIAL, after, before
from .shared_loop import CLOSED, FLUSHING, opened

HEADER = """#include <stdint.h>
#include <string.h>
typedef {real} T;
#define LANES {lanes}
"""

TENSORS = (
    "x", "g", "near", "far", "basis", "envelope", "d", "W1", "W2", "W2T",
    "ax", "anear", "afar", "abasis", "aenvelope", "ad",
)  # fmt: skip
OUTPUTS = ("pre", "out_node", "out_near", "out_basis", "out_envelope", "out_d", "out_W1", "out_W2")


@dataclass(frozen=True)
class Kernel:
    """One function: around which node it sums, the derivative it computes and what it writes."""

    name: str
    by_receiver: bool
    second: bool
    node_output: str
    """``x``, ``g`` or nothing: with respect to which features the sum over edges is written."""
    edge_outputs: bool
    """Whether derivatives with respect to the radial network's inputs and weights and to directions are written."""

    @property
    def sums_pre(self) -> bool:
        """Whether the derivatives ``pre`` of the radial network, known from the pass by receiver, are summed at the sender."""
        return not self.by_receiver


KERNELS = (
    Kernel("forward", True, False, "g", False),
    Kernel("first_by_receiver", True, False, "", True),
    Kernel("first_by_sender", False, False, "x", False),
    Kernel("second_by_receiver", True, True, "g", True),
    Kernel("second_by_sender", False, True, "x", False),
)


def source(shape: Shape, real: str) -> str:
    """The whole file; ``real`` is ``float`` or ``double``."""
    machine = registers()
    width = machine.width(real)
    parts = [HEADER.format(real=real, lanes=shape.lanes), FLUSHING, machine.vectors(), EXPONENTIAL[real]]
    parts += [
        rows_times("weights_of", shape.hidden, shape.num_weights, 4, width, machine.sums),
        rows_times("hidden_of", shape.num_weights, shape.hidden, 8, width, machine.sums),
        add_outer("add_outer", shape.hidden, shape.num_weights, width, machine.sums),
    ]
    channels = []
    if shape.unnatural and not shape.scalars_only:
        channels.append((Channel(shape, True), 0, shape.unnatural))
    first = 0 if shape.scalars_only else shape.unnatural
    if shape.channels > first:
        channels.append((Channel(shape, False), first, shape.channels))
    parts += [_function(shape, kernel, channels) for kernel in KERNELS]
    return "\n".join(parts)


def _signature(name: str) -> str:
    tensors = [f"const T *restrict {t}" for t in TENSORS] + [f"T *restrict {t}" for t in OUTPUTS]
    integers = [f"const int64_t *restrict {t}" for t in ("bounds", "start", "order", "own", "other")]
    return f"void {name}(int64_t chunks, {', '.join(integers)},\n{', '.join(tensors)}, int threads)"


def _function(shape: Shape, kernel: Kernel, channels: list[tuple[Channel, int, int]]) -> str:
    size_x = shape.channels if shape.scalars_only else shape.components * shape.width
    size_g = shape.components * shape.width
    p, h = shape.num_weights, shape.hidden
    loops, entries, reduced = [], set(), set()
    for channel, start, stop in channels:
        text, used, sums = _channel_loop(shape, kernel, channel, start, stop)
        loops.append(text)
        entries |= used
        reduced |= sums
    size_out = {"x": size_x, "g": size_g, "": 0}[kernel.node_output]
    own, far = ("g", "x") if kernel.by_receiver else ("x", "g")
    sizes = {"x": size_x, "g": size_g}
    buffers = [("w", p), ("h", h)]
    if kernel.second:
        buffers += [("aw", p), ("ah", h)]
    if kernel.edge_outputs:
        buffers += [("tw", p), ("th", h), ("silu", h), ("slope", h)]
        if kernel.second:
            buffers += [("gw", p), ("gh", h), ("bend", h), ("ap", h)]
    lines = [_signature(kernel.name), "{", opened("dynamic, 1")]
    lines += ["for (int64_t chunk = 0; chunk < chunks; chunk++) {"]
    lines += [f"T {name}_[LANES * {size}] __attribute__((aligned(64)));" for name, size in buffers]
    lines += [f"memset({name}_, 0, sizeof {name}_);" for name, _ in buffers]
    if kernel.edge_outputs:
        lines += [f"T *restrict qW1 = out_W2 ? out_W1 + chunk * {shape.num_bases * h} : 0;"]
        lines += [f"T *restrict qW2 = out_W2 ? out_W2 + chunk * {h * p} : 0;"]
        lines += [f"if (out_W2) {{ memset(qW1, 0, {shape.num_bases * h} * sizeof(T));"]
        lines += [f"memset(qW2, 0, {h * p} * sizeof(T)); }}"]
    lines += ["const int64_t begin = bounds[chunk], end = bounds[chunk + 1];"]
    if size_out:
        lines += [_zeroed("out_node", size_out)]
    if kernel.edge_outputs or kernel.sums_pre:
        lines += ["if (out_near)", _zeroed("out_near", h)]
    lines += ["for (int64_t first = start[begin]; first < start[end]; first += LANES) {"]
    lines += ["const int count = start[end] - first < LANES ? (int)(start[end] - first) : LANES;"]
    lines += [_rotation_block(shape, kernel, sorted(entries))]
    lines += [before(shape.num_bases, h, kernel.second, kernel.edge_outputs)]
    lines += ["weights_of(h_, W2, w_, count);"]
    if kernel.second:
        lines += ["weights_of(ah_, W2, aw_, count);"]
    lines += [f"T sum_{name}[LANES];" for name in sorted(reduced)]
    lines += ["for (int b = 0; b < count; b++) {", "const int64_t e = order[first + b], n = own[e];"]
    if size_out:
        lines += [f"T *restrict acc = out_node + n * {size_out};"]
    lines += [
        f"const T *restrict p{own} = {own} + n * {sizes[own]}, *restrict p{far} = {far} + other[e] * {sizes[far]};"
    ]
    lines += [f"const T *restrict pw = w_ + b * {p};"]
    if kernel.second:
        lines += [f"const T *restrict pax = ax + {'other[e]' if kernel.by_receiver else 'n'} * {size_x};"]
        lines += [f"const T *restrict paw = aw_ + b * {p};"]
    if kernel.edge_outputs:
        lines += [f"T *restrict qw = tw_ + b * {p};"]
        if kernel.second:
            lines += [f"T *restrict qaw = gw_ + b * {p};"]
    if kernel.sums_pre:
        lines += [f"if (pre) for (int c = 0; c < {h}; c++) out_near[n * {h} + c] += pre[e * {h} + c];"]
    lines += [f"const T {name} = rot_{name}[b];" for name in sorted(entries)]
    lines += [f"T s_{name} = 0;" for name in sorted(reduced)]
    lines += loops
    lines += [f"sum_{name}[b] = s_{name};" for name in sorted(reduced)]
    lines += ["}"]
    if kernel.edge_outputs:
        lines += [_direction_block(shape, kernel, sorted(reduced))]
        lines += ["hidden_of(tw_, W2T, th_, count);", "if (qW2) add_outer(h_, tw_, qW2, count);"]
        if kernel.second:
            lines += ["hidden_of(gw_, W2T, gh_, count);", "if (qW2) add_outer(ah_, gw_, qW2, count);"]
        lines += [after(shape.num_bases, h, kernel.second)]
    return "\n".join([*lines, "}", "}", CLOSED, "}"])


def _zeroed(output: str, size: int) -> str:
    """Of the chunk's own nodes: each edge adds to the row of its node."""
    return f"memset({output} + begin * {size}, 0, (end - begin) * {size} * sizeof(T));"


# ---------------------------------------------------------------------- channels
def _channel_loop(
    shape: Shape, kernel: Kernel, channel: Channel, start: int, stop: int
) -> tuple[str, set[str], set[str]]:
    """The loop over channels ``start`` to ``stop``; which entries of the rotation it reads, and of which it sums derivatives."""
    e = channel.e
    derivatives = channel.second if kernel.second else channel.first
    outputs: list[tuple[str, int]] = []
    reduced = []
    if kernel.node_output:
        names = channel.g if kernel.node_output == "g" else channel.x
        stride = shape.width if kernel.node_output == "g" or not shape.scalars_only else 0
        for name, node in zip(names, derivatives(names), strict=True):
            outputs.append((f"acc[{_place(shape, name, stride)}] +=", node))
    if kernel.edge_outputs:
        for name, node in zip(channel.w, derivatives(channel.w), strict=True):
            outputs.append((f"qw[{_weight(shape, name)}] =", node))
        if kernel.second:
            for name, node in zip(channel.w, derivatives([f"a{w}" for w in channel.w]), strict=True):
                outputs.append((f"qaw[{_weight(shape, name)}] =", node))
        turning = channel.tangent_turning if kernel.second else channel.turning
        sums = [(f"t{axis}", node) for axis, node in turning.items()]
        if kernel.second:
            sums += zip(("uX", "uZ"), channel.second(["oX", "oZ"]), strict=True)
        sums = [(name, node) for name, node in sums if node != e.zero]
        reduced = [name for name, _ in sums]
        outputs += [(f"s_{name} +=", node) for name, node in sums]
    entries: set[str] = set()

    def load(name: str) -> str:
        moving, plain = name.startswith("a"), name.removeprefix("a")
        if plain[0] in "Do":
            entries.add(name)
            return name
        pointer = ("pa" if moving else "p") + plain[0]
        if plain[0] == "w":
            return f"{pointer}[{_weight(shape, plain)}]"
        return f"{pointer}[{_place(shape, plain, shape.width if plain[0] == 'g' or not shape.scalars_only else 0)}]"

    body = statements(e, outputs, load)
    clause = f" reduction(+:{', '.join(f's_{n}' for n in reduced)})" if reduced else ""
    text = "\n".join([f"#pragma omp simd{clause}", f"for (int c = {start}; c < {stop}; c++) {{", *body, "}"])
    return text, entries, set(reduced)


def _place(shape: Shape, name: str, stride: int) -> str:
    """Place of a feature, ``xn4`` or ``gu0``, within its row."""
    component = int(name[2:])
    return f"{component * stride + (shape.channels if name[1] == 'u' else 0)} + c"


def _weight(shape: Shape, name: str) -> str:
    return f"{int(name[2:]) + (shape.channels if name[1] == 'u' else 0)} + c"


# ---------------------------------------------------------------------- directions
_FRAME = [entry(1, i, j) for i in range(3) for j in range(3)]


def _rotation_block(shape: Shape, kernel: Kernel, entries: list[str]) -> str:
    """Entries of the rotation of a block of edges, and ``omega`` from the cotangents ``ad``."""
    r = rotation(shape.lmax)
    names = sorted(
        {n for n in entries if n[0] == "D"} | (set(_FRAME) if _needs_frame(shape, kernel) else set())
    )
    if not names:
        return ""
    inputs = ["dx", "dy", "dz", *(("adx", "ady", "adz") if kernel.second else ())]
    lines = [f"T in_{name}[LANES];" for name in (*inputs, "flip")]
    lines += ["for (int b = 0; b < LANES; b++) {", "const int64_t e = b < count ? order[first + b] : 0;"]
    for name in inputs:
        lines += [
            f"in_{name}[b] = b < count ? {name[:-1]}[3 * e + {'xyz'.index(name[-1])}] : {int(name == 'dy')};"
        ]
    lines += ["in_flip[b] = in_dy[b] < 0 ? -1 : 1;", "}"]
    outputs = [(f"rot_{name}[b] =", r.entries[name]) for name in names]
    lines += [f"T rot_{name}[LANES];" for name in names]
    lines += _lanes(statements(r.expressions, outputs, lambda name: f"in_{name}[b]"))
    if kernel.second:
        # omega = (-(R a)_Z, (R a)_X); (R a)_Y is the part along the edge
        lines += ["T rot_oX[LANES], rot_oZ[LANES], along[LANES];"]

        def row(i: int) -> str:
            return " + ".join(f"rot_{entry(1, i, j)}[b] * in_ad{axis}[b]" for j, axis in enumerate("xyz"))

        lines += _lanes([f"rot_oZ[b] = {row(0)};", f"along[b] = {row(1)};", f"rot_oX[b] = -({row(2)});"])
    return "\n".join(lines)


def _direction_block(shape: Shape, kernel: Kernel, reduced: list[str]) -> str:
    """From the rates of turning to the derivative with respect to the direction, for a block of edges."""
    lines = ["for (int b = 0; b < count; b++) {", "const int64_t e = order[first + b];"]
    if not reduced:
        lines += [f"out_d[3 * e + {i}] = 0;" for i in range(3)]
        return "\n".join([*lines, "}"])
    lines += [
        f"T {name} = {f'sum_{name}[b]' if name in reduced else '0'};" for name in ("tX", "tZ", "uX", "uZ")
    ]
    lines += ["T radial = 0;"]
    if kernel.second:
        lines += ["radial = -(rot_oX[b] * uX + rot_oZ[b] * uZ);", "tX -= along[b] * uX; tZ -= along[b] * uZ;"]
    for j in range(3):
        rows = [f"rot_{entry(1, i, j)}[b]" for i in range(3)]
        lines += [f"out_d[3 * e + {j}] = {rows[0]} * tZ + {rows[1]} * radial - {rows[2]} * tX;"]
    return "\n".join([*lines, "}"])


def _needs_frame(shape: Shape, kernel: Kernel) -> bool:
    """Whether the 3x3 rotation itself is used: omega on the way in, a derivative on the way out."""
    return shape.lmax > 0 and (kernel.second or kernel.edge_outputs)


def _lanes(body: list[str]) -> list[str]:
    return ["#pragma omp simd", "for (int b = 0; b < LANES; b++) {", *body, "}"]


# ---------------------------------------------------------------------- statements
def statements(e: Expressions, outputs: list[tuple[str, int]], load: Callable[[str], str]) -> list[str]:
    """C statements that compute every output, each as soon as what it rests on is there; used once means written in place."""
    needed = e.needed(node for _, node in outputs)
    uses = dict.fromkeys(needed, 0)
    for number in needed:
        for _, child in e.nodes[number].terms:
            uses[child] += 1
        for child in e.nodes[number].factors:
            uses[child] += 1
    for _, node in outputs:
        uses[node] += 1
    text: dict[int, str] = {}
    lines: list[str] = []

    def write(number: int) -> None:
        node = e.nodes[number]
        match node.kind:
            case "one":
                value = "(T)1"
            case "var":
                value = load(node.name)
            case "inverse":
                value = f"1 / {text[node.factors[0]]}"
            case "mul":
                value = f"{text[node.factors[0]]} * {text[node.factors[1]]}"
            case _:
                value = _sum_text([(c, text[n]) for c, n in node.terms])
        if (
            node.kind == "one"
            or (node.kind == "mul" and uses[number] == 1)
            or (node.kind == "var" and value == node.name)
        ):
            text[number] = f"({value})" if node.kind == "mul" else value
        else:
            lines.append(f"const T v{number} = {value};")
            text[number] = f"v{number}"

    for target, node in outputs:
        for number in e.needed([node]):
            if number not in text:
                write(number)
        lines.append(f"{target} {text[node]};")
    return lines


def _sum_text(terms: list[tuple[float, str]]) -> str:
    if not terms:
        return "0"
    out = ""
    for coefficient, text in terms:
        sign = "-" if coefficient < 0 else "+"
        size = abs(coefficient)
        factor = text if size == 1.0 else f"(T){size!r} * {text}"
        out += f" {sign} {factor}" if out or sign == "-" else factor
    return out.strip()
