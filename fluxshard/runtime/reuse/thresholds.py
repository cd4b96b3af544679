"""Thresholds of propagated reuse, one per layer."""

from __future__ import annotations

from collections.abc import Mapping

from fluxshard.errors import OptionError
from fluxshard.ir.plan import Plan


def tau_per_layer(plan: Plan, tau: float | Mapping[str, float]) -> tuple[float, ...]:
    """`ReuseOptions.tau` for every layer, in plan order; layers that are not named have 0.

    Raises:
      OptionError: a name that is no layer's.
    """
    if not isinstance(tau, Mapping):
        return tuple(float(tau) for _ in plan.layers)
    names = {layer.name for layer in plan.layers if layer.mode != "view"}
    unknown = sorted(set(tau) - names)
    if unknown:
        raise OptionError(f"tau names {', '.join(unknown)}; the model's layers are listed by model.explain()")
    return tuple(float(tau.get(layer.name, 0.0)) for layer in plan.layers)
