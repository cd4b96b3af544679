"""The one template environment: a plan and a target in, source text out; pure."""

from __future__ import annotations

from functools import cache

import jinja2

from fluxshard.codegen.step import StepSpec, describe
from fluxshard.errors import RenderError
from fluxshard.ir.kernel import Target
from fluxshard.ir.plan import Plan


@cache
def environment() -> jinja2.Environment:
    """The environment of all templates."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fluxshard.codegen", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        keep_trailing_newline=True,
    )


def render(plan: Plan, target: Target) -> tuple[str, StepSpec]:
    """The C++ source of a plan's step.

    Returns:
      the text, which is also the cache key, and the description that it was rendered from.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    spec = describe(plan, target)
    try:
        text = environment().get_template("step.cpp.jinja").render(spec=spec, t=target, digest=plan.digest()[:16])
    except jinja2.TemplateError as error:
        raise RenderError(f"template step.cpp.jinja, line {getattr(error, 'lineno', '?')}: {error}") from error
    return text, spec
