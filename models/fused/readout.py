"""Energies of atoms and their derivatives with respect to the natural scalars, by one kernel (``heads.py`` has the reference).

With ``p = (W x + b) factor + shift`` and ``s`` the logistic function: ``hidden = p s(p)``,
``energy = scale (hidden . e + x . linear)``, ``slope = scale (W^T (s (1 + p (1 - s)) factor e) + linear)``.

Legend: ``N`` nodes, ``M`` components, ``K`` channels of both classes, ``C`` natural channels, ``H`` hidden units.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import TYPE_CHECKING

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
typedef {real} T;
{FLUSHING}
{EXPONENTIAL[real]}
/* rows of factor, shift, energy and linear are those of nodes (each = 1) or one for all (each = 0); linear may be missing */
void readout(int64_t nodes, int64_t each, int64_t stride, double scale, const T *restrict x, const T *restrict W,
             const T *restrict WT, const T *restrict bias, const T *restrict factors, const T *restrict shifts,
             const T *restrict energies, const T *restrict linears, T *restrict hidden, double *restrict energy,
             T *restrict slope, int threads) {{
{opened("static")}
for (int64_t n = 0; n < nodes; n++) {{
    const int64_t row = each * n;
    const T *restrict in = x + n * stride, *restrict factor = factors + row * {hidden};
    const T *restrict shift = shifts + row * {hidden}, *restrict e = energies + row * {hidden};
    T unit[{hidden}], out[{channels}];
    double sum = 0;
    for (int h = 0; h < {hidden}; h++) unit[h] = bias[h];
    for (int c = 0; c < {channels}; c++) {{
        const T value = in[c];
#pragma omp simd
        for (int h = 0; h < {hidden}; h++) unit[h] += value * WT[c * {hidden} + h];
    }}
#pragma omp simd reduction(+:sum)
    for (int h = 0; h < {hidden}; h++) {{
        const T p = unit[h] * factor[h] + shift[h], s = 1 / (1 + exponential(-p));
        hidden[n * {hidden} + h] = p * s;
        sum += (double)(p * s) * e[h];
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
}}
{CLOSED}
}}
"""


@lru_cache(maxsize=16)
def _library(real: str, channels: int, hidden: int) -> ctypes.CDLL | None:
    count, place = ctypes.c_int64, ctypes.c_void_p
    arguments = (count, count, count, ctypes.c_double, *[place] * 11, ctypes.c_int)
    return compiled(lambda: _source(real, channels, hidden), {"readout": arguments})


def readout_available(x: Tensor, channels: int, hidden: int) -> bool:
    """Whether there is a kernel for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
    return (
        x.device.type == "cpu" and x.dtype in _REAL and _library(_REAL[x.dtype], channels, hidden) is not None
    )


def read_energies(x: Tensor, g: Tensor, readout: Readout, scale: float) -> tuple[Tensor, Tensor]:
    """Hidden units ``[N, H]`` and energies ``[N]`` (float64, in the unit of ``scale``) from features ``x [N, M, K]``, contiguous;
    the slope goes into the natural scalars of ``g``, of the same shape, whose other places stay as they are."""
    given = [t.contiguous() for t in readout.flat()]
    weight, bias, factor, shift, energy, *linear = given
    hidden, channels = weight.shape
    turned = weight.T.contiguous()
    constant(turned, *given)
    units, energies = x.new_empty(len(x), hidden), x.new_empty(len(x), dtype=torch.float64)
    library = _library(_REAL[x.dtype], channels, hidden)
    assert library is not None
    reads = [x, weight, turned, bias, factor, shift, energy, *linear]
    places = [t.data_ptr() for t in reads] + [None] * (8 - len(reads))
    places += [t.data_ptr() for t in (units, energies, g)]
    each = int(len(energy) == len(x) > 1)
    arguments = (len(x), each, x[0].numel(), scale, *places, torch.get_num_threads())
    call(library.readout, arguments, reads, [units, energies, g])
    return units, energies
