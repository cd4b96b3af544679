"""The one template environment: a plan and a target in, source text out; pure."""

from __future__ import annotations

from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cpp.lowering import StepSpec, describe
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan


def render(plan: Plan, target: Target) -> tuple[str, StepSpec]:
    """The C++ source of a plan's step.

    Returns:
      the text, which is also the cache key, and the description that it was rendered from.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    spec = describe(plan, target)
    return render_template("cpp/step.cpp.jinja", spec=spec, t=target, digest=plan.digest()[:16]), spec
