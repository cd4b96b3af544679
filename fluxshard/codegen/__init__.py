"""Generated C++: a plan becomes one program that runs a whole frame. Text, compilers, pointers and sizes; no torch."""

from __future__ import annotations

from pathlib import Path

from fluxshard.codegen.cache import get_or_build
from fluxshard.codegen.library import StepLibrary
from fluxshard.codegen.render import render
from fluxshard.codegen.toolchain import detect_target
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan

__all__ = ["StepLibrary", "build_step", "detect_target"]


def build_step(plan: Plan, target: Target, cache_dir: Path | None = None) -> StepLibrary:
    """Renders, compiles or finds, and loads the program of a plan.

    Args:
      plan: what to run.
      target: from `detect_target`.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      CompileError, MissingKernelError: see `cache.get_or_build`.
    """
    text, spec = render(plan, target)
    name = "".join(ch if ch.isalnum() else "-" for ch in plan.name.lower())[:40]
    return StepLibrary(get_or_build(name, text, target, cache_dir), text, spec, target)
