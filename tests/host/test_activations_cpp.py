"""Vectors of floats: SiLU and its exponential to the bounds that are stated, and what is not finite."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.common.toolchain import compile_source, detect_target
from fluxshard.errors import ToolchainError

pytestmark = pytest.mark.requires_compiler
Array = NDArray[np.float32]
_CALLS = """
template <class F> static void each(const float* x, float* y, int n, F f) {
  for (int i = 0; i < n; i += FS_VL) store(y + i, f(load(x + i)));
}
extern "C" void silu(const float* x, float* y, int n) { each(x, y, n, [](vf v) { return silu_v(v); }); }
extern "C" void exponential(const float* x, float* y, int n) { each(x, y, n, [](vf v) { return exp_v(v); }); }
extern "C" void clamped(const float* x, float* y, int n) { each(x, y, n, [](vf v) { return clamp_v(v, 0.0f, 6.0f); }); }
"""


class Functions:
    """Functions of vector.h on arrays."""

    def __init__(self, isa: str, directory: Path) -> None:
        try:
            target = detect_target(isa)  # type: ignore[arg-type]
        except ToolchainError as error:
            pytest.skip(str(error))
        source = directory / "vector.cpp"
        source.write_text(f"#define FS_VL {target.vector_floats}\n{render_template('cpp/vector.h', t=target)}{_CALLS}")
        compile_source(source, directory / "vector.so", target)
        self._library = ctypes.CDLL(str(directory / "vector.so"))

    def __call__(self, name: str, x: Array) -> Array:
        padded = np.concatenate([x, np.zeros(-len(x) % 16, np.float32)]).astype(np.float32)
        out = np.empty_like(padded)
        self._library[name](ctypes.c_void_p(padded.ctypes.data), ctypes.c_void_p(out.ctypes.data), len(padded))
        return out[: len(x)]


@pytest.fixture(scope="module", params=["avx512", "avx2", "portable"])
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Functions:
    return Functions(request.param, tmp_path_factory.mktemp("vector"))


def test_silu_is_exact_to_3e7_of_its_value(functions: Functions) -> None:
    x = np.concatenate([
        np.arange(-87, 100, 1e-4, np.float64),
        *(sign * np.logspace(-30, 30, 20001) for sign in (1.0, -1.0)),
    ]).astype(np.float32)  # fmt: skip
    x = x[x > -87]
    exact = x / (1 + np.exp(-x.astype(np.float64)))
    assert np.max(np.abs(functions("silu", x) - exact) / np.abs(exact)) < 3e-7


def test_silu_of_what_is_far_below_zero_is_next_to_nothing(functions: Functions) -> None:
    assert np.all(np.abs(functions("silu", np.linspace(-1e6, -87, 4096, dtype=np.float32))) < 1e-30)


def test_silu_of_what_is_not_finite(functions: Functions) -> None:
    found = functions("silu", np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32))
    assert found[0] == np.inf and found[1] == -np.inf and np.isnan(found[2])
    assert found[3] == found[4] == 0


def test_the_exponential_is_exact_to_2e7_of_its_value(functions: Functions) -> None:
    x = np.arange(-87, 88, 1e-4, np.float64).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.max(np.abs(functions("exponential", x) - exact) / exact) < 2e-7
    assert np.isnan(functions("exponential", np.array([np.nan], np.float32)))[0]


def test_clamping_keeps_nan_and_the_sign_of_zero(functions: Functions) -> None:
    x = np.array([np.nan, -np.inf, -1, -0.0, 0.0, 3, 6, 7, np.inf], np.float32)
    found = functions("clamped", x)
    assert np.isnan(found[0]) and found[1:].tolist() == [0, 0, 0, 0, 3, 6, 6, 6]
    assert np.signbit(found[3]) and not np.signbit(found[4])
