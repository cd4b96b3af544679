"""Kernel parameters in, CUDA C++ out; pure. The text is the cache key."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cuda.launches.kernels import Gemm, Kernel, name_of

_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
_MATHS = {"ffma": 0, "m16n8k16": 1, "m16n8k8": 2}


@cache
def header(name: str) -> str:
    """The text of a template that is taken as it is: PTX has braces and percent signs of its own."""
    return (files("fluxshard.codegen") / "templates" / name).read_text()


def render_kernel(kernel: Kernel, args_bytes: int) -> str:
    """The source of one kernel, complete but for `emulate.h`, which only the emulator reads.

    Args:
      kernel: its parameters.
      args_bytes: size of its struct of arguments, asserted when it is compiled.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    return render_template(
        "cuda/kernel.cu.jinja", k=kernel, name=name_of(kernel), description=repr(kernel),
        type_number=_TYPES[kernel.dtype], math_number=_MATHS[kernel.math] if isinstance(kernel, Gemm) else 0,
        args_bytes=args_bytes, source=header,
    )  # fmt: skip
