"""Tiles of matrix products in C for machines whose registers are wide or narrow."""

import ctypes

import numpy as np
import pytest

from atomfield.models.fused import gemm, library

POINTER = ctypes.c_void_p
REGISTERS = [gemm.Registers(64, 16), gemm.Registers(32, 12), gemm.Registers(16, 12)]


@pytest.mark.parametrize(
    ("macros", "size"),
    [("#define __AVX512F__ 1\n#define __AVX__ 1", 64), ("#define __AVX__ 1", 32), ("", 16)],
)
def test_registers_are_those_of_the_machine(macros, size):
    assert gemm.registers_of(macros).size == size
    assert gemm.registers_of(macros).width("double") == size // 8


@pytest.mark.skipif(library.compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("machine", REGISTERS, ids=lambda r: f"{r.size} bytes")
@pytest.mark.parametrize("real", ["float", "double"])
def test_tiles_multiply_for_every_width(machine, real, monkeypatch, tmp_path):
    monkeypatch.setenv("ATOMFIELD_CACHE", str(tmp_path))
    monkeypatch.setenv(library.FLAGS_VARIABLE, "-O1")
    inner, columns, count = 7, 37, 8
    width = machine.width(real)
    parts = [
        f"#include <stdint.h>\ntypedef {real} T;",
        machine.vectors(),
        *(gemm.rows_times(f"rows_{rows}", inner, columns, rows, width, machine.sums) for rows in (4, 8)),
        gemm.add_outer("outer", inner, columns, width, machine.sums),
    ]
    text = "\n".join(parts).replace("static void", "void")
    arguments = (POINTER, POINTER, POINTER, ctypes.c_int)
    found = library.compiled(lambda: text, dict.fromkeys(("rows_4", "rows_8", "outer"), arguments))
    assert found is not None
    random = np.random.default_rng(0)
    kind = np.float32 if real == "float" else np.float64
    a = random.normal(size=(count, inner)).astype(kind)
    w = random.normal(size=(inner, columns)).astype(kind)
    b = random.normal(size=(count, columns)).astype(kind)
    close = 1e-5 if real == "float" else 1e-13
    for name in ("rows_4", "rows_8"):
        out = np.zeros((count, columns), kind)
        getattr(found, name)(a.ctypes.data, w.ctypes.data, out.ctypes.data, count)
        np.testing.assert_allclose(out, a @ w, rtol=close, atol=close)
    out = np.ones((inner, columns), kind)
    found.outer(a.ctypes.data, b.ctypes.data, out.ctypes.data, count)
    np.testing.assert_allclose(out, 1 + a.T @ b, rtol=close, atol=close)
