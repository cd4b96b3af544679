"""Calibrated profiles: thresholds that were found for one network, and the network that they were found for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fluxshard.errors import FluxShardError, OptionError, ProfileError
from fluxshard.files import write_whole
from fluxshard.ir.params import Island
from fluxshard.ir.plan import Plan
from fluxshard.options import ReuseOptions
from fluxshard.runtime.reuse_values import plain_reuse, read_reuse

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdProfile:
    """Thresholds that a calibration found for one network.

    Attributes:
      reuse: options of the session; `reuse.profile` is None.
      canvas_px: option of the compilation that they were found with.
      network: `network_digest` of the plan; equal for all sizes of the image.
      weights: `weights_digest`.
      facts: how it was found: clips, budget, accuracy and work reached, the frontier that was seen; for people.
    """

    reuse: ReuseOptions
    canvas_px: int
    network: str
    weights: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes JSON for people to read; a reader never sees half of it."""
        write_whole(path, (json.dumps(self.plain(), indent=1) + "\n").encode())

    def plain(self) -> dict[str, Any]:
        """The profile as JSON has it."""
        return {
            "format": FORMAT,
            "network": self.network,
            "weights": self.weights,
            "canvas_px": self.canvas_px,
            "reuse": plain_reuse(self.reuse),
            "facts": dict(self.facts),
        }

    @classmethod
    def load(cls, path: Path | str) -> ThresholdProfile:
        """Reads what `save` wrote.

        Raises:
          ProfileError: missing, damaged, of another format, or with values that are not allowed.
        """
        try:
            body = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            seen = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise ProfileError(f"profile {str(path)!r} cannot be read: {seen}") from error
        return cls.of_plain(body, str(path))

    @classmethod
    def of_plain(cls, body: Mapping[str, Any], path: str) -> ThresholdProfile:
        """The profile that `plain` gave.

        Args:
          body: what it gave, after JSON has turned tuples into lists.
          path: of the file that it comes from, for messages.

        Raises:
          ProfileError: damaged, of another format, or with values that are not allowed.
        """
        try:
            if body.get("format") != FORMAT:
                raise ProfileError(
                    f"profile {path!r} has format {body.get('format')!r}; this version reads {FORMAT}: calibrate again"
                )
            return cls(
                reuse=read_reuse(body["reuse"]),
                canvas_px=int(body["canvas_px"]),
                network=str(body["network"]),
                weights=str(body["weights"]),
                facts=body.get("facts", {}),
            )
        except OptionError as error:
            raise ProfileError(f"profile {path!r}: {error}") from error
        except FluxShardError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ProfileError(f"profile {path!r} cannot be read: {type(error).__name__}: {error}") from error

    def check(self, plan: Plan, weights: Mapping[str, Tensor]) -> None:
        """Raises ProfileError unless the profile was found for this network and these weights."""
        if network_digest(plan) != self.network:
            raise ProfileError(
                f"the profile belongs to another network than {plan.name}: calibrate this one (fluxshard calibrate)"
            )
        if weights_digest(plan, weights) != self.weights:
            raise ProfileError(
                f"the profile belongs to other weights of {plan.name}: calibrate these (fluxshard calibrate)"
            )


def network_digest(plan: Plan) -> str:
    """SHA-256 of a plan without what depends on the image's size: 64 hex digits."""
    layers = []
    for layer in plan.layers:
        params: object = layer.params
        if isinstance(params, Island):  # islands spell out shapes
            params = [step.target for step in params.steps]
        layers.append((layer.name, layer.op, repr(params), layer.inputs, layer.outputs, layer.mode))
    # each once: odd sizes split a stride into several grids
    strides = dict.fromkeys((str(grid.stride_y), str(grid.stride_x)) for grid in plan.grids)
    return hashlib.sha256(json.dumps([layers, list(strides)]).encode()).hexdigest()


def weights_digest(plan: Plan, weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights of all sparse layers: 64 hex digits."""
    total = hashlib.sha256()
    for name in sorted({name for layer in plan.layers if layer.mode == "sparse" for _, name in layer.weights}):
        total.update(name.encode())
        total.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
