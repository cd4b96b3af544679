"""Latency profiles: what an endpoint takes for a frame, measured once, with all that the measurement depends on."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fluxshard.errors import ProfileError
from fluxshard.files import write_whole
from fluxshard.runtime.offload.latency_model import LatencyModel

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a latency was measured on; a profile fits an endpoint where all of it is equal.

    Attributes:
      plan: digest of the plan, which includes the size of the image.
      weights: `weights_digest`.
      policy: "propagated" or "planned".
      backend: of the engine.
      dtype: of stored features.
      device: name of the processor or GPU.
      threads: of the process; 0 on a GPU.
      version: of FluxShard and torch.
    """

    plan: str
    weights: str
    policy: str
    backend: str
    dtype: str
    device: str
    threads: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyProfile:
    """Latency of one network on one endpoint, as a function of a frame's predicted work.

    Attributes:
      measured: what it depends on.
      model: the function.
      energy_mj: the same for the energy of a frame in millijoules; None where no meter was there.
      rest_mw: power of the device at rest, in milliwatts, by the same meter; None where no meter was there.
      facts: clips, frames and spread of the measurement; for people.
    """

    measured: Measured
    model: LatencyModel
    energy_mj: LatencyModel | None = None
    rest_mw: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes JSON for people to read; a reader never sees half of it."""
        body = {
            "format": FORMAT,
            "measured": asdict(self.measured),
            "model": asdict(self.model),
            "energy_mj": None if self.energy_mj is None else asdict(self.energy_mj),
            "rest_mw": self.rest_mw,
            "facts": dict(self.facts),
        }
        write_whole(path, (json.dumps(body, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path | str) -> LatencyProfile:
        """Reads what `save` wrote.

        Raises:
          ProfileError: missing, damaged or of another format.
        """
        try:
            body = json.loads(Path(path).read_text(encoding="utf-8"))
            if body.get("format") != FORMAT:
                raise ProfileError(
                    f"latency profile {str(path)!r} has format {body.get('format')!r}; this version reads {FORMAT}: "
                    "profile again (fluxshard profile)"
                )
            energy, rest = body.get("energy_mj"), body.get("rest_mw")
            rest_mw = None if rest is None else float(rest)
            if rest_mw is not None and not (math.isfinite(rest_mw) and rest_mw >= 0):
                raise ValueError(f"rest_mw is {rest!r}")
            return cls(
                measured=Measured(**body["measured"]),
                model=read_model(body["model"]),
                energy_mj=None if energy is None else read_model(energy),
                rest_mw=rest_mw,
                facts=body.get("facts", {}),
            )
        except ProfileError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            seen = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise ProfileError(f"latency profile {str(path)!r} cannot be read: {seen}") from error

    def differences(self, endpoint: Measured) -> list[str]:
        """What of an endpoint is not as it was measured, one line each; empty where the profile fits."""
        return [
            f"{name}: profiled {mine!r}, here {theirs!r}"
            for (name, mine), theirs in zip(asdict(self.measured).items(), asdict(endpoint).values(), strict=True)
            if mine != theirs
        ]


def read_model(body: Mapping[str, Any]) -> LatencyModel:
    """A model from its fields.

    Raises:
      KeyError, TypeError, ValueError, OverflowError: they are not those of a model.
    """
    knots = tuple((float(x), float(y)) for x, y in body["knots"])
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(knots))
    slopes = tuple(float(slope) for slope in body["slopes_ms"])
    if not knots or not rising or min(slopes, default=0.0) < 0:
        raise ValueError("knots must rise, and slopes be at least 0")
    base_ms, error = float(body["base_ms"]), float(body["error"])
    if not all(map(math.isfinite, (base_ms, error, *slopes, *itertools.chain(*knots)))):
        raise ValueError("a model has finite numbers only")
    if min(base_ms, error, *itertools.chain(*knots)) < 0:
        raise ValueError("base_ms, error and knots must be at least 0")
    return LatencyModel(
        base_ms=base_ms, slopes_ms=slopes, knots=knots, error=error, samples=int(body["samples"])
    )  # fmt: skip
