"""Edge vectors, bases and envelopes, and on the way back forces, as compiled passes.

Only for passes that autograd does not record (``force_pass.py``); ``radial.py`` has the same functions as the reference.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs, ``B`` radial bases.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .edges import EdgeList
from .library import compiled
from .shared_loop import CLOSED, FLUSHING, opened
from .tape import call, constant

_REAL = {torch.float32: "float", torch.float64: "double"}
_TERMS = 11
"""Of the series of sine and cosine on [-pi/2, pi/2]: what is left out is below 1e-17."""


def _series(first: int) -> str:
    """Horner's form in ``q = f * f`` of cosine (``first`` = 0) or of sine over f (1)."""
    terms = [(-1) ** k / math.factorial(2 * k + first) for k in range(_TERMS)]
    text = repr(terms[-1])
    for term in reversed(terms[:-1]):
        text = f"({term!r} + q * {text})"
    return text


def _source(real: str) -> str:
    return f"""#include <stdint.h>
#include <string.h>
#include <math.h>
typedef {real} T;
#define LANES 16
{FLUSHING}
/* sine and cosine of theta in [0, pi], from the series about pi / 2 */
static inline double sine(double theta) {{
    const double f = theta - {math.pi / 2!r}, q = f * f;
    return {_series(0)};
}}
static inline double cosine(double theta) {{
    const double f = theta - {math.pi / 2!r}, q = f * f;
    return -f * {_series(1)};
}}

/* from waves n - 1 and n to n and n + 1: w(n + 1) = 2 cos t w(n) - w(n - 1) */
static inline void next_wave(const double *restrict twice, double *restrict wave, double *restrict before) {{
#pragma omp simd
    for (int b = 0; b < LANES; b++) {{
        const double next = twice[b] * wave[b] - before[b];
        before[b] = wave[b];
        wave[b] = next;
    }}
}}

/* of a block of edges: lengths (1 where there is no edge), the slope of the envelope, and the waves 0 and 1 of the cosine */
static inline void slopes(const T *restrict distance, int count, double cutoff, double *restrict length, double *restrict fall,
                          double *restrict before, double *restrict wave, double *restrict twice) {{
    for (int b = 0; b < LANES; b++) length[b] = b < count ? (double)distance[b] : 1;
#pragma omp simd
    for (int b = 0; b < LANES; b++) {{
        const double x = length[b] < cutoff ? length[b] / cutoff : 1, rest = 1 - x;
        fall[b] = -168 / cutoff * x * x * x * x * x * rest * rest;
        before[b] = 1;
        wave[b] = cosine({math.pi!r} * x);
        twice[b] = 2 * wave[b];
    }}
}}

void geometry(int64_t edges, int64_t bases, double cutoff, const int64_t *restrict sender, const int64_t *restrict receiver,
              const double *restrict position, const double *restrict shift, const double *restrict cell,
              const int64_t *restrict graph, double *restrict vector, T *restrict distance, T *restrict direction,
              T *restrict basis, T *restrict envelope, int threads) {{
{opened("static")}
for (int64_t first = 0; first < edges; first += LANES) {{
    const int count = edges - first < LANES ? (int)(edges - first) : LANES;
    double square[LANES];
    for (int b = 0; b < LANES; b++) square[b] = 1;
    for (int b = 0; b < count; b++) {{
        const int64_t e = first + b, s = sender[e], r = receiver[e];
        const double *restrict lattice = cell + 9 * graph[r];
        square[b] = 0;
        for (int i = 0; i < 3; i++) {{
            double v = position[3 * s + i] - position[3 * r + i];
            for (int k = 0; k < 3; k++) v += shift[3 * e + k] * lattice[3 * k + i];
            vector[3 * e + i] = v;
            square[b] += v * v;
        }}
    }}
    double length[LANES], before[LANES], wave[LANES], twice[LANES], inside[LANES];
#pragma omp simd
    for (int b = 0; b < LANES; b++) {{
        length[b] = sqrt(square[b]);
        const double x = length[b] < cutoff ? length[b] / cutoff : 1;
        const double theta = {math.pi!r} * x, x2 = x * x, x6 = x2 * x2 * x2;
        inside[b] = 1 - x6 * (28 - x * (48 - 21 * x));
        before[b] = 0;
        wave[b] = sine(theta) * (0.5 * cutoff) / length[b];
        twice[b] = 2 * cosine(theta);
    }}
    for (int b = 0; b < count; b++) {{
        const int64_t e = first + b;
        distance[e] = (T)length[b];
        envelope[e] = (T)inside[b];
        for (int i = 0; i < 3; i++) direction[3 * e + i] = (T)(vector[3 * e + i] / length[b]);
    }}
    for (int64_t n = 0; n < bases; n++) {{ /* sin((n + 1) t) = 2 cos t sin(n t) - sin((n - 1) t) */
        for (int b = 0; b < count; b++) basis[(first + b) * bases + n] = (T)wave[b];
        next_wave(twice, wave, before);
    }}
}}
{CLOSED}
}}

/* from derivatives with respect to basis, envelope and direction to that with respect to the vector of each edge */
void along(int64_t edges, int64_t bases, double cutoff, const T *restrict distance, const T *restrict direction,
           const T *restrict basis, const T *restrict d_basis, const T *restrict d_envelope, const T *restrict d_direction,
           double *restrict out, int threads) {{
{opened("static")}
for (int64_t first = 0; first < edges; first += LANES) {{
    const int count = edges - first < LANES ? (int)(edges - first) : LANES;
    double length[LANES], before[LANES], wave[LANES], twice[LANES], rise[LANES];
    slopes(distance + first, count, cutoff, length, rise, before, wave, twice);
    for (int b = 0; b < count; b++) rise[b] *= d_envelope[first + b];
    for (int64_t n = 0; n < bases; n++) {{
        const double slope = 0.5 * {math.pi!r} * (double)(n + 1);
        for (int b = 0; b < count; b++) {{
            const int64_t place = (first + b) * bases + n;
            rise[b] += d_basis[place] * (slope * wave[b] - basis[place]) / length[b];
        }}
        next_wave(twice, wave, before);
    }}
    for (int b = 0; b < count; b++) {{
        const int64_t e = first + b;
        double turn = 0;
        for (int i = 0; i < 3; i++) turn += (double)d_direction[3 * e + i] * direction[3 * e + i];
        for (int i = 0; i < 3; i++)
            out[3 * e + i] = direction[3 * e + i] * rise[b] + (d_direction[3 * e + i] - direction[3 * e + i] * turn) / length[b];
    }}
}}
{CLOSED}
}}

/* the transpose of along(): from a cotangent of its result to those of what it was given */
void across(int64_t edges, int64_t bases, double cutoff, const T *restrict distance, const T *restrict direction,
            const T *restrict basis, const double *restrict a, T *restrict a_basis, T *restrict a_envelope,
            T *restrict a_direction, int threads) {{
{opened("static")}
for (int64_t first = 0; first < edges; first += LANES) {{
    const int count = edges - first < LANES ? (int)(edges - first) : LANES;
    double length[LANES], before[LANES], wave[LANES], twice[LANES], fall[LANES], part[LANES];
    slopes(distance + first, count, cutoff, length, fall, before, wave, twice);
    for (int b = 0; b < count; b++) {{
        const int64_t e = first + b;
        part[b] = 0;
        for (int i = 0; i < 3; i++) part[b] += a[3 * e + i] * direction[3 * e + i];
        for (int i = 0; i < 3; i++)
            a_direction[3 * e + i] = (T)((a[3 * e + i] - direction[3 * e + i] * part[b]) / length[b]);
        a_envelope[e] = (T)(part[b] * fall[b]);
    }}
    for (int64_t n = 0; n < bases; n++) {{
        const double slope = 0.5 * {math.pi!r} * (double)(n + 1);
        for (int b = 0; b < count; b++) {{
            const int64_t place = (first + b) * bases + n;
            a_basis[place] = (T)(part[b] * (slope * wave[b] - basis[place]) / length[b]);
        }}
        next_wave(twice, wave, before);
    }}
}}
{CLOSED}
}}

/* forces [N, 3]: a sender is pushed against, a receiver along the derivative with respect to the vector of the edge */
void forces(int64_t nodes, const int64_t *restrict start_r, const int64_t *restrict order_r, const int64_t *restrict start_s,
            const int64_t *restrict order_s, const double *restrict along, double *restrict out, int threads) {{
{opened("static")}
for (int64_t n = 0; n < nodes; n++) {{
    double f[3] = {{0, 0, 0}};
    for (int64_t k = start_r[n]; k < start_r[n + 1]; k++)
        for (int i = 0; i < 3; i++) f[i] += along[3 * order_r[k] + i];
    for (int64_t k = start_s[n]; k < start_s[n + 1]; k++)
        for (int i = 0; i < 3; i++) f[i] -= along[3 * order_s[k] + i];
    for (int i = 0; i < 3; i++) out[3 * n + i] = f[i];
}}
{CLOSED}
}}

/* sums [G, 3, 3] of vector x along, edge by edge: an edge whose derivative is zero changes no bit */
void virial(int64_t edges, int64_t graphs, const int64_t *restrict receiver, const int64_t *restrict graph,
            const double *restrict vector, const double *restrict along, double *restrict out, int threads) {{
    memset(out, 0, 9 * graphs * sizeof(double));
    for (int64_t e = 0; e < edges; e++) {{
        double *restrict sum = out + 9 * graph[receiver[e]];
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) sum[3 * i + j] += vector[3 * e + i] * along[3 * e + j];
    }}
}}
"""


@lru_cache(maxsize=4)
def _library(real: str) -> ctypes.CDLL | None:
    place, number, count = ctypes.c_void_p, ctypes.c_double, ctypes.c_int64
    return compiled(
        lambda: _source(real),
        {
            "geometry": (count, count, number, *[place] * 11, ctypes.c_int),
            "along": (count, count, number, *[place] * 7, ctypes.c_int),
            "across": (count, count, number, *[place] * 7, ctypes.c_int),
            "forces": (count, *[place] * 6, ctypes.c_int),
            "virial": (count, count, *[place] * 5, ctypes.c_int),
        },
    )


def geometry_available(x: Tensor) -> bool:
    """Whether there are kernels for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
    return x.device.type == "cpu" and x.dtype in _REAL and _library(_REAL[x.dtype]) is not None


@dataclass(frozen=True)
class Vectors:
    """Of each edge: ``vector_E3`` (float64), and in the network's precision its length, its direction, the spherical Bessel
    functions of the length and the envelope (``radial.py``)."""

    vector_E3: Tensor
    distance_E: Tensor
    direction_E3: Tensor
    basis_EB: Tensor
    envelope_E: Tensor


def vectors(
    positions: Tensor, cell: Tensor, graph_index: Tensor, edges: EdgeList, edge_shift: Tensor, *,
    cutoff: float, bases: int, dtype: torch.dtype,
) -> Vectors:  # fmt: skip
    """From positions ``[N, 3]`` and cells ``[G, 3, 3]`` in angstrom, float64, the graph ``[N]`` of each node and the periodic
    shift ``[E, 3]`` of each edge, in cells; edges no longer than ``cutoff``, none of length zero. Raises ``IndexError`` where
    numbers do not fit each other, which the kernel would not see."""
    count, nodes = len(edges.sender_E), edges.num_nodes
    if (len(positions), len(graph_index), len(edge_shift)) != (nodes, nodes, count):
        raise IndexError(f"positions, graphs and shifts are not of {nodes} nodes and {count} edges")
    if nodes and not 0 <= int(graph_index.min()) <= int(graph_index.max()) < len(cell):
        raise IndexError(f"a node names a graph outside 0 to {len(cell) - 1}")
    given = [t.contiguous() for t in (edges.sender_E, edges.receiver_E)]
    given += [t.to(torch.float64).contiguous() for t in (positions, edge_shift, cell)]
    given.append(graph_index.contiguous())
    sizes = ((count,), (count, 3), (count, bases), (count,))
    found = Vectors(given[2].new_empty(count, 3), *(positions.new_empty(size, dtype=dtype) for size in sizes))
    library = _library(_REAL[dtype])
    assert library is not None
    results = (found.vector_E3, found.distance_E, found.direction_E3, found.basis_EB, found.envelope_E)
    constant(*given[:2], given[3], given[5])  # all but positions and cells
    _called(library.geometry, (count, bases, cutoff), given, results)
    return found


def _called(
    function: Callable[..., Any], numbers: tuple[Any, ...], given: Sequence[Tensor], results: Sequence[Tensor]
) -> None:
    places = [t.data_ptr() for t in (*given, *results)]
    call(function, (*numbers, *places, torch.get_num_threads()), given, results)


def along_vectors(
    known: Vectors, d_basis: Tensor, d_envelope: Tensor, d_direction: Tensor, cutoff: float
) -> Tensor:
    """``[E, 3]`` float64: the derivative with respect to each edge's vector, from those with respect to what was made of it."""
    out = torch.empty_like(known.vector_E3)
    edges, bases = known.basis_EB.shape
    library = _library(_REAL[known.basis_EB.dtype])
    assert library is not None
    given = (known.distance_E, known.direction_E3, known.basis_EB, d_basis, d_envelope, d_direction)
    _called(library.along, (edges, bases, cutoff), given, [out])
    return out


def across_vectors(known: Vectors, a_along: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """From a cotangent ``[E, 3]`` (float64) of :func:`along_vectors` to those of the derivatives that it was given."""
    found = tuple(torch.empty_like(t) for t in (known.basis_EB, known.envelope_E, known.direction_E3))
    edges, bases = known.basis_EB.shape
    library = _library(_REAL[known.basis_EB.dtype])
    assert library is not None
    given = (known.distance_E, known.direction_E3, known.basis_EB, a_along.contiguous())
    _called(library.across, (edges, bases, cutoff), given, found)
    basis, envelope, direction = found
    return basis, envelope, direction


def forces_of(along_E3: Tensor, edges: EdgeList, dtype: torch.dtype) -> Tensor:
    """``[N, 3]`` float64: minus the derivative with respect to positions. dtype: of the network, whose kernels do it."""
    out = along_E3.new_empty(edges.num_nodes, 3)
    library = _library(_REAL[dtype])
    assert library is not None
    receiver, sender = edges.by_receiver, edges.by_sender
    listed = (receiver.start, receiver.order, sender.start, sender.order)
    constant(*listed)
    _called(library.forces, (edges.num_nodes,), (*listed, along_E3), [out])
    return out


def virial_of(
    known: Vectors, along_E3: Tensor, edges: EdgeList, graph_index: Tensor, num_graphs: int
) -> Tensor:
    """``[G, 3, 3]`` float64: dE/d(strain), symmetric."""
    out = along_E3.new_empty(num_graphs, 3, 3)
    library = _library(_REAL[known.basis_EB.dtype])
    assert library is not None
    listed = (edges.by_receiver.own, graph_index.contiguous())
    constant(*listed)
    _called(library.virial, (len(along_E3), num_graphs), (*listed, known.vector_E3, along_E3), [out])
    return (out + out.transpose(1, 2)) / 2
