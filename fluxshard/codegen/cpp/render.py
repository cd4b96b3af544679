"""The one template environment: a plan and a target in, source text out; pure."""

from __future__ import annotations

from collections.abc import Mapping

from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cpp.lowering import StepSpec, describe
from fluxshard.codegen.cpp.tiles import Tile
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan


def render(plan: Plan, target: Target, tiles: Mapping[str, Tile] | None = None) -> tuple[str, StepSpec]:
    """The C++ source of a plan's step.

    Args:
      plan, target, tiles: as for `describe`.

    Returns:
      the text, which is also the cache key, and the description that it was rendered from.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    spec = describe(plan, target, tiles)
    return render_template("cpp/step.cpp.jinja", spec=spec, t=target, digest=plan.digest()[:16]), spec
