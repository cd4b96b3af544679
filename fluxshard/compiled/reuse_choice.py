"""What a session reuses, from what a caller gave."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from fluxshard.errors import OptionError
from fluxshard.options import ReuseOptions, checked_options

SessionKind: TypeAlias = Literal["planned", "propagated", "exact"]


def chosen_reuse(given: ReuseOptions | SessionKind | None, *, exact: bool, own: ReuseOptions | None) -> ReuseOptions:
    """See `CompiledModel.session`.

    Args:
      given, exact: see there.
      own: what the model was saved with, if anything.

    Raises:
      OptionError: both, or something else.
    """
    if exact and given not in (None, "exact"):
        raise OptionError("session(exact=True) says what to reuse: leave out reuse, or exact")
    if exact or given == "exact":
        return ReuseOptions.exact()
    if given is None:
        return ReuseOptions(policy="planned") if own is None else own
    if isinstance(given, str):
        if given not in get_args(SessionKind):
            known = ", ".join(map(repr, get_args(SessionKind)))
            raise OptionError(f"reuse (={given!r}) must be one of {known}, or ReuseOptions(...)")
        return ReuseOptions(policy=given)
    return checked_options(given, ReuseOptions, "reuse")
