"""A model that a server runs for others: what streams may ask for, and what they get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fluxshard.cloud.compute import Compute
from fluxshard.cloud.wire.answer_codec import OutputsCodec
from fluxshard.cloud.wire.detections_codec import encode_detections
from fluxshard.errors import OptionError, RefusedError, WireError
from fluxshard.ir.plan import Plan
from fluxshard.models.detections.detections import Detections
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.engine_stream import on_cpu
from fluxshard.runtime.endpoints.work_order import WorkOrders, work_orders
from fluxshard.runtime.reuse.thresholds import tau_per_layer
from fluxshard.runtime.stream import Program

Encode = Callable[[Any], bytes]  # what a frame returned, as bytes
MakeDetect = Callable[[float, float], Callable[[Any], Detections]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServedModel:
    """A compiled model at one size of image.

    Attributes:
      program: runs it.
      weights: digest of its weights.
      compute: what it runs on.
      detect: from outputs to detections at a confidence and an overlap; None where the head is not known.
      latency_model: JSON of the profile's model; empty where it was not profiled.
    """

    program: Program
    weights: str
    compute: Compute
    detect: MakeDetect | None = None
    latency_model: bytes = b""

    @property
    def plan(self) -> Plan:
        """The plan that is run."""
        return self.program.engine.plan

    def orders(self, reuse: ReuseOptions) -> WorkOrders:
        """The orders of streams with these options.

        Raises:
          WireError: the options do not fit the model.
        """
        try:
            if reuse.policy == "propagated":  # which is the one that reads them
                tau_per_layer(self.plan, reuse.tau)
            return work_orders(self.plan, reuse)
        except (OptionError, OverflowError):
            raise WireError("options of reuse do not fit the model") from None

    def encoder(self, answer: str, confidence: float, iou: float) -> Encode:
        """The encoder of answers.

        Args:
          answer: "outputs" or "detections".
          confidence, iou: of detections.

        Raises:
          RefusedError: the model has no such answers.
          WireError: thresholds outside 0..1.
        """
        if answer == "outputs":
            return OutputsCodec(self.plan).encode
        if answer != "detections" or self.detect is None:
            raise RefusedError("this server does not give such answers for this model", reason="model")
        if not (0 <= confidence <= 1 and 0 <= iou <= 1):
            raise WireError("thresholds of detections must be between 0 and 1")
        detect = self.detect(confidence, iou)
        return lambda outputs: encode_detections(detect(on_cpu(outputs)))


class Catalogue:
    """The models of a server, by digest.

    Args:
      models: at least one.
    """

    def __init__(self, models: list[ServedModel]) -> None:
        self._models = {(model.plan.digest(), model.weights): model for model in models}

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """All of them."""
        return tuple(self._models.values())

    def find(self, plan: str, weights: str) -> ServedModel:
        """The model that an edge has.

        Raises:
          RefusedError: none is served with these digests.
        """
        found = self._models.get((plan, weights))
        if found is not None:
            return found
        if any(known == plan for known, _ in self._models):
            raise RefusedError("this server runs the model with other weights", reason="model")
        raise RefusedError(
            "this server does not run this model at this size: compare model, size and version", reason="model"
        )

    def find_size(self, size: tuple[int, int], weights: str) -> ServedModel:
        """The only model for a size of image: what a camera means that has none.

        Args:
          size: (H, W) of the images.
          weights: digest that it has to have; empty for any.

        Raises:
          RefusedError: there is none, or more than one.
        """
        found = [
            model
            for (_, known), model in self._models.items()
            if model.plan.image_size == size and weights in ("", known)
        ]
        if not found:
            raise RefusedError("this server runs no such model at this size of image", reason="model")
        if len(found) > 1:
            raise RefusedError("this server runs several models at this size: name one by its digests", reason="model")
        return found[0]
