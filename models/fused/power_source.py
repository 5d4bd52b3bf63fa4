"""C source of the products at nodes and their derivatives: loops over nodes, then over the channels of each group.

Sums over nodes (derivatives of path weights) are kept in ``CHUNKS`` rows, one for each fixed part of the nodes, so that they are
the same bits for any number of threads.
"""

from __future__ import annotations

from .powers import PowerChannel, PowerShape
from .shared_loop import CLOSED, FLUSHING, opened
from .source import statements

CHUNKS = 8

_HEADER = """#include <stdint.h>
#include <string.h>
typedef {real} T;
#define CHUNKS {chunks}
"""

# a, t and out_a [N, M, K], g and out_g [powers, N, M, K], w flat, out_w [CHUNKS, weights]
_FUNCTION = """
void {name}(int64_t N, const T *restrict a, const T *restrict w, const T *restrict g, const T *restrict t,
    T *restrict out_a, T *restrict out_g, T *restrict out_w, int threads)
{{
{opened}
for (int chunk = 0; chunk < CHUNKS; chunk++) {{
{clear}
for (int64_t n = N * chunk / CHUNKS; n < N * (chunk + 1) / CHUNKS; n++) {{
const T *restrict pa = a + n * {row};
{pointers}
{loops}
}}
}}
{closed}
}}
"""

FUNCTIONS = ("forward", "first", "first_with_weights", "second")


def power_source(shape: PowerShape, real: str) -> str:
    """The whole file; ``real`` is ``float`` or ``double``."""
    channels = [PowerChannel(shape.lmax, both, shape.correlation) for both, _, _ in shape.groups]
    parts = [_HEADER.format(real=real, chunks=CHUNKS), FLUSHING]
    row = shape.components * shape.width
    for name in FUNCTIONS:
        weights = name in ("first_with_weights", "second")
        pointers = []
        for power in range(shape.correlation - 1):
            offset = f"((int64_t){power} * N + n) * {row}"
            if name != "forward":
                pointers.append(f"const T *restrict pg{power + 2} = g + {offset};")
            if name in ("forward", "second"):
                pointers.append(f"T *restrict qg{power + 2} = out_g + {offset};")
        if name == "second":
            pointers.append(f"const T *restrict pt = t + n * {row};")
        if name != "forward":
            pointers.append(f"T *restrict qa = out_a + n * {row};")
        clear = ""
        if weights:
            clear = (
                f"T *restrict qw = out_w + (int64_t)chunk * {shape.num_weights};\n"
                f"memset(qw, 0, {shape.num_weights} * sizeof(T));"
            )
        loops = [_loop(shape, name, number, channel) for number, channel in enumerate(channels)]
        parts.append(
            _FUNCTION.format(
                name=name,
                clear=clear,
                row=row,
                pointers="\n".join(pointers),
                loops="\n".join(loops),
                opened=opened("static, 1"),
                closed=CLOSED,
            )
        )
    return "\n".join(parts)


def _loop(shape: PowerShape, name: str, group: int, channel: PowerChannel) -> str:
    both, start, stop = shape.groups[group]
    count = stop - start

    def component(number: int) -> str:
        if number < shape.components:
            return f"{number * shape.width + start} + c"
        assert both
        return f"{(number - shape.components) * shape.width + shape.channels} + c"

    def weight(variable: str) -> str:
        power, path = variable[1:].split("_")
        return f"{shape.offsets[int(power) - 2][group] + int(path) * count} + c"

    def place(variable: str) -> str:
        kind = variable[0]
        if kind in "at":
            return f"{kind}[{component(int(variable[1:]))}]"
        power, number = variable[1:].split("_")
        return f"w[{weight(variable)}]" if kind == "w" else f"g{power}[{component(int(number))}]"

    def load(variable: str) -> str:
        return place(variable) if variable[0] == "w" else "p" + place(variable)

    outputs: list[tuple[str, int]] = []
    match name:
        case "forward":
            outputs += [(f"q{place(v)} =", node) for v, node in zip(channel.g, channel.products, strict=True)]
        case "first" | "first_with_weights":
            outputs += [
                (f"q{place(v)} =", node) for v, node in zip(channel.a, channel.first(channel.a), strict=True)
            ]
            if name == "first_with_weights":
                outputs += [
                    (f"q{place(v)} +=", node)
                    for v, node in zip(channel.w, channel.first(channel.w), strict=True)
                ]
        case "second":
            for names, sign in ((channel.a, "="), (channel.g, "="), (channel.w, "+=")):
                outputs += [
                    (f"q{place(v)} {sign}", node)
                    for v, node in zip(names, channel.second(names), strict=True)
                ]
    body = statements(channel.e, outputs, load)
    return "\n".join(["#pragma omp simd", f"for (int c = 0; c < {count}; c++) {{", *body, "}"])
