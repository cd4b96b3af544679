"""Cameras for tests: a model whose head a server knows, and what one session makes of the same frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fluxshard
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.cloud.server.served_model import MakeDetect, ServedModel
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.regions import regions
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import Backend, CompileOptions, ReuseOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.runtime.endpoints.engine_stream import on_cpu
from fluxshard.testing.offload.two_places import local_model
from fluxshard.video.frame import Frame
from fluxshard.video.motion.motion_since import MotionSince

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watched:
    """A model on both sides of a test.

    Attributes:
      compiled: runs sessions in one place.
      served: runs streams on a server.
      detect: from outputs to detections; None where the head is not known.
    """

    compiled: fluxshard.CompiledModel
    served: ServedModel
    detect: MakeDetect | None


def watched(loaded: LoadedModel, size: Size, backend: Backend = "reference") -> Watched:
    """A model on both sides.

    Args:
      loaded: the network, and its head.
      size: (H, W) of the images.
      backend: runs it.
    """
    compiled = fluxshard.compile(loaded.net, options=CompileOptions(backend=backend))
    local, layout, detect = local_model(compiled, size), loaded.layout, None
    if layout is not None:

        def detect(confidence: float, iou: float) -> DetectionHead:
            return DetectionHead(layout, size, confidence=confidence, iou=iou)

    served = ServedModel(program=local.program, weights=local.weights, compute=local.compute, detect=detect)
    return Watched(compiled=compiled, served=served, detect=detect)


def in_one_place(
    model: Watched,
    reuse: ReuseOptions,
    frames: Sequence[Frame],
    records: Iterable[PlacementRecord],
    *,
    iou: float = 0.7,
) -> Iterator[tuple[Any, Detections | None]]:
    """What a session in one place gives for the frames that a server has run: outputs, and detections of all scores.

    Its loop is the one of `fluxshard run`: the session is focused on what was found in the frame before.

    Args:
      model: of both.
      reuse: of the stream.
      frames: of the video.
      records: what became of them.
      iou: of detections.

    Yields:
      outputs and detections above the confidence of regions; None for a frame that no server has run.
    """
    since, epoch, lost = MotionSince(frames[0].letterbox.size), 0, False
    with model.compiled.session(reuse) as session:
        for frame, record in zip(frames, records, strict=True):
            since.add(frame.motion)
            lost = lost or (record.cloud_outcome == "key needed" and "video" in record.cloud_reason)
            if not record.cloud_ran:
                yield None, None
                continue
            if lost or record.epoch != epoch or record.cloud_keyframe:
                session.reset()
            epoch, lost = record.epoch, False
            outputs, found = on_cpu(session.run(frame.image, since.motion)), None
            since.restart()
            if model.detect is not None:
                found = model.detect(reuse.planned.region_confidence, iou)(outputs)
                if reuse.policy == "planned":
                    session.focus(regions(found, reuse.planned.region_confidence, reuse.planned.small_px))
            yield outputs, found
