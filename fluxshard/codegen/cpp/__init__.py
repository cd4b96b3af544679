"""Generated C++: a plan becomes one program that runs a whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fluxshard.codegen.cpp.library import StepLibrary
from fluxshard.codegen.cpp.program_cache import get_or_build
from fluxshard.codegen.cpp.render import render
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan

__all__ = ["StepLibrary", "build_step"]


def build_step(
    plan: Plan, target: Target, cache_dir: Path | None = None, tiles: Mapping[str, Tile] | None = None
) -> StepLibrary:
    """Renders, compiles or finds, and loads the program of a plan.

    Args:
      plan: what to run.
      target: from `detect_target`.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.
      tiles: measured ones, by layer; the rule has those of others.

    Raises:
      CompileError, MissingKernelError: see `cache.get_or_build`.
    """
    text, spec = render(plan, target, tiles)
    name = "".join(ch if ch.isalnum() else "-" for ch in plan.name.lower())[:40]
    return StepLibrary(get_or_build(name, text, target, cache_dir), text, spec, target)
