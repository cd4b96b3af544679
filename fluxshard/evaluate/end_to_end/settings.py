"""Settings of the methods that take part: as the reuse evaluation found the least work within a loss of 3%.

Planned reuse of segmentation is a step finer: at 1.5 times the shipped thresholds, carried results lose 3.2% here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fluxshard.evaluate.end_to_end.workload import WorkloadName
from fluxshard.evaluate.methods.jpeg_sent import JpegSent
from fluxshard.evaluate.methods.method import Coach, Method, Reuse, delta_cnn, dense_method, motion_delta_cnn
from fluxshard.evaluate.methods.method_sets import CARRIED, PROPAGATED, ablations, propagated
from fluxshard.options import PlannedOptions, ReuseOptions

# a method of the reuse evaluation, by what it is in this one
Role = Literal[
    "dense", "planned", "carried", "jpeg", "coach", "propagated", "deltacnn", "motion-deltacnn", "w/o remap",
    "w/o RFAP", "RFAP per layer", "w/o sparse",
]  # fmt: skip
ABLATIONS: tuple[Role, ...] = ("w/o remap", "w/o RFAP", "RFAP per layer", "w/o sparse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set of the methods.

    Attributes:
      scale: of the shipped thresholds of planned reuse.
      tau: of DeltaCNN and MotionDeltaCNN.
      tau_input, tau_features: of propagated reuse.
      similarity: from which SSIM on COACH repeats a result. 0.95 computes about as many frames as the paper's does.
    """

    scale: float
    tau: float
    tau_input: float = PROPAGATED[0][0]
    tau_features: float = PROPAGATED[0][1]
    similarity: float = 0.95


SETTINGS: Mapping[WorkloadName, Settings] = {
    "seg": Settings(scale=1.25, tau=0.05),
    "pose": Settings(scale=0.75, tau=0.02),
}


def methods_of(settings: Settings, canvas_px: int, *, ablated: bool = True) -> dict[Role, Method]:
    """The methods by role.

    Args:
      settings: of the methods.
      canvas_px: of those that need a canvas.
      ablated: with `ABLATIONS`.
    """
    base = propagated(settings.tau_input, settings.tau_features)
    without_rfap, per_layer, without_sparse, without_remap = ablations(base)
    methods: dict[Role, Method] = {
        "dense": dense_method(),
        "planned": _planned(settings.scale, carried=False),
        "carried": _planned(settings.scale, carried=True),
        "jpeg": JpegSent(),
        "coach": Coach(similarity=settings.similarity),
        "propagated": base,
        "deltacnn": delta_cnn(settings.tau),
        "motion-deltacnn": motion_delta_cnn(settings.tau, canvas_px),
        "w/o remap": without_remap,
        "w/o RFAP": without_rfap,
        "RFAP per layer": per_layer,
        "w/o sparse": without_sparse,
    }
    return {role: method for role, method in methods.items() if ablated or role not in ABLATIONS}


def _planned(scale: float, *, carried: bool) -> Reuse:
    """Planned reuse at scaled thresholds, as the reuse evaluation names it."""
    options = ReuseOptions(policy="planned", planned=PlannedOptions().scaled(scale))
    if not carried:
        return Reuse(name=f"planned x{scale:g}", family="planned", options=options, regions=True)
    name = f"planned, carried x{scale:g}"
    return Reuse(name=name, family="planned, carried", options=options, regions=True, skip=CARRIED)
