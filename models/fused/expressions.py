"""Expressions as graphs of shared nodes, with gradients and tangents of polynomials: what the generated kernels compute.

A node is an integer; equal expressions are one node, so that what two derivatives have in common is computed once. Sums hold
(coefficient, node) pairs, products two nodes, and the only other operation is the reciprocal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """``kind`` is ``var`` (name), ``one``, ``sum`` (terms), ``mul`` (two nodes) or ``inverse`` (one node)."""

    kind: str
    name: str = ""
    terms: tuple[tuple[float, int], ...] = ()
    factors: tuple[int, ...] = ()


class Expressions:
    """An arena of nodes. Children always have smaller numbers than their parents."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[Node, int] = {}
        self.zero = self._intern(Node("sum"))
        self.one = self._intern(Node("one"))

    def _intern(self, node: Node) -> int:
        number = self._known.get(node)
        if number is None:
            number = self._known[node] = len(self.nodes)
            self.nodes.append(node)
        return number

    def var(self, name: str) -> int:
        return self._intern(Node("var", name=name))

    def sum(self, terms: Iterable[tuple[float, int]]) -> int:
        """``sum of coefficient * node``; nested sums are not flattened, since they are worth sharing."""
        total: dict[int, float] = {}
        for coefficient, node in terms:
            inner = self.nodes[node]
            if inner.kind == "sum" and len(inner.terms) == 1:  # a scaled node
                coefficient, node = coefficient * inner.terms[0][0], inner.terms[0][1]
            total[node] = total.get(node, 0.0) + coefficient
        kept = tuple(sorted((n, c) for n, c in total.items() if abs(c) > 1e-14 and n != self.zero))
        if len(kept) == 1 and kept[0][1] == 1.0:
            return kept[0][0]
        return self._intern(Node("sum", terms=tuple((c, n) for n, c in kept)))

    def mul(self, a: int, b: int) -> int:
        if self.zero in (a, b):
            return self.zero
        if self.one in (a, b):
            return a if b == self.one else b
        scale = 1.0
        factors = []
        for x in (a, b):
            node = self.nodes[x]
            if node.kind == "sum" and len(node.terms) == 1:
                scale, x = scale * node.terms[0][0], node.terms[0][1]
            factors.append(x)
        if self.one in factors:
            return self.sum([(scale, factors[0] if factors[1] == self.one else factors[1])])
        product = self._intern(Node("mul", factors=tuple(sorted(factors))))
        return product if scale == 1.0 else self.sum([(scale, product)])

    def inverse(self, a: int) -> int:
        return self._intern(Node("inverse", factors=(a,)))

    def dot(self, a: Sequence[int], b: Sequence[int]) -> int:
        return self.sum((1.0, self.mul(x, y)) for x, y in zip(a, b, strict=True))

    # ------------------------------------------------------------------ derivatives
    def gradient(self, seeds: Mapping[int, int], wanted: Sequence[int]) -> list[int]:
        """Derivatives of ``sum of seed * output`` with respect to the nodes ``wanted``; ``seeds``: output -> its cotangent."""
        adjoint: dict[int, list[tuple[float, int]]] = {out: [(1.0, seed)] for out, seed in seeds.items()}
        found: dict[int, int] = {}
        for number in range(max(seeds, default=0), -1, -1):
            if number not in adjoint:
                continue
            own = found[number] = self.sum(adjoint.pop(number))
            node = self.nodes[number]
            if node.kind == "sum":
                for coefficient, child in node.terms:
                    adjoint.setdefault(child, []).append((coefficient, own))
            elif node.kind == "mul":
                a, b = node.factors
                adjoint.setdefault(a, []).append((1.0, self.mul(own, b)))
                adjoint.setdefault(b, []).append((1.0, self.mul(own, a)))
            else:
                assert node.kind != "inverse", (
                    "directions are inputs: nothing is differentiated through a reciprocal"
                )
        return [found.get(w, self.zero) for w in wanted]

    def tangent(self, outputs: Sequence[int], directions: Mapping[int, int]) -> list[int]:
        """Derivatives of ``outputs`` along ``directions``: input node -> its rate of change."""
        memo: dict[int, int] = dict(directions)
        for number in range(max(outputs, default=0) + 1):
            if number in memo:
                continue
            node = self.nodes[number]
            match node.kind:
                case "sum":
                    memo[number] = self.sum((c, memo[n]) for c, n in node.terms)
                case "mul":
                    a, b = node.factors
                    memo[number] = self.sum([(1.0, self.mul(memo[a], b)), (1.0, self.mul(a, memo[b]))])
                case _:
                    assert node.kind != "inverse", "nothing is differentiated through a reciprocal"
                    memo[number] = self.zero
        return [memo[out] for out in outputs]

    # ------------------------------------------------------------------ use
    def needed(self, outputs: Iterable[int]) -> list[int]:
        """All nodes that ``outputs`` rest on, children first."""
        seen: set[int] = set()
        stack = list(outputs)
        while stack:
            number = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            node = self.nodes[number]
            stack.extend(n for _, n in node.terms)
            stack.extend(node.factors)
        return sorted(seen)
