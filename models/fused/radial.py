"""C source of the radial network of a block of edges and of its derivatives.

``p = near + far + basis W1``, ``h = silu(p) envelope``. Along the cotangents of the first derivative (names with a leading a)
``ap = anear + afar + abasis W1`` and ``ah = silu'(p) ap envelope + silu(p) aenvelope``. With ``th = dt/dh`` and ``gh = dt/d(ah)``
the derivatives with respect to p, ap and the envelope follow; ``silu' = s (1 + p (1 - s))`` and
``silu'' = s (1 - s) (2 + p (1 - 2 s))`` with ``s`` the logistic function.
"""

from __future__ import annotations

import math


def _exponential(degree: int, limit: float, shift: int, integer: str, bias: int) -> str:
    """exp by powers of two and a Taylor polynomial on [-ln 2 / 2, ln 2 / 2], without branches; the argument is held within the
    limit, where the logistic function is 0 or 1 to rounding. What is no number stays so in the product with the argument."""
    terms = [1 / math.factorial(k) for k in range(degree + 1)]
    horner = f"(T){terms[-1]!r}"
    for value in reversed(terms[:-1]):
        horner = f"({horner} * r + (T){value!r})"
    return f"""
static inline T exponential(T x) {{
    x = x > (T){-limit!r} ? x : (T){-limit!r};
    x = x < (T){limit!r} ? x : (T){limit!r};
    const T scaled = x * (T){1 / math.log(2)!r};
    const {integer} power = ({integer})(scaled + (T){bias + 0.5!r});
    const T r = x - (T)(power - {bias}) * (T){math.log(2)!r};
    const {integer} bits = power << {shift};
    T scale;
    __builtin_memcpy(&scale, &bits, sizeof bits);
    return {horner} * scale;
}}
"""


EXPONENTIAL = {
    "float": _exponential(7, 80.0, 23, "int32_t", 127),
    "double": _exponential(13, 600.0, 52, "int64_t", 1023),
}
"""``exponential(x)`` in each precision, to a few units in the last place."""


def _sum(prefix: str, bases: int, hidden: int) -> str:
    terms = [f"p{prefix}near[c]", f"p{prefix}far[c]"]
    terms += [f"p{prefix}basis[{k}] * W1[{k * hidden} + c]" for k in range(bases)]
    return " + ".join(terms)


def before(bases: int, hidden: int, second: bool, derivatives: bool) -> str:
    """Hidden units of a block into ``h_`` (and ``ah_``), and what :func:`after` needs of them."""
    lines = ["for (int b = 0; b < count; b++) {", "const int64_t e = order[first + b], n = own[e];"]
    for prefix in ("", "a") if second else ("",):
        lines += [
            f"const T *restrict p{prefix}near = {prefix}near + n * {hidden};",
            f"const T *restrict p{prefix}far = {prefix}far + other[e] * {hidden};",
            f"const T *restrict p{prefix}basis = {prefix}basis + e * {bases};",
            f"const T p{prefix}envelope = {prefix}envelope[e];",
        ]
    lines += ["#pragma omp simd", f"for (int c = 0; c < {hidden}; c++) {{"]
    lines += [f"const T p = {_sum('', bases, hidden)};", "const T s = 1 / (1 + exponential(-p));"]
    lines += [f"const int at = b * {hidden} + c;", "h_[at] = p * s * penvelope;"]
    if derivatives or second:
        lines += ["const T slope = s * (1 + p * (1 - s));"]
    if derivatives:
        lines += ["silu_[at] = p * s; slope_[at] = slope;"]
    if second:
        lines += [f"const T ap = {_sum('a', bases, hidden)};"]
        lines += ["ah_[at] = slope * ap * penvelope + p * s * paenvelope;"]
        if derivatives:
            lines += ["ap_[at] = ap; bend_[at] = s * (1 - s) * (2 + p * (1 - 2 * s));"]
    return "\n".join([*lines, "}", "}"])


def after(bases: int, hidden: int, second: bool) -> str:
    """From ``th_`` (and ``gh_``) to derivatives of inputs and of W1, and ``pre`` for the pass by sender."""
    lines = ["for (int b = 0; b < count; b++) {", "const int64_t e = order[first + b];"]
    lines += [f"T *restrict sum_near = out_near + own[e] * {hidden};"]
    lines += ["const T penvelope = envelope[e];", "T sum_envelope = 0;"]
    if second:
        lines += ["const T paenvelope = aenvelope[e];"]
    lines += [f"T dp[{hidden}], dap[{hidden}];" if second else f"T dp[{hidden}];"]
    lines += ["#pragma omp simd reduction(+:sum_envelope)", f"for (int c = 0; c < {hidden}; c++) {{"]
    lines += [f"const int at = b * {hidden} + c;"]
    if second:
        lines += [
            "dp[c] = th_[at] * slope_[at] * penvelope"
            " + gh_[at] * (bend_[at] * ap_[at] * penvelope + slope_[at] * paenvelope);",
            "dap[c] = gh_[at] * slope_[at] * penvelope;",
            "sum_envelope += th_[at] * silu_[at] + gh_[at] * slope_[at] * ap_[at];",
        ]
    else:
        lines += ["dp[c] = th_[at] * slope_[at] * penvelope;", "sum_envelope += th_[at] * silu_[at];"]
    lines += [f"pre[e * {hidden} + c] = dp[c];", "sum_near[c] += dp[c];", "}"]
    lines += ["out_envelope[e] = sum_envelope;"]
    lines += [f"for (int k = 0; k < {bases}; k++) {{", "T sum = 0;", "#pragma omp simd reduction(+:sum)"]
    lines += [f"for (int c = 0; c < {hidden}; c++) sum += dp[c] * W1[k * {hidden} + c];"]
    lines += [f"out_basis[e * {bases} + k] = sum;"]
    extra = f" + abasis[e * {bases} + k] * dap[c]" if second else ""
    lines += [f"if (qW1) for (int c = 0; c < {hidden}; c++)"]
    lines += [f"qW1[k * {hidden} + c] += basis[e * {bases} + k] * dp[c]{extra};", "}"]
    return "\n".join([*lines, "}"])
