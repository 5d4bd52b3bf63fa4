"""Small matrix products in C for tiles that stay in the cache, with vectors of the compiler (GCC and Clang vector extensions).

``V`` is as wide as a register of the machine: a wider one would be split, but GCC keeps its parts in memory, which is many
times as slow (``benchmarks/vector_width.py``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Registers:
    """Of vectors: how wide one is, and how many sums a tile keeps in them beside what it reads."""

    size: int
    """Bytes."""
    sums: int

    def width(self, real: str) -> int:
        """How many numbers of type ``real``, ``float`` or ``double``, one holds."""
        return self.size // {"float": 4, "double": 8}[real]

    def vectors(self) -> str:
        """The C type ``V`` of one register, and how it is read from and written to any address."""
        return f"""
typedef T V __attribute__((vector_size({self.size})));
typedef T VU __attribute__((vector_size({self.size}), aligned(sizeof(T)), may_alias));
#define LOAD(p) (*(const VU *)(p))
#define STORE(p, v) (*(VU *)(p) = (v))
"""


def registers_of(macros: str) -> Registers:
    """By what the compiler defines for the machine: AVX-512 has 32 registers of 64 bytes, AVX 16 of 32, 64-bit Arm 32 of 16, and
    SSE 16 of 16."""
    if "__AVX512F__" in macros:
        return Registers(64, 16)
    if "__AVX__" in macros:
        return Registers(32, 12)
    return Registers(16, 16 if "__aarch64__" in macros else 12)


def rows_times(name: str, inner: int, columns: int, rows: int, width: int, sums: int) -> str:
    """``out [R, columns] = a [R, inner] w [inner, columns]``, R counted up to a multiple of ``rows``; buffers hold that many."""
    lines = [
        f"static void {name}(const T *restrict a, const T *restrict w, T *restrict out, int count) {{",
        f"for (int b = 0; b < count; b += {rows}) {{",
    ]
    lines += [f"const T *restrict a{i} = a + (b + {i}) * {inner};" for i in range(rows)]
    full = max(1, sums // rows)
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


def add_outer(name: str, rows: int, columns: int, width: int, sums: int) -> str:
    """``out [rows, columns] += sum over b < count of a [b, rows] x w [b, columns]``."""
    lines = [
        f"static void {name}(const T *restrict a, const T *restrict w, T *restrict out, int count) {{",
    ]
    for first, last, step in ((0, rows - rows % 4, 4), (rows - rows % 4, rows, 1)):
        if first == last:
            continue
        lines.append(f"for (int h = {first}; h < {last}; h += {step}) {{")
        for start, stop, vectors in _spans(columns, sums // 4, width):
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
