"""What one edge and one channel compute, as expressions: the convolution of ``convolution.py`` and its derivatives.

With features rotated into the frame of the edge, ``z = D x`` and ``y = D g``, the convolution contracted with a cotangent
``g`` of its output is ``F = sum_m y_m^T S_m(w) z_m``, and its output is dF/dg.

No derivative of the Wigner matrices is needed. ``F`` does not change when the frame rolls about the edge, so turning the
direction turns ``z`` and ``y`` about the two axes X and Z of the frame: ``dz = theta_k J_k z`` with the generators ``J_k``, and
likewise for ``y``. With ``theta x e_Y = -R dd`` the derivative with respect to the direction is ``R^T (F_Z, 0, -F_X)``, where
``F_k`` is the rate of ``F`` as z and y turn about k. The second derivative is the gradient of
``t = a_x dF/dx + a_w dF/dw + omega_X F_X + omega_Z F_Z``, with ``omega = (-(R a_d)_Z, (R a_d)_X)``. A direction that is not a
unit vector counts as its unit vector, so ``F`` is of degree 0 in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from atomfield.models.clebsch import clebsch_gordan

from .expressions import Expressions


@dataclass(frozen=True)
class Shape:
    """One kernel library. ``scalars_only``: the input is ``x [N, channels]``, natural l = 0, and the output has natural channels
    only; otherwise input and output are ``[N, (lmax+1)^2, channels + unnatural]``. The radial weights come from ``num_bases``
    functions of the distance through ``hidden`` units."""

    lmax: int
    channels: int
    unnatural: int
    scalars_only: bool
    num_bases: int
    hidden: int

    @property
    def components(self) -> int:
        return (self.lmax + 1) ** 2

    @property
    def lanes(self) -> int:
        """Edges that are computed at once; their radial weights stay in the cache."""
        return 16 if self.num_weights <= 1500 else 8

    @property
    def width(self) -> int:
        """Channels of a row of the output."""
        return self.channels if self.scalars_only else self.channels + self.unnatural

    @property
    def sizes(self) -> list[int]:
        """How many degrees have a component of each |m|."""
        return [self.lmax + 1 - m for m in range(self.lmax + 1)]

    @property
    def num_weights(self) -> int:
        """Radial weights of one edge: ``same [num_same, width]``, then ``cross [num_cross, 2 unnatural]``; with
        ``scalars_only`` ``[lmax + 1, channels]``."""
        if self.scalars_only:
            return (self.lmax + 1) * self.channels
        same = sum(n * n for n in self.sizes)
        cross = sum(n * n for n in self.sizes[1:])
        return same * self.width + cross * 2 * self.unnatural


@dataclass(frozen=True)
class Rotation:
    """Entries of all Wigner matrices, by name ``D<l>_<row>_<column>``, as functions of the variables ``dx``, ``dy``, ``dz`` and
    ``flip``, which is -1 where y < 0 and 1 elsewhere."""

    expressions: Expressions
    entries: dict[str, int]


def entry(l: int, row: int, column: int) -> str:
    return f"D{l}_{row}_{column}"


@lru_cache(maxsize=8)
def rotation(lmax: int) -> Rotation:
    """As :func:`atomfield.models.rotation.edge_frames` and ``FrameRotation``."""
    e = Expressions()
    flip = e.var("flip")
    x, y, z = e.var("dx"), e.mul(flip, e.var("dy")), e.mul(flip, e.var("dz"))
    k = e.inverse(e.sum([(1.0, e.one), (1.0, y)]))
    kx, kz = e.mul(k, x), e.mul(k, z)
    minus = lambda n: e.sum([(-1.0, n)])  # noqa: E731
    rows = [
        [e.sum([(1.0, e.one), (-1.0, e.mul(kx, x))]), minus(x), minus(e.mul(kx, z))],
        [x, y, z],
        [minus(e.mul(kx, z)), minus(z), e.sum([(1.0, e.one), (-1.0, e.mul(kz, z))])],
    ]
    first = [[row[0], e.mul(flip, row[1]), e.mul(flip, row[2])] for row in rows]
    matrices = [[[e.one]], first]
    for l in range(2, lmax + 1):
        previous = matrices[-1]
        small = 2 * l - 1
        isometry = (clebsch_gordan(1, l - 1, l) * (2 * l + 1) ** 0.5).tolist()
        pairs = [(i, a) for i in range(3) for a in range(small)]
        column = [
            [(i, a, isometry[i][a][q]) for i, a in pairs if abs(isometry[i][a][q]) > 1e-12]
            for q in range(2 * l + 1)
        ]
        matrices.append(
            [
                [
                    e.sum(
                        (u * v, e.mul(first[i][j], previous[a][b]))
                        for i, a, u in column[p]
                        for j, b, v in column[q]
                    )
                    for q in range(2 * l + 1)
                ]
                for p in range(2 * l + 1)
            ]
        )
    entries = {
        entry(l, p, q): node
        for l, matrix in enumerate(matrices[: lmax + 1])
        if l
        for p, row in enumerate(matrix)
        for q, node in enumerate(row)
    }
    return Rotation(e, entries)


@lru_cache(maxsize=8)
def generators(lmax: int) -> dict[str, list[list[list[float]]]]:
    """``J[axis][l]``, ``[2l+1, 2l+1]``, of rotations about X and Z: a turn by a small angle t is 1 + t J."""
    out = {}
    for axis, name in ((0, "X"), (2, "Z")):
        cross = torch.zeros(3, 3, dtype=torch.float64)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        cross[i, j], cross[j, i] = -1.0, 1.0
        tables = [torch.zeros(1, 1, dtype=torch.float64), cross]
        for l in range(2, lmax + 1):
            isometry = (clebsch_gordan(1, l - 1, l) * (2 * l + 1) ** 0.5).reshape(-1, 2 * l + 1)
            one, small = torch.eye(3, dtype=torch.float64), torch.eye(2 * l - 1, dtype=torch.float64)
            both = torch.kron(cross, small) + torch.kron(one, tables[-1])
            tables.append(isometry.T @ both @ isometry)
        out[name] = [t.tolist() for t in tables[: lmax + 1]]
    return out


class Channel:
    """The expressions of one channel (or of a natural and an unnatural channel together, ``both``).

    Variables: ``x<class><component>``, ``g<class><component>``, ``w<class><place of channel 0 in the weights of an edge>``,
    entries of the rotation, and ``oX``, ``oZ`` for omega; a leading ``a`` marks the cotangents of the first derivative.
    """

    def __init__(self, shape: Shape, both: bool):
        self.shape, self.both = shape, both
        e = self.e = Expressions()
        self.x: list[str] = []
        self.g: list[str] = []
        self.w: list[str] = []
        self.aligned: dict[tuple[str, int, int], int] = {}
        """Components in the frame of the edge, by (feature and class, l, m)."""
        self.total = self._scalars() if shape.scalars_only else self._full()
        for k, l, m in list(self.aligned):
            if k[0] == "x":
                features = {l * l + q: e.var(f"a{k}{l * l + q}") for q in range(2 * l + 1)}
                self.aligned["a" + k, l, m] = self._row(l, m, features)
        turns = {axis: self._turned(axis) for axis in "XZ"}
        self.turning = {axis: e.tangent([self.total], turn)[0] for axis, turn in turns.items()}
        moves = {e.var(w): e.var(f"a{w}") for w in self.w}
        for (k, l, m), node in self.aligned.items():
            if k[0] != "a":
                parts = [(1.0, e.mul(e.var(f"o{axis}"), turns[axis].get(node, e.zero))) for axis in "XZ"]
                if k[0] == "x":
                    parts.append((1.0, self.aligned["a" + k, l, m]))
                moves[node] = e.sum(parts)
        self.tangent = e.tangent([self.total], moves)[0]
        self.tangent_turning = {axis: e.tangent([self.tangent], turn)[0] for axis, turn in turns.items()}

    def _turned(self, axis: str) -> dict[int, int]:
        """Rates of all aligned components in a turn of the frame; l = 0 stays."""
        e = self.e
        return {
            node: e.sum(
                (generators(self.shape.lmax)[axis][l][l + m][l + n], self.aligned[k, l, n])
                for n in range(-l, l + 1)
            )
            for (k, l, m), node in self.aligned.items()
            if l
        }

    def first(self, names: list[str]) -> list[int]:
        """dF / d names."""
        return self.e.gradient({self.total: self.e.one}, [self.e.var(n) for n in names])

    def second(self, names: list[str]) -> list[int]:
        """dt / d names."""
        return self.e.gradient({self.tangent: self.e.one}, [self.e.var(n) for n in names])

    def _named(self, kept: list[str], name: str) -> int:
        kept.append(name)
        return self.e.var(name)

    def _entry(self, l: int, p: int, q: int) -> int:
        return self.e.one if l == 0 else self.e.var(entry(l, p, q))

    def _row(self, l: int, m: int, features: dict[int, int]) -> int:
        """Component (l, m) in the frame of the edge."""
        return self.e.sum(
            (1.0, self.e.mul(self._entry(l, l + m, q), features[l * l + q])) for q in range(2 * l + 1)
        )

    def _scalars(self) -> int:
        e, lmax = self.e, self.shape.lmax
        x = self._named(self.x, "xn0")
        terms = []
        self.aligned["xn", 0, 0] = x
        for l in range(lmax + 1):
            w = self._named(self.w, f"wn{l * self.shape.channels}")
            g = {l * l + q: self._named(self.g, f"gn{l * l + q}") for q in range(2 * l + 1)}
            self.aligned |= {("gn", l, m): self._row(l, m, g) for m in range(-l, l + 1)}
            terms.append((1.0, e.mul(e.mul(w, x), self.aligned["gn", l, 0])))
        return e.sum(terms)

    def _full(self) -> int:
        e, shape = self.e, self.shape
        classes = "nu" if self.both else "n"
        x, g = (
            {k: {i: self._named(kept, f"{name}{k}{i}") for i in range(shape.components)} for k in classes}
            for name, kept in (("x", self.x), ("g", self.g))
        )
        aligned = [(l, m) for l in range(shape.lmax + 1) for m in range(-l, l + 1)]
        z = {(k, l, m): self._row(l, m, x[k]) for k in classes for l, m in aligned}
        y = {(k, l, m): self._row(l, m, g[k]) for k in classes for l, m in aligned}
        for name, rows in (("x", z), ("g", y)):
            self.aligned |= {(name + k, l, m): node for (k, l, m), node in rows.items()}
        terms = []
        same = 0
        cross = sum(n * n for n in shape.sizes) * shape.width
        for m in range(shape.lmax + 1):
            signs = (0,) if m == 0 else (-1, 1)
            out: dict[tuple[str, int, int], list[tuple[float, int]]] = {}
            for i in range(m, shape.lmax + 1):
                for j in range(m, shape.lmax + 1):
                    for k in classes:
                        # unnatural channels follow the natural ones in a row of ``width``
                        w = self._named(self.w, f"w{k}{same * shape.width}")
                        for s in signs:
                            out.setdefault((k, i, s * m), []).append((1.0, e.mul(w, z[k, j, s * m])))
                    same += 1
                    if m == 0 or not shape.unnatural:
                        continue
                    if self.both:
                        for k, other, offset in (("n", "u", 0), ("u", "n", shape.unnatural)):
                            w = self._named(self.w, f"wc{cross + offset}")
                            for s in signs:
                                # the quarter turn: the -m part takes minus the +m part, the +m part takes the -m part
                                out[k, i, s * m].append((float(s), e.mul(w, z[other, j, -s * m])))
                    cross += 2 * shape.unnatural
            terms += [(1.0, e.mul(y[key], e.sum(parts))) for key, parts in out.items()]
        return e.sum(terms)
