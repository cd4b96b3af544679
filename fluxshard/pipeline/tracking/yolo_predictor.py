"""A predictor for `ultralytics.YOLO`, whose `predict` and `track` then run on sessions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fluxshard.api import compile
from fluxshard.compiled.model import CompiledModel
from fluxshard.compiled.reuse_choice import SessionKind
from fluxshard.errors import CompileTimeError, MissingExtraError, OptionError, warn
from fluxshard.models.loading.ultralytics import library
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.device import RunDevice
from fluxshard.pipeline.stream_loop import StreamLoop
from fluxshard.video.motion.motion_estimator import MotionEstimator

_PREDICTORS = {
    "detect": ("ultralytics.models.yolo.detect", "DetectionPredictor"),
    "segment": ("ultralytics.models.yolo.segment", "SegmentationPredictor"),
    "pose": ("ultralytics.models.yolo.pose", "PosePredictor"),
}


def yolo_predictor(
    model: CompiledModel | Path | str | Any,
    reuse: ReuseOptions | SessionKind | None = None,
    *,
    exact: bool = False,
    options: CompileOptions | None = None,
    target: str = "cpu",
) -> type[Any]:
    """A predictor class, for `yolo.track(source, stream=True, predictor=...)` and `yolo.predict(...)`.

    Everything but the network is Ultralytics': reading, letterboxing, suppression, trackers, results, plots. The
    network runs on a session per stream, with motion from a search. Give the same class to every call with
    `persist=True`: another class is another stream.

    Args:
      model: compiled from a checkpoint or an `ultralytics.YOLO`; or one of these, to compile.
      reuse, exact: as for `CompiledModel.session`.
      options, target: as for `compile`, of what is not compiled yet.

    Returns:
      a subclass of the predictor of the model's task.

    Raises:
      OptionError: a task that has no detections, a model with a canvas, or what `CompiledModel.session` refuses.
      MissingExtraError: ultralytics is not installed.
      FluxShardError: as for `compile`.
    """
    if isinstance(model, CompiledModel):
        compiled = model
    else:
        compiled = compile(model, options=options, target=target)
    if compiled.task not in _PREDICTORS:
        raise OptionError(
            f"a predictor is for the tasks {', '.join(_PREDICTORS)}, and the task of {compiled!r} is {compiled.task!r}"
        )
    if compiled.options.canvas_px:
        raise OptionError(f"a predictor takes outputs of the image itself: compile {compiled!r} with canvas_px=0")
    compiled.session(reuse, exact=exact).close()  # says now what is wrong with them
    module, name = _PREDICTORS[compiled.task]
    try:
        base: Any = getattr(library(module), name)
    except ImportError as error:
        raise MissingExtraError(
            f"a predictor needs ultralytics, which cannot be imported ({error}); run: pip install 'fluxshard[yolo]'"
        ) from error

    class SessionPredictor(base):  # type: ignore[misc]
        """The predictor of the task, with the network on sessions."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._streams: dict[int, _Stream] = {}

        def inference(self, im: Tensor, *given: Any, **named: Any) -> Any:
            """Outputs for a batch: of the newest frames of several streams, or of one stream after another."""
            for flag in ("augment", "visualize", "embed"):
                if getattr(self.args, flag, None):
                    raise OptionError(f"{flag} (={getattr(self.args, flag)!r}) needs the dense network: leave it out")
            several = self.dataset.mode == "stream"
            rows = [
                self._stream(index if several else 0).run(
                    image[None], float(self.args.conf), float(self.args.iou), is_bytes=not self.source_type.tensor
                )
                for index, image in enumerate(im)
            ]
            return rows[0] if len(rows) == 1 else _joined(rows)

        def _stream(self, index: int) -> _Stream:
            found = self._streams.get(index)
            if found is None:
                found = self._streams[index] = _Stream(compiled, reuse, exact=exact)
            return found

    return SessionPredictor


@dataclass(slots=True)
class _Searching:
    """A search for motion at one size; None where it cannot be built."""

    size: tuple[int, int]
    estimator: MotionEstimator | None


class _Stream:
    """A session, the search for its motion, and regions from what it found."""

    def __init__(self, model: CompiledModel, reuse: ReuseOptions | SessionKind | None, *, exact: bool) -> None:
        self._model = model
        self._session = model.session(reuse, exact=exact)
        self._device = RunDevice(model.device)
        self._searching: _Searching | None = None

    def run(self, image: Tensor, confidence: float, iou: float, *, is_bytes: bool) -> Any:
        """Runs the next frame.

        Args:
          image: `(1, 3, H, W)` float32 in 0..1.
          confidence, iou: of the detections that are wanted, for regions.
          is_bytes: the image was made of bytes, and is as good as they are.
        """
        size = int(image.shape[2]), int(image.shape[3])
        planes = (image * 255).round_().clamp_(0, 255).to("cpu", torch.uint8)
        motion = self._search(size)
        field = None if motion is None else motion(planes[0].permute(1, 2, 0).contiguous().numpy())
        planned = self._session.reuse.planned if self._session.reuse.policy == "planned" else None
        head = None
        if planned is not None and self._model.loaded is not None and self._model.loaded.layout is not None:
            lowest = min(confidence, planned.region_confidence)
            head = DetectionHead(self._model.loaded.layout, size, confidence=lowest, iou=iou)
        loop = StreamLoop(session=self._session, detect=head, objects=planned, device=self._device)
        return loop.step(self._device.place(planes if is_bytes else image.float()), field).outputs

    def _search(self, size: tuple[int, int]) -> MotionEstimator | None:
        if self._searching is None or self._searching.size != size:
            try:
                self._searching = _Searching(size, MotionEstimator(size))
            except CompileTimeError as error:
                warn(f"frames are compared in place, as the search for motion cannot be built: {error}")
                self._searching = _Searching(size, None)
        return self._searching.estimator


def _joined(rows: list[Any]) -> Any:
    """Outputs of several frames as those of a batch."""
    leaves, specs = zip(*(pytree.tree_flatten(row) for row in rows), strict=True)
    return pytree.tree_unflatten([torch.cat(parts) for parts in zip(*leaves, strict=True)], specs[0])
