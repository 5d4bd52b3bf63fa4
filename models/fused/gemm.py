"""Small matrix products in C for tiles that stay in the cache, with vectors of the compiler (GCC and Clang vector extensions).

``V`` is 64 bytes wide; the compiler splits it where the machine's registers are narrower.
"""

from __future__ import annotations

WIDTH = {"float": 16, "double": 8}

VECTORS = """
typedef T V __attribute__((vector_size(64)));
typedef T VU __attribute__((vector_size(64), aligned(sizeof(T)), may_alias));
#define LOAD(p) (*(const VU *)(p))
#define STORE(p, v) (*(VU *)(p) = (v))
"""


def rows_times(name: str, inner: int, columns: int, rows: int, width: int) -> str:
    """``out [R, columns] = a [R, inner] w [inner, columns]``, R counted up to a multiple of ``rows``; buffers hold that many."""
    lines = [
        f"static void {name}(const T *restrict a, const T *restrict w, T *restrict out, int count) {{",
        f"for (int b = 0; b < count; b += {rows}) {{",
    ]
    lines += [f"const T *restrict a{i} = a + (b + {i}) * {inner};" for i in range(rows)]
    full = max(1, 16 // rows)
    for start, stop, vectors in _spans(columns, full, width):
        lines.append(f"for (int p = {start}; p < {stop}; p += {vectors * width}) {{")
        cells = [(i, j) for i in range(rows) for j in range(vectors)]
        lines += [f"V c{i}_{j} = {{0}};" for i, j in cells]
        lines.append(f"for (int k = 0; k < {inner}; k++) {{ const T *restrict wk = w + k * {columns} + p;")
        lines += [f"const V w{j} = LOAD(wk + {j * width});" for j in range(vectors)]
        lines += [f"c{i}_{j} += a{i}[k] * w{j};" for i, j in cells]
        lines.append("}")
        lines += [f"STORE(out + (b + {i}) * {columns} + p + {j * width}, c{i}_{j});" for i, j in cells]
        lines.append("}")
    rest = columns - columns % width
    if rest < columns:
        lines.append(
            f"for (int i = 0; i < {rows}; i++) for (int p = {rest}; p < {columns}; p++) {{ T sum = 0;"
        )
        lines.append(
            f"for (int k = 0; k < {inner}; k++) sum += a[(b + i) * {inner} + k] * w[k * {columns} + p];"
        )
        lines.append(f"out[(b + i) * {columns} + p] = sum; }}")
    return "\n".join([*lines, "}", "}"])


def add_outer(name: str, rows: int, columns: int, width: int) -> str:
    """``out [rows, columns] += sum over b < count of a [b, rows] x w [b, columns]``."""
    lines = [
        f"static void {name}(const T *restrict a, const T *restrict w, T *restrict out, int count) {{",
    ]
    for first, last, step in ((0, rows - rows % 4, 4), (rows - rows % 4, rows, 1)):
        if first == last:
            continue
        lines.append(f"for (int h = {first}; h < {last}; h += {step}) {{")
        for start, stop, vectors in _spans(columns, 4, width):
            cells = [(i, j) for i in range(step) for j in range(vectors)]
            lines.append(f"for (int p = {start}; p < {stop}; p += {vectors * width}) {{")
            lines += [f"V c{i}_{j} = LOAD(out + (h + {i}) * {columns} + p + {j * width});" for i, j in cells]
            lines.append("for (int b = 0; b < count; b++) {")
            lines += [f"const V w{j} = LOAD(w + b * {columns} + p + {j * width});" for j in range(vectors)]
            lines += [f"c{i}_{j} += a[b * {rows} + h + {i}] * w{j};" for i, j in cells]
            lines.append("}")
            lines += [f"STORE(out + (h + {i}) * {columns} + p + {j * width}, c{i}_{j});" for i, j in cells]
            lines.append("}")
        rest = columns - columns % width
        if rest < columns:
            lines.append(f"for (int i = 0; i < {step}; i++) for (int b = 0; b < count; b++)")
            lines.append(f"for (int p = {rest}; p < {columns}; p++)")
            lines.append(f"out[(h + i) * {columns} + p] += a[b * {rows} + h + i] * w[b * {columns} + p];")
        lines.append("}")
    return "\n".join([*lines, "}"])


def _spans(columns: int, full: int, width: int) -> list[tuple[int, int, int]]:
    """(start, stop, vectors at a time) that cover the whole vectors of ``columns``."""
    vectors = columns // width
    whole = vectors // full * full
    spans = [(0, whole * width, full)] if whole else []
    if vectors > whole:
        spans.append((whole * width, vectors * width, vectors - whole))
    return spans
