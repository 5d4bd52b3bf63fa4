"""C source of a node program: blocks of nodes whose values stay in the cache, matrix products by tiles, the rest by simple loops.

Within a block a value lies as ``[row][node][column]``, so that the rows of one degree are one matrix. What is used once goes into
the loop of what uses it. Buffers are shared by values that do not live at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .gemm import Registers, add_outer, rows_times
from .library import registers
from .node_program import Accumulate, NodeProgram
from .radial import EXPONENTIAL
from .shared_loop import CLOSED, FLUSHING, opened

NODES = 8
"""Nodes of a block."""
POINTWISE = ("add", "mul", "scale", "sigmoid", "rsqrt", "expand")


@dataclass(frozen=True)
class Piece:
    """Rows from ``row`` and columns from ``column`` of a tensor ``[N, tensor_rows, tensor_columns]``."""

    tensor: str
    column: int
    rows: int
    columns: int
    tensor_rows: int
    tensor_columns: int
    row: int = 0

    def address(self, node: str, row: str) -> str:
        return f"{self.tensor} + (({node}) * {self.tensor_rows} + {row} + {self.row}) * {self.tensor_columns} + {self.column}"


@dataclass(frozen=True)
class Parameter:
    """``[count, inner, outer]`` matrices, or ``[count, outer]`` rows (``inner`` 0)."""

    name: str
    count: int
    inner: int
    outer: int

    @property
    def numel(self) -> int:
        return self.count * max(self.inner, 1) * self.outer


@dataclass
class Function:
    """One C function of a program: where inputs come from, which values it writes where, and sums for parameters."""

    name: str
    program: NodeProgram
    inputs: dict[str, Piece]
    outputs: list[tuple[int, Piece]]
    sums: list[Accumulate] = field(default_factory=list)


def node_source(functions: Sequence[Function], parameters: Sequence[Parameter], real: str) -> str:
    """The whole file; every function takes (nodes, chunks, input tensors by name, parameters, outputs by name, sums, threads)."""
    known = {p.name: p for p in parameters}
    machine = registers()
    writers = [_Writer(function, known, machine, real) for function in functions]
    bodies = [writer.text() for writer in writers]
    tiles = {name: text for writer in writers for name, text in writer.tiles.items()}
    headers = "\n".join(f"#include <{name}.h>" for name in ("math", "stdint", "stdlib", "string"))
    head = f"{headers}\ntypedef {real} T;\n#define B {NODES}\n"
    root = "sqrtf" if real == "float" else "sqrt"
    parts = [head, f"#define ROOT {root}", FLUSHING, machine.vectors(), EXPONENTIAL[real]]
    return "\n".join([*parts, *tiles.values(), *bodies])


def tensors(pieces: Sequence[Piece]) -> list[str]:
    """Names of tensors, in order of appearance."""
    return list(dict.fromkeys(piece.tensor for piece in pieces))


class _Writer:
    def __init__(self, function: Function, parameters: dict[str, Parameter], machine: Registers, real: str):
        self.function, self.parameters = function, parameters
        self.width, self.most_sums = machine.width(real), machine.sums
        self.program = function.program
        self.tiles: dict[str, str] = {}
        ends = [value for value, _ in function.outputs]
        for s in function.sums:
            ends += [s.left, s.right]
        self.order = self.program.needed(ends)
        self.users: dict[int, list[int]] = {number: [] for number in self.order}
        for number in self.order:
            for operand in set(self.program.operations[number].operands):
                self.users[operand].append(number)
        self.ends = set(ends)
        self._stored: dict[int, bool] = {}

    # ------------------------------------------------------------------ what is written where
    def stored(self, number: int) -> bool:
        """Whether a value has a buffer of its own; otherwise it is written where it is used, or is a part of another buffer."""
        found = self._stored.get(number)
        if found is None:
            found = self._stored[number] = self._decide(number)
        return found

    def _decide(self, number: int) -> bool:
        operation = self.program.operations[number]
        if operation.kind in ("constant", "parameter"):
            assert number not in self.ends
            return False
        users = self.users[number]
        whole = number in self.ends or any(self.program.operations[n].kind == "linear" for n in users)
        if operation.kind == "rows" and self.stored(operation.operands[0]):
            return False
        if operation.kind in ("rows", "columns", "expand"):
            return whole
        if operation.kind not in POINTWISE:
            return True
        return whole or len(users) > 1

    def pointer(self, number: int) -> str:
        operation = self.program.operations[number]
        if self.stored(number):
            return f"v{number}"
        assert operation.kind == "rows"
        (a,) = operation.operands
        return f"(v{a} + {operation.constants[0]} * B * {operation.columns})"

    def at(self, number: int, row: str, node: str, column: str) -> str:
        """The expression of one number of a value."""
        operation = self.program.operations[number]
        row = "0" if operation.rows == 1 else row
        column = "0" if operation.columns == 1 else column
        if operation.kind == "parameter":
            name, index = operation.constants
            if len(index) == 1:
                place = f"{index[0]} * {operation.columns}"
            else:
                place = f"index_{self._index(index)}[{row}] * {operation.columns}"
            return f"{name}[{place} + {column}]"
        if operation.kind == "constant":
            return (
                f"(T){operation.constants[0]!r}"
                if operation.rows == 1
                else f"constant_{self._constant(number)}[{row}]"
            )
        if self.stored(number):
            return f"v{number}[(({row}) * B + {node}) * {operation.columns} + {column}]"
        return self.formula(number, row, node, column)

    def formula(self, number: int, row: str, node: str, column: str) -> str:
        operation = self.program.operations[number]
        parts = [self.at(a, row, node, column) for a in operation.operands]
        match operation.kind:
            case "add":
                return f"({parts[0]} + {parts[1]})"
            case "mul":
                return f"({parts[0]} * {parts[1]})"
            case "scale":
                return f"((T){operation.constants[0]!r} * {parts[0]})"
            case "sigmoid":
                return f"(1 / (1 + exponential(-{parts[0]})))"
            case "rsqrt":
                return f"(1 / ROOT({parts[0]}))"
            case "expand":
                return parts[0]
            case "rows":
                return self.at(operation.operands[0], f"{row} + {operation.constants[0]}", node, column)
            case "columns":
                return self.at(operation.operands[0], row, node, f"{column} + {operation.constants[0]}")
        raise AssertionError(operation.kind)

    def _index(self, index: tuple[int, ...]) -> int:
        return self.indices.setdefault(index, len(self.indices))

    def _constant(self, number: int) -> int:
        self.constants.add(number)
        return number

    # ------------------------------------------------------------------ text
    def text(self) -> str:
        f = self.function
        self.indices: dict[tuple[int, ...], int] = {}
        self.constants: set[int] = set()
        self.transposed: dict[str, Parameter] = {}
        body: list[str] = []
        for number in self.order:
            if self.stored(number):
                body += self._value(number)
        for value, piece in f.outputs:
            body += [
                f"for (int i = 0; i < {piece.rows}; i++) for (int b = 0; b < count; b++)",
                f"memcpy({piece.address('n + b', 'i')},"
                f" {self.pointer(value)} + (i * B + b) * {piece.columns}, {piece.columns} * sizeof(T));",
            ]
        for s in f.sums:
            body += self._sum(s)
        offsets, size = self._buffers()
        inputs = tensors(list(f.inputs.values()))
        outputs = tensors([piece for _, piece in f.outputs])
        arguments = [f"const T *restrict {t}" for t in inputs]
        arguments += [f"const T *restrict {p}" for p in self.parameters]
        arguments += [f"T *restrict {t}" for t in outputs]
        total = sum(p.numel for p in self.parameters.values())
        lines = [
            f"void {f.name}(int64_t N, int64_t chunks, {', '.join(arguments)}, T *restrict sums, int threads) {{"
        ]
        for index, number in self.indices.items():
            lines.append(f"static const int index_{number}[] = {{{', '.join(map(str, index))}}};")
        for number in sorted(self.constants):
            numbers = ", ".join(repr(c) for c in self.program.operations[number].constants)
            lines.append(f"static const T constant_{number}[] = {{{numbers}}};")
        turned = sum(p.numel for p in self.transposed.values())
        if turned:
            lines += [f"T *const turned = aligned_alloc(64, ({turned} * sizeof(T) + 127) / 64 * 64);"]
        place = 0
        for p in self.transposed.values():
            lines += [f"T *restrict {p.name}_turned = turned + {place};"]
            lines += [f"for (int k = 0; k < {p.count}; k++) for (int j = 0; j < {p.outer}; j++)"]
            lines += [f"for (int i = 0; i < {p.inner}; i++)"]
            lines += [
                f"{p.name}_turned[(k * {p.outer} + j) * {p.inner} + i] = {p.name}[(k * {p.inner} + i) * {p.outer} + j];"
            ]
            place += p.numel
        lines += [opened("static, 1")]
        lines += ["for (int64_t chunk = 0; chunk < chunks; chunk++) {"]
        lines += [f"T *const scratch = aligned_alloc(64, ({size} * sizeof(T) + 127) / 64 * 64);"]
        if f.sums:
            lines += [f"T *restrict own = sums + chunk * {total};", f"memset(own, 0, {total} * sizeof(T));"]
        lines += ["for (int64_t n = N * chunk / chunks; n < N * (chunk + 1) / chunks; n += B) {"]
        lines += [
            "const int64_t left = N * (chunk + 1) / chunks - n; const int count = left < B ? (int)left : B;"
        ]
        lines += [f"T *restrict v{number} = scratch + {offset};" for number, offset in offsets.items()]
        end = ["}", "free(scratch);", "}", CLOSED, "free(turned);" if turned else "", "}"]
        return "\n".join([*lines, *body, *end])

    def _value(self, number: int) -> list[str]:
        operation = self.program.operations[number]
        rows, columns = operation.rows, operation.columns
        loop = [f"for (int i = 0; i < {rows}; i++) for (int b = 0; b < B; b++)"]
        simd = ["#pragma omp simd", f"for (int c = 0; c < {columns}; c++)"] if columns > 1 else []
        column = "c" if columns > 1 else "0"
        target = f"v{number}[(i * B + b) * {columns} + {column}]"
        match operation.kind:
            case "input":
                piece = self.function.inputs[operation.constants[0]]
                source = piece.address("n + b", "i")
                size = f"{columns} * sizeof(T)"
                return [
                    f"for (int i = 0; i < {rows}; i++) for (int b = 0; b < B; b++)",
                    f"if (b < count) memcpy(v{number} + (i * B + b) * {columns}, {source}, {size});",
                    f"else memset(v{number} + (i * B + b) * {columns}, 0, {size});",
                ]
            case "linear":
                return self._linear(number)
            case "sum":
                return self._reduce(number)
            case "pad_rows" | "pad_columns":
                (a,) = operation.operands
                inner = self.program.size(a)
                i, c = ("i", column)
                if operation.kind == "pad_rows":
                    i = f"i - {operation.constants[0]}"
                    inside = f"i >= {operation.constants[0]} && i < {operation.constants[0] + inner[0]}"
                else:
                    c = f"{column} - {operation.constants[0]}"
                    inside = f"{column} >= {operation.constants[0]} && {column} < {operation.constants[0] + inner[1]}"
                return [
                    *loop,
                    f"for (int c = 0; c < {columns}; c++)",
                    f"{target} = {inside} ? {self.at(a, i, 'b', c)} : 0;",
                ]
        return [*loop, *simd, f"{target} = {self.formula(number, 'i', 'b', column)};"]

    def _reduce(self, number: int) -> list[str]:
        operation = self.program.operations[number]
        (a,) = operation.operands
        rows, columns = self.program.size(a)
        term = self.at(a, "i", "b", "c")
        lines = ["for (int b = 0; b < B; b++) {"]
        if operation.columns == 1 and operation.rows == 1:
            return [
                *lines, "T sum = 0;", f"for (int i = 0; i < {rows}; i++) {{", "#pragma omp simd reduction(+:sum)",
                f"for (int c = 0; c < {columns}; c++) sum += {term};", "}", f"v{number}[b] = sum;", "}",
            ]  # fmt: skip
        if operation.columns == 1:
            return [
                *lines, f"for (int i = 0; i < {rows}; i++) {{", "T sum = 0;", "#pragma omp simd reduction(+:sum)",
                f"for (int c = 0; c < {columns}; c++) sum += {term};", f"v{number}[i * B + b] = sum;", "}", "}",
            ]  # fmt: skip
        assert operation.rows == 1
        return [
            *lines, f"T *restrict o = v{number} + b * {columns}; memset(o, 0, {columns} * sizeof(T));",
            f"for (int i = 0; i < {rows}; i++) {{", "#pragma omp simd", f"for (int c = 0; c < {columns}; c++) o[c] += {term};",
            "}", "}",
        ]  # fmt: skip

    def _linear(self, number: int) -> list[str]:
        operation = self.program.operations[number]
        (x,) = operation.operands
        name, index, transposed = operation.constants
        parameter = self.parameters[name]
        inner, outer = (
            (parameter.outer, parameter.inner) if transposed else (parameter.inner, parameter.outer)
        )
        matrix = name
        if transposed:
            self.transposed[name] = parameter
            matrix = f"{name}_turned"
        tile = f"rows_{inner}_{outer}"
        rows = 8 if outer <= 2 * self.width else 4
        self.tiles[tile] = rows_times(tile, inner, outer, rows, self.width, self.most_sums)
        lines = []
        for first, last in _runs(index):
            lines.append(
                f"{tile}({self.pointer(x)} + {first} * B * {inner}, {matrix} + {index[first] * inner * outer},"
                f" v{number} + {first} * B * {outer}, {last - first} * B);"
            )
        return lines

    def _sum(self, s: Accumulate) -> list[str]:
        parameter = self.parameters[s.name]
        offset = 0
        for p in self.parameters.values():
            if p.name == s.name:
                break
            offset += p.numel
        lines = []
        if s.matrix:
            inner, outer = parameter.inner, parameter.outer
            tile = f"outer_{inner}_{outer}"
            self.tiles[tile] = add_outer(tile, inner, outer, self.width, self.most_sums)
            for first, last in _runs(s.index):
                lines.append(
                    f"{tile}({self.pointer(s.left)} + {first} * B * {inner}, {self.pointer(s.right)} + {first} * B * {outer},"
                    f" own + {offset + s.index[first] * inner * outer}, {last - first} * B);"
                )
            return lines
        for row, which in enumerate(s.index):
            lines += [f"for (int b = 0; b < count; b++) for (int c = 0; c < {parameter.outer}; c++)"]
            lines += [
                f"own[{offset + which * parameter.outer} + c] += {self.at(s.left, str(row), 'b', 'c')};"
            ]
        return lines

    def _buffers(self) -> tuple[dict[int, int], int]:
        """Where each stored value lies in the scratch space; a place is used again once its value is not needed any more."""
        steps = {number: step for step, number in enumerate(self.order)}
        end = len(self.order)
        last: dict[int, int] = {}

        def touch(number: int, step: int) -> None:
            """Values inside a formula are read where the formula is."""
            if self.stored(number):
                last[number] = max(last.get(number, -1), step)
            else:
                for operand in self.program.operations[number].operands:
                    touch(operand, step)

        for number in self.order:
            if self.stored(number):
                for operand in self.program.operations[number].operands:
                    touch(operand, steps[number])
        for number in self.ends:
            touch(number, end)
        offsets: dict[int, int] = {}
        free: dict[int, list[int]] = {}
        size = 0
        ending: dict[int, list[int]] = {}
        for number in self.order:
            if not self.stored(number):
                continue
            operation = self.program.operations[number]
            need = -(-operation.rows * operation.columns * NODES // 16) * 16
            offsets[number] = free[need].pop() if free.get(need) else size
            if offsets[number] == size:
                size += need
            ending.setdefault(last.get(number, end), []).append(number)
            for gone in ending.pop(steps[number], []):
                other = self.program.operations[gone]
                freed = -(-other.rows * other.columns * NODES // 16) * 16
                free.setdefault(freed, []).append(offsets[gone])
        return offsets, size


def _runs(index: Sequence[int]) -> list[tuple[int, int]]:
    """(first, end) of runs of equal entries."""
    runs, first = [], 0
    for i in range(1, len(index) + 1):
        if i == len(index) or index[i] != index[first]:
            runs.append((first, i))
            first = i
    return runs
