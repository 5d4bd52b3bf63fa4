"""Triton source of the products at nodes and of their derivatives: what ``fused/power_source.py`` is for a processor.

A tile is ``BLOCK`` nodes by the channels of one group; one program for each tile. Sums over nodes (derivatives of path weights)
are written as one row for each program.
"""

from __future__ import annotations

from atomfield.models.fused.powers import PowerChannel, PowerShape

from .text import HEADER, kernel, statements

FUNCTIONS = ("forward", "first", "first_with_weights", "second")
ARGUMENTS = ("a", "w", "g", "t", "out_a", "out_g", "out_w", "count")
"""a, t and out_a ``[N, M, K]``, g and out_g ``[powers, N, M, K]``, w flat, out_w ``[programs, weights]``; pointers that a
function does not use are any tensor."""


def lanes_of(start: int, stop: int) -> int:
    return 1 << (stop - start - 1).bit_length()


def source(shape: PowerShape) -> str:
    """The whole module: ``<function>_<group>`` for all."""
    channels = [PowerChannel(shape.lmax, both, shape.correlation) for both, _, _ in shape.groups]
    made = [_function(shape, name, number, c) for number, c in enumerate(channels) for name in FUNCTIONS]
    return HEADER + "\n".join(made)


def _function(shape: PowerShape, name: str, group: int, channel: PowerChannel) -> str:
    both, start, stop = shape.groups[group]
    lanes, width, row = lanes_of(start, stop), stop - start, shape.components * shape.width
    full = lanes == width
    inside = "valid" if full else "valid & inside"
    own = "" if full else ", mask=inside, other=0.0"

    def component(number: int) -> str:
        if number < shape.components:
            return f"{number * shape.width + start}"
        assert both
        return f"{(number - shape.components) * shape.width + shape.channels}"

    def weight(variable: str) -> str:
        power, path = variable[1:].split("_")
        return f"{shape.offsets[int(power) - 2][group] + int(path) * width}"

    def place(variable: str, prefix: str = "") -> str:
        """Of a feature, within ``[N, M, K]`` or ``[powers, N, M, K]``."""
        if variable[0] in "at":
            pointers.add(f"{prefix}{variable[0]}")
            return f"p_{prefix}{variable[0]} + {component(int(variable[1:]))}"
        power, number = variable[1:].split("_")
        pointers.add(f"{prefix}g{power}")
        return f"p_{prefix}g{power} + {component(int(number))}"

    def load(variable: str) -> str:
        if variable[0] == "w":
            return f"tl.load(p_w + {weight(variable)}{own})"
        return f"tl.load({place(variable)}, mask={inside}, other=0.0)"

    def stored(variable: str) -> str:
        return f"tl.store({place(variable, 'out_')}, @, mask={inside})"

    pointers: set[str] = set()

    outputs: list[tuple[str, int]] = []
    if name == "forward":
        pairs = zip(channel.g, channel.products, strict=True)
        outputs += [(stored(v), node) for v, node in pairs]
    else:
        derivatives = channel.second if name == "second" else channel.first
        outputs += [(stored(v), n) for v, n in zip(channel.a, derivatives(channel.a), strict=True)]
        if name == "second":
            outputs += [(stored(v), n) for v, n in zip(channel.g, derivatives(channel.g), strict=True)]
        if name != "first":
            masked = "" if full else ", mask=inside"
            outputs += [
                (f"tl.store(p_out_w + {weight(v)}, tl.sum(@ + zero, axis=0)[None, :]{masked})", n)
                for v, n in zip(channel.w, derivatives(channel.w), strict=True)
            ]
    lines = ["tile = tl.program_id(0).to(tl.int64)"]
    lines += ["n = tile * BLOCK + tl.arange(0, BLOCK)[:, None]", "valid = n < count"]
    lines += [f"c = tl.arange(0, {lanes})[None, :]", f"inside = c < {width}"]
    body = statements(channel.e, outputs, load, "v")
    lines += ["p_w = w + c", f"p_out_w = out_w + tile * {shape.num_weights} + c"]
    for pointer in sorted(pointers):
        power = int(pointer[-1]) - 2 if pointer[-1].isdigit() else 0
        lines += [f"p_{pointer} = {pointer.rstrip('0123456789')} + ({power} * count + n) * {row} + c"]
    lines += [f"zero = tl.zeros([BLOCK, {lanes}], dtype=a.dtype.element_ty)"]
    lines += body
    return kernel(f"{name}_{group}", [*ARGUMENTS, "BLOCK: tl.constexpr"], lines)
