"""Options of reuse as plain values, for files and for the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from fluxshard.errors import OptionError
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions


def plain_reuse(reuse: ReuseOptions) -> dict[str, Any]:
    """What JSON can hold of the options: all but the path of a threshold profile."""
    body = asdict(reuse)
    del body["profile"]
    return body


def read_reuse(body: Mapping[str, Any]) -> ReuseOptions:
    """What `plain_reuse` gave, after JSON has turned keys into strings and tuples into lists.

    Raises:
      OptionError: an unknown name, or a value that is not allowed.
      KeyError, TypeError, ValueError, AttributeError: not made by `plain_reuse`.
    """
    planned = dict(body["planned"])
    planned["levels"] = {int(stride): LevelOptions(**level) for stride, level in planned["levels"].items()}
    planned["pixel_range"] = tuple(planned["pixel_range"])
    unknown = sorted(set(body) - {f.name for f in fields(ReuseOptions)})
    if unknown:
        raise OptionError(f"reuse has {', '.join(unknown)}, which this version does not know")
    return ReuseOptions(**{**body, "planned": PlannedOptions(**planned)})
