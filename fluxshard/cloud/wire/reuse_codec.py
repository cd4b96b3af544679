"""Options of reuse as bytes: an endpoint that runs by order needs the same ones."""

from __future__ import annotations

import json
import math

from fluxshard.errors import OptionError, WireError
from fluxshard.options import ReuseOptions
from fluxshard.runtime.reuse_values import plain_reuse, read_reuse

MAX_BYTES = 32 << 10


def encode_reuse(reuse: ReuseOptions) -> str:
    """JSON of the options; a threshold profile has to be read before."""
    return json.dumps(plain_reuse(reuse), separators=(",", ":"))


def decode_reuse(text: str) -> ReuseOptions:
    """The options of this JSON.

    Raises:
      WireError: damaged, too large, or with values that are not allowed.
    """
    if len(text) > MAX_BYTES:
        raise WireError(f"options of reuse take more than {MAX_BYTES} bytes")
    if text.count("{") > 200 or text.count("[") > 10:  # nesting and size of what is parsed are bounded
        raise WireError("options of reuse are too complex")
    try:
        body = json.loads(text)
        if "profile" in body:
            raise WireError("options of reuse name a file")
        reuse = read_reuse(body)
        tau = reuse.tau
        for value in tau.values() if isinstance(tau, dict) else (tau,):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise WireError("options of reuse have values that are not allowed")
    except (OptionError, TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError):
        raise WireError("options of reuse have values that are not allowed") from None
    return reuse
