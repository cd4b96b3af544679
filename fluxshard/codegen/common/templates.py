"""The one environment of all templates, and text from it."""

from __future__ import annotations

from functools import cache

import jinja2

from fluxshard.codegen.common.template_cache import TemplateCache
from fluxshard.errors import RenderError


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
        bytecode_cache=TemplateCache(),
    )


def render_template(name: str, /, **values: object) -> str:
    """The text of a template, such as "cpp/step.cpp.jinja", with these values.

    Raises:
      RenderError: it asked for something that it was not given.
    """
    try:
        return environment().get_template(name).render(**values)
    except jinja2.TemplateError as error:
        raise RenderError(f"template {name}, line {getattr(error, 'lineno', '?')}: {error}") from error
