"""Targets of generated C++ that need no machine: they decide widths only, and nothing is compiled for them."""

from __future__ import annotations

from fluxshard.ir.kernel import Target

AVX512 = Target(isa="avx512", vector_floats=16, registers=32, compiler="none", compiler_id="none 1", flags=("-O3",))
PORTABLE = Target(isa="portable", vector_floats=4, registers=16, compiler="none", compiler_id="none 1", flags=("-O3",))
