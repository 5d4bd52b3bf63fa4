"""What is read of atoms by two kernels: energies with their derivatives, charges and dipoles (``heads.py`` has the reference).

With ``p = (W x + b) factor + shift`` and ``s`` the logistic function: ``hidden = p s(p)``,
``energy = scale (hidden . e + x . linear)``, ``slope = scale (W^T (s (1 + p (1 - s)) factor e) + linear)``,
``charge = hidden . q`` and, of the vectors v among the features, ``dipole = v . d``.

Legend: ``N`` nodes, ``G`` graphs, ``M`` components, ``K`` channels of both classes, ``C`` natural channels, ``H`` hidden units.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .library import compiled
from .radial import EXPONENTIAL
from .shared_loop import CLOSED, FLUSHING, opened
from .tape import call, constant

if TYPE_CHECKING:
    from ..heads import Readout

_REAL = {torch.float32: "float", torch.float64: "double"}


def _source(real: str, channels: int, hidden: int) -> str:
    return f"""#include <stdint.h>
#include <string.h>
typedef {real} T;
{FLUSHING}
{EXPONENTIAL[real]}
/* rows of factor, shift, e, q, d and linear are those of nodes (each = 1) or one for all (0); linear and d may be missing */
void readout(int64_t nodes, int64_t each, int64_t stride, int64_t width, double scale, const T *restrict x,
             const T *restrict W, const T *restrict WT, const T *restrict bias, const T *restrict factors,
             const T *restrict shifts, const T *restrict energies, const T *restrict charges, const T *restrict linears,
             const T *restrict dipoles, T *restrict hidden, double *restrict energy, T *restrict charge, T *restrict dipole,
             T *restrict slope, int threads) {{
{opened("static")}
for (int64_t n = 0; n < nodes; n++) {{
    const int64_t row = each * n;
    const T *restrict in = x + n * stride, *restrict factor = factors + row * {hidden};
    const T *restrict shift = shifts + row * {hidden}, *restrict e = energies + row * {hidden};
    const T *restrict q = charges + row * {hidden};
    T unit[{hidden}], out[{channels}];
    double sum = 0, all = 0;
    for (int h = 0; h < {hidden}; h++) unit[h] = bias[h];
    for (int c = 0; c < {channels}; c++) {{
        const T value = in[c];
#pragma omp simd
        for (int h = 0; h < {hidden}; h++) unit[h] += value * WT[c * {hidden} + h];
    }}
#pragma omp simd reduction(+:sum, all)
    for (int h = 0; h < {hidden}; h++) {{
        const T p = unit[h] * factor[h] + shift[h], s = 1 / (1 + exponential(-p));
        hidden[n * {hidden} + h] = p * s;
        sum += (double)(p * s) * e[h];
        all += (double)(p * s) * q[h];
        unit[h] = s * (1 + p * (1 - s)) * factor[h] * e[h];
    }}
    for (int c = 0; c < {channels}; c++) out[c] = 0;
    if (linears) for (int c = 0; c < {channels}; c++) {{
        out[c] = linears[row * {channels} + c];
        sum += (double)in[c] * out[c];
    }}
    for (int h = 0; h < {hidden}; h++) {{
        const T value = unit[h];
#pragma omp simd
        for (int c = 0; c < {channels}; c++) out[c] += value * W[h * {channels} + c];
    }}
    for (int c = 0; c < {channels}; c++) slope[n * stride + c] = (T)scale * out[c];
    energy[n] = scale * sum;
    charge[n] = (T)all;
    if (dipoles) for (int i = 0; i < 3; i++) {{
        const T *restrict v = in + (i + 1) * width, *restrict d = dipoles + row * {channels};
        T part = 0;
#pragma omp simd reduction(+:part)
        for (int c = 0; c < {channels}; c++) part += v[c] * d[c];
        dipole[3 * n + i] = part;
    }}
}}
{CLOSED}
}}

/* sums over the atoms of each graph: energies, and dipoles about the centre of mass where there are any */
void pooled(int64_t nodes, int64_t graphs, const int64_t *restrict graph, const double *restrict reference,
            const double *restrict mass, const double *restrict position, const double *restrict energy,
            const T *restrict charge, const T *restrict dipole, double *restrict sums, double *restrict energies,
            T *restrict dipoles, int threads) {{
    memset(sums, 0, 7 * graphs * sizeof(double));
    for (int64_t g = 0; g < graphs; g++) energies[g] = 0;
    for (int64_t n = 0; n < nodes; n++) {{
        double *restrict own = sums + 7 * graph[n];
        energies[graph[n]] += energy[n] + reference[n];
        own[0] += mass[n];
        for (int i = 0; i < 3; i++) own[1 + i] += mass[n] * position[3 * n + i];
    }}
    if (!dipole) return;
    for (int64_t n = 0; n < nodes; n++) {{
        double *restrict own = sums + 7 * graph[n];
        for (int i = 0; i < 3; i++)
            own[4 + i] += dipole[3 * n + i] + charge[n] * (position[3 * n + i] - own[1 + i] / own[0]);
    }}
    for (int64_t g = 0; g < graphs; g++)
        for (int i = 0; i < 3; i++) dipoles[3 * g + i] = (T)sums[7 * g + 4 + i];
}}
"""


@lru_cache(maxsize=16)
def _library(real: str, channels: int, hidden: int) -> ctypes.CDLL | None:
    count, place, threads = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    arguments = {
        "readout": (count, count, count, count, ctypes.c_double, *[place] * 15, threads),
        "pooled": (count, count, *[place] * 10, threads),
    }
    return compiled(lambda: _source(real, channels, hidden), arguments)


def readout_available(x: Tensor, channels: int, hidden: int) -> bool:
    """Whether there are kernels for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
    return (
        x.device.type == "cpu" and x.dtype in _REAL and _library(_REAL[x.dtype], channels, hidden) is not None
    )


class AtomsRead(NamedTuple):
    """Hidden units ``[N, H]``, energies ``[N]`` (float64, in the unit of ``scale``), charges ``[N]`` and, where features have
    vectors, dipoles ``[N, 3]``."""

    hidden: Tensor
    energy: Tensor
    charge: Tensor
    dipole: Tensor | None


def read_atoms(
    x: Tensor, g: Tensor, readout: Readout, charge: Tensor, dipole: Tensor, scale: float
) -> AtomsRead:
    """Of features ``x [N, M, K]``, contiguous, with rows ``charge [N, H]`` and ``dipole [N, C]`` (or one for all) beside those of
    ``readout``; the slope goes into the natural scalars of ``g``, shaped as ``x``, whose other places stay as they are."""
    nodes, components, width = x.shape
    vectors = dipole if components > 1 else None
    rows = [readout.factor, readout.shift, readout.energy, charge, readout.linear, vectors]
    weight, bias = readout.weight.contiguous(), readout.bias.contiguous()
    reads = [weight, weight.T.contiguous(), bias, *(None if t is None else t.contiguous() for t in rows)]
    constant(*(t for t in reads if t is not None))
    hidden, channels = weight.shape
    found = AtomsRead(
        x.new_empty(nodes, hidden), x.new_empty(nodes, dtype=torch.float64), x.new_empty(nodes),
        x.new_empty(nodes, 3) if components > 1 else None,
    )  # fmt: skip
    library = _library(_REAL[x.dtype], channels, hidden)
    assert library is not None
    places = [None if t is None else t.data_ptr() for t in (x, *reads, *found, g)]
    each = int(len(readout.energy) == nodes > 1)
    arguments = (nodes, each, components * width, width, scale, *places, torch.get_num_threads())
    call(library.readout, arguments, [x, *reads], [*found, g])
    return found


def pool_atoms(
    read: AtomsRead, positions: Tensor, graph_index: Tensor, num_graphs: int, reference_N: Tensor, mass_N: Tensor,
    channels: int,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Energies ``[G]`` (float64), with those of free atoms ``reference_N``, and dipoles ``[G, 3]`` about the centre of mass in
    e angstrom; positions ``[N, 3]``, references and masses are float64."""
    hidden, energy, charge, dipole = read
    listed = [t.contiguous() for t in (graph_index, reference_N, mass_N)]
    constant(*listed)
    sums, energies = energy.new_empty(num_graphs, 7), energy.new_empty(num_graphs)
    dipoles = None if dipole is None else dipole.new_empty(num_graphs, 3)
    library = _library(_REAL[hidden.dtype], channels, hidden.shape[1])
    assert library is not None
    reads, writes = [*listed, positions, energy, charge, dipole], [sums, energies, dipoles]
    places = [None if t is None else t.data_ptr() for t in (*reads, *writes)]
    call(library.pooled, (len(energy), num_graphs, *places, torch.get_num_threads()), reads, writes)
    return energies, dipoles
