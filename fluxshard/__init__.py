"""FluxShard makes any CNN run incrementally over live video.

Cached features move along codec motion vectors; only what changed is recomputed, by kernels generated for the model.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxshard import errors as errors
    from fluxshard import video as video
    from fluxshard.api import compile as compile
    from fluxshard.cloud.edge.camera.options import WatchOptions as WatchOptions
    from fluxshard.cloud.edge.camera.watch import watch as watch
    from fluxshard.cloud.edge.offload import offload as offload
    from fluxshard.cloud.edge.options import OffloadOptions as OffloadOptions
    from fluxshard.compiled.load import load as load
    from fluxshard.compiled.model import CompiledModel as CompiledModel
    from fluxshard.errors import FluxShardError as FluxShardError
    from fluxshard.ir.plan import Plan as Plan
    from fluxshard.models.detections.detections import Detections as Detections
    from fluxshard.motion import MotionField as MotionField
    from fluxshard.options import CompileOptions as CompileOptions
    from fluxshard.options import PlannedOptions as PlannedOptions
    from fluxshard.options import ReuseOptions as ReuseOptions
    from fluxshard.pipeline.tracking.yolo_predictor import yolo_predictor as yolo_predictor
    from fluxshard.runtime.session import Session as Session
    from fluxshard.runtime.stats import FrameStats as FrameStats
    from fluxshard.video.motion.motion_estimator import MotionEstimator as MotionEstimator

__version__ = "0.1.0"

logging.getLogger("fluxshard").addHandler(logging.NullHandler())  # who wants to read along adds another

# public name -> where it lives; loaded on first use, so that `fluxshard --help` does not wait for torch
_HOMES = {
    "CompileOptions": "fluxshard.options",
    "CompiledModel": "fluxshard.compiled.model",
    "Detections": "fluxshard.models.detections.detections",
    "FluxShardError": "fluxshard.errors",
    "FrameStats": "fluxshard.runtime.stats",
    "MotionEstimator": "fluxshard.video.motion.motion_estimator",
    "MotionField": "fluxshard.motion",
    "OffloadOptions": "fluxshard.cloud.edge.options",
    "Plan": "fluxshard.ir.plan",
    "PlannedOptions": "fluxshard.options",
    "ReuseOptions": "fluxshard.options",
    "Session": "fluxshard.runtime.session",
    "WatchOptions": "fluxshard.cloud.edge.camera.options",
    "compile": "fluxshard.api",
    "load": "fluxshard.compiled.load",
    "offload": "fluxshard.cloud.edge.offload",
    "watch": "fluxshard.cloud.edge.camera.watch",
    "yolo_predictor": "fluxshard.pipeline.tracking.yolo_predictor",
}
_MODULES = ("errors", "video")

__all__ = [
    "CompileOptions",
    "CompiledModel",
    "Detections",
    "FluxShardError",
    "FrameStats",
    "MotionEstimator",
    "MotionField",
    "OffloadOptions",
    "Plan",
    "PlannedOptions",
    "ReuseOptions",
    "Session",
    "WatchOptions",
    "compile",
    "errors",
    "load",
    "offload",
    "video",
    "watch",
    "yolo_predictor",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"fluxshard.{name}")
    if name in _HOMES:
        try:
            return getattr(importlib.import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or not _HOMES[name].startswith("fluxshard.cloud."):
                raise
            raise ModuleNotFoundError(
                f"fluxshard.{name} needs {error.name}, which is not installed; run: pip install 'fluxshard[cloud]'",
                name=error.name,
            ) from error
    raise AttributeError(f"module 'fluxshard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
