"""Small programs that act node by node, with reverse-mode derivatives of any order: what the compiled node blocks compute.

A value holds, for every node, ``rows`` x ``columns`` numbers: components of features times channels, or one of them where it is
broadcast. Operations are few and closed under differentiation, so that the derivative of a derivative is again a program.
Equal operations are one value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """``kind`` with its operands (numbers of values) and constants; the result has ``rows`` x ``columns`` numbers per node.

    | kind | constants | result |
    |---|---|---|
    | input | name | a tensor's rows |
    | parameter | name, row of each result row | the same for every node |
    | constant | one number per row | the same for every node and channel |
    | add, mul | | of two values, broadcast where a size is 1 |
    | scale | factor | |
    | linear | name, matrix of each row, transposed? | each row times its matrix |
    | sum | | over the sizes that are 1 in the result |
    | expand | | repeated over the sizes that are 1 |
    | sigmoid, rsqrt | | |
    | rows, columns | first | a part |
    | pad_rows, pad_columns | first | zeros around |
    """

    kind: str
    operands: tuple[int, ...]
    constants: tuple
    rows: int
    columns: int


@dataclass(frozen=True)
class Accumulate:
    """A sum over nodes into the derivative of parameter ``name``. ``matrix``: outer products of the rows of ``left`` and
    ``right``; otherwise the rows of ``left``. ``index``: the matrix, or row, of the parameter that each row adds to."""

    name: str
    matrix: bool
    index: tuple[int, ...]
    left: int
    right: int


class NodeProgram:
    """Operations in order; operands come before what uses them."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._known: dict[Operation, int] = {}

    def _put(self, kind: str, operands: Sequence[int], constants: tuple, rows: int, columns: int) -> int:
        operation = Operation(kind, tuple(operands), constants, rows, columns)
        number = self._known.get(operation)
        if number is None:
            number = self._known[operation] = len(self.operations)
            self.operations.append(operation)
        return number

    def size(self, value: int) -> tuple[int, int]:
        operation = self.operations[value]
        return operation.rows, operation.columns

    # ------------------------------------------------------------------ leaves
    def input(self, name: str, rows: int, columns: int) -> int:
        return self._put("input", (), (name,), rows, columns)

    def parameter(self, name: str, index: Sequence[int], columns: int) -> int:
        return self._put("parameter", (), (name, tuple(index)), len(index), columns)

    def constant(self, numbers: Sequence[float]) -> int:
        return self._put("constant", (), tuple(numbers), len(numbers), 1)

    # ------------------------------------------------------------------ operations
    def add(self, a: int, b: int) -> int:
        return self._put("add", sorted((a, b)), (), *self._broadcast(a, b))

    def mul(self, a: int, b: int) -> int:
        return self._put("mul", sorted((a, b)), (), *self._broadcast(a, b))

    def _broadcast(self, a: int, b: int) -> tuple[int, int]:
        (ra, ca), (rb, cb) = self.size(a), self.size(b)
        assert ra == rb or 1 in (ra, rb), (ra, rb)
        assert ca == cb or 1 in (ca, cb), (ca, cb)
        return max(ra, rb), max(ca, cb)

    def scale(self, a: int, factor: float) -> int:
        return self._put("scale", (a,), (factor,), *self.size(a))

    def linear(
        self, x: int, name: str, index: Sequence[int], columns: int, *, transposed: bool = False
    ) -> int:
        assert len(index) == self.size(x)[0]
        return self._put("linear", (x,), (name, tuple(index), transposed), len(index), columns)

    def sum_to(self, a: int, rows: int, columns: int) -> int:
        return a if self.size(a) == (rows, columns) else self._put("sum", (a,), (), rows, columns)

    def expand(self, a: int, rows: int, columns: int) -> int:
        return a if self.size(a) == (rows, columns) else self._put("expand", (a,), (), rows, columns)

    def sigmoid(self, a: int) -> int:
        return self._put("sigmoid", (a,), (), *self.size(a))

    def rsqrt(self, a: int) -> int:
        return self._put("rsqrt", (a,), (), *self.size(a))

    def rows(self, a: int, start: int, stop: int) -> int:
        whole = (start, stop) == (0, self.size(a)[0])
        return a if whole else self._put("rows", (a,), (start,), stop - start, self.size(a)[1])

    def pad_rows(self, a: int, start: int, rows: int) -> int:
        return a if rows == self.size(a)[0] else self._put("pad_rows", (a,), (start,), rows, self.size(a)[1])

    def columns(self, a: int, start: int, stop: int) -> int:
        whole = (start, stop) == (0, self.size(a)[1])
        return a if whole else self._put("columns", (a,), (start,), self.size(a)[0], stop - start)

    def pad_columns(self, a: int, start: int, columns: int) -> int:
        size = self.size(a)
        return a if columns == size[1] else self._put("pad_columns", (a,), (start,), size[0], columns)

    def silu(self, a: int) -> int:
        return self.mul(a, self.sigmoid(a))

    def dot(self, a: int, b: int) -> int:
        """One number per node."""
        return self.sum_to(self.mul(a, b), 1, 1)

    # ------------------------------------------------------------------ derivatives
    def gradient(
        self, seeds: Mapping[int, int], wanted: Sequence[int]
    ) -> tuple[list[int | None], list[Accumulate]]:
        """Derivatives of ``sum of seed . output`` with respect to the values ``wanted`` and to every parameter; ``seeds``:
        output -> its cotangent of the same size. None: no dependence."""
        adjoint: dict[int, int] = {}
        sums: list[Accumulate] = []

        def receive(value: int, cotangent: int) -> None:
            cotangent = self.sum_to(cotangent, *self.size(value))
            adjoint[value] = self.add(adjoint[value], cotangent) if value in adjoint else cotangent

        for output, seed in seeds.items():
            receive(output, seed)
        for number in range(max(seeds), -1, -1):
            if number not in adjoint:
                continue
            own, operation = adjoint[number], self.operations[number]
            match operation.kind, operation.operands, operation.constants:
                case "parameter", (), (name, index):
                    sums.append(Accumulate(name, False, index, own, own))
                case "add", (a, b), ():
                    receive(a, own)
                    receive(b, own)
                case "mul", (a, b), ():
                    receive(a, self.mul(own, b))
                    receive(b, self.mul(own, a))
                case "scale", (a,), (factor,):
                    receive(a, self.scale(own, factor))
                case "linear", (x,), (name, index, transposed):
                    receive(x, self.linear(own, name, index, self.size(x)[1], transposed=not transposed))
                    left, right = (own, x) if transposed else (x, own)
                    sums.append(Accumulate(name, True, index, left, right))
                case "sum", (a,), ():
                    receive(a, self.expand(own, *self.size(a)))
                case "expand", (a,), ():
                    receive(a, own)
                case "sigmoid", (a,), ():
                    slope = self.mul(number, self.add(self.constant([1.0]), self.scale(number, -1.0)))
                    receive(a, self.mul(own, slope))
                case "rsqrt", (a,), ():
                    cube = self.mul(number, self.mul(number, number))
                    receive(a, self.mul(own, self.scale(cube, -0.5)))
                case "rows", (a,), (start,):
                    receive(a, self.pad_rows(own, start, self.size(a)[0]))
                case "pad_rows", (a,), (start,):
                    receive(a, self.rows(own, start, start + self.size(a)[0]))
                case "columns", (a,), (start,):
                    receive(a, self.pad_columns(own, start, self.size(a)[1]))
                case "pad_columns", (a,), (start,):
                    receive(a, self.columns(own, start, start + self.size(a)[1]))
        return [adjoint.get(w) for w in wanted], sums

    def needed(self, values: Sequence[int]) -> list[int]:
        """All values that ``values`` rest on, in order."""
        seen: set[int] = set()
        stack = list(values)
        while stack:
            number = stack.pop()
            if number not in seen:
                seen.add(number)
                stack.extend(self.operations[number].operands)
        return sorted(seen)
