"""The loop of `fluxshard run`: frames in, records and pictures out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.cli.device import RunDevice
from fluxshard.cli.records import FrameRecord, RecordFile, detections_json, outputs_json, stats_fields
from fluxshard.cli.settings import RunSettings
from fluxshard.models.detections.agreement import compare, max_difference
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.draw import draw_caption, draw_detections, draw_work
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.detections.regions import regions
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.video import Frame

Picture = NDArray[np.uint8]
Net = Callable[[Any], Any]


class Stream(Protocol):
    """What the loop needs of a session."""

    @property
    def stats(self) -> Any:
        """Measurements of the last frame."""
        ...

    @property
    def origin(self) -> tuple[int, int]:
        """(y, x) of the last frame's image on what its outputs describe."""
        ...

    @property
    def planned(self) -> PlannedFrame | None:
        """What was planned for the last frame; None where nothing is."""
        ...

    def run(self, image: Any, motion: Any = None) -> Any:
        """Runs one frame."""
        ...

    def focus(self, regions: NDArray[np.uint8]) -> None:
        """Takes what the 8-px cells of the last frame's outputs hold, as `models.regions.regions` gives it."""
        ...

    def work_map(self) -> NDArray[np.float32]:
        """Executed share around each 8-px cell of what the outputs describe."""
        ...


def run_frames(
    frames: Iterable[Frame],
    stream: Stream,
    loaded: LoadedModel,
    settings: RunSettings,
    *,
    records: RecordFile,
    write_picture: Callable[[Picture], None],
    dense: Net | None = None,
    device: RunDevice | None = None,
) -> Iterator[FrameRecord]:
    """Runs every frame through the stream, and through the dense network where there is one.

    A frame's line and picture are written before its record is yielded, whatever ends the run afterwards.

    Args:
      frames: of a video.
      stream: a session.
      loaded: the model, for post-processing.
      settings: what was asked for.
      records: the open `frames.jsonl`.
      write_picture: takes each annotated picture.
      dense: the original network; it is timed on the same frames, before and after the stream in turns.
      device: where stream and dense network take images; the CPU unless given.
    """
    device = device or RunDevice()
    iterator = iter(frames)
    for count in itertools.count():
        start = time.perf_counter()
        frame = next(iterator, None)
        if frame is None:
            return
        image = device.place(frame.image)
        source_ms = 1e3 * (time.perf_counter() - start)
        given = _Given(frame, image, count, source_ms)
        record, found, outputs, picture = _one_frame(given, stream, loaded, settings, dense, device)
        records.write(record, found, outputs)
        write_picture(picture)
        yield record


@dataclass(frozen=True, slots=True)
class _Given:
    """A frame, its image on the device, how many came before it, and what fetching it took."""

    frame: Frame
    image: Any
    count: int
    source_ms: float


def _one_frame(
    given: _Given,
    stream: Stream,
    loaded: LoadedModel,
    settings: RunSettings,
    dense: Net | None,
    device: RunDevice,
) -> tuple[FrameRecord, list[dict[str, Any]], list[dict[str, Any]] | None, Picture]:
    frame, image = given.frame, given.image
    reference: Any = None
    dense_ms: float | None = None
    if dense is not None and given.count % 2:  # whoever runs second finds the image in the processor's cache
        reference, dense_ms = device.timed(dense, image)
    outputs, incremental_ms = device.timed(stream.run, image, frame.motion)
    if dense is not None and not given.count % 2:
        reference, dense_ms = device.timed(dense, image)
    outputs, reference = device.fetch(outputs), device.fetch(reference)
    stats = stats_fields(stream.stats) | {"motion_source": frame.motion_source}

    origin = stream.origin
    found, agreement, decode_ms, focus_ms = None, None, 0.0, 0.0
    if loaded.layout is not None:
        start, objects = time.perf_counter(), settings.planned
        floor = None if objects is None else objects.region_confidence
        everything = _detect(outputs, loaded.layout, settings, settings.canvas_shape, floor)
        found = _on_image(everything, settings, origin)
        decode_ms = 1e3 * (time.perf_counter() - start)
        if objects is not None:
            start = time.perf_counter()
            stream.focus(regions(everything, objects.region_confidence, objects.small_px))
            focus_ms = 1e3 * (time.perf_counter() - start)
        if dense is not None:
            yardstick = _detect(reference, loaded.layout, settings, settings.shape)
            agreement = compare(found, _on_image(yardstick, settings))
    in_picture = None
    if found is not None:
        in_picture = found.to_picture(frame.letterbox.scale, frame.letterbox.offset, frame.letterbox.picture_size)
    record = FrameRecord(
        frame=frame.index,
        time_s=frame.time_s,
        stats=stats,
        incremental_ms=incremental_ms,
        dense_ms=dense_ms,
        decode_ms=decode_ms,
        focus_ms=focus_ms,
        source_ms=given.source_ms,
        agreement=agreement,
        max_difference=max_difference(outputs, reference) if dense is not None and not settings.canvas_px else None,
        detections=0 if found is None else len(found),
        origin=origin,
        planned_work=None if stream.planned is None else stream.planned.work_ratio,
    )
    picture = _annotate(frame, stream, loaded, settings, in_picture, record)
    rows = [] if in_picture is None else detections_json(in_picture, loaded.names)
    return record, rows, None if found is not None else outputs_json(outputs), picture


def _detect(
    outputs: Any, layout: HeadLayout, settings: RunSettings, shape: tuple[int, int], floor: float | None = None
) -> Detections:
    """What scores above the confidence; above `floor` too, where that is lower."""
    confidence = settings.confidence if floor is None else min(settings.confidence, floor)
    return decode(outputs, layout, shape, confidence=confidence, iou=settings.iou)


def _on_image(found: Detections, settings: RunSettings, origin: tuple[int, int] = (0, 0)) -> Detections:
    """What is shown, in pixels of the image: suppression takes the best first, so others leave no trace in it."""
    shown = found.select(np.flatnonzero(found.scores > settings.confidence))
    return shown.to_picture((1.0, 1.0), (float(origin[0]), float(origin[1])), settings.shape)


def _annotate(
    frame: Frame,
    stream: Stream,
    loaded: LoadedModel,
    settings: RunSettings,
    found: Detections | None,
    record: FrameRecord,
) -> Picture:
    picture = frame.picture
    if settings.show_reuse:  # below the boxes, whose colours mean something else
        (top, left), (y, x) = frame.letterbox.offset, record.origin
        picture = draw_work(picture, stream.work_map(), frame.letterbox.scale, (top + y, left + x))
    if found is not None:
        picture = draw_detections(picture, found, loaded.names)
    return draw_caption(picture, caption(record))


def caption(record: FrameRecord) -> str:
    """The line below a picture."""
    parts = [f"frame {record.frame}"]
    for name, field in (("compute", "compute_ratio"), ("pixels", "recompute_ratio")):
        value = record.ratio(field)
        if np.isfinite(value):
            parts.append(f"{name} {value:.0%}")
    latency = f"{record.incremental_ms:.1f} ms"
    parts.append(latency if record.dense_ms is None else f"{latency} (dense {record.dense_ms:.1f} ms)")
    if record.stats.get("keyframe"):
        parts.append("whole frame")
    return "   ·   ".join(parts)
