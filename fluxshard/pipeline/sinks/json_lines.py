"""Frame records as JSON lines: written frame by frame, read back as records."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from fluxshard.models.detections.agreement import Agreement
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.json_values import detections_json, outputs_json
from fluxshard.pipeline.sinks.line_file import LineFile, line_of
from fluxshard.pipeline.sinks.sink import FrameView

_FORMER_MOTION_SOURCES = {"encoded": "encoder"}  # as lines of older versions call them


class JsonLines(LineFile):
    """One JSON object per frame; a line reaches the operating system before the next frame begins.

    A line holds the record, and the detections in pixels of the picture or, of other networks, the shapes and ranges of
    the outputs and what they say (see `TaskResult.as_json`).

    Args:
      path: file to write, replaced if it exists.
      names: class names; a class without one is called by its number.

    Raises:
      OSError: the file cannot be written.
    """

    shows_work = False

    def __init__(self, path: Path, names: tuple[str, ...] = ()) -> None:
        super().__init__(path)
        self._names = names

    def write(self, record: FrameRecord, view: FrameView) -> None:
        """Appends the frame's line.

        Raises:
          OSError: the disk is full.
        """
        self.prepare(record, view)()

    def prepare(self, record: FrameRecord, view: FrameView) -> Callable[[], None]:
        """Makes the frame's line; what is returned appends it."""
        line: dict[str, Any] = {"frame": record.frame, "time_s": record.time_s}
        line |= {name: value for name, value in record.stats.items() if name != "frame"}
        line |= {
            "incremental_ms": round(record.incremental_ms, 4),
            "dense_ms": None if record.dense_ms is None else round(record.dense_ms, 4),
            "decode_ms": round(record.decode_ms, 4),
            "focus_ms": round(record.focus_ms, 4),
            "source_ms": round(record.source_ms, 4),
            "age_ms": round(record.age_ms, 4),
            "origin": record.origin,
            "planned_work": record.planned_work,
            "carried": record.carried,
            "calibrated": record.calibrated,
            "max_difference": record.max_difference,
            "agreement": None if record.agreement is None else asdict(record.agreement) | {"f1": record.agreement.f1},
        }
        if record.scores is not None:
            line["scores"] = record.scores
        if record.gap_s:
            line["gap_s"] = round(record.gap_s, 4)
        if record.placement is not None:
            line["placement_record"] = record.placement
        if view.found is None:
            line["outputs"] = outputs_json(view.outputs)
            if view.result is not None:
                line["result"] = view.result.as_json(self._names)
        else:
            line["detections"] = detections_json(view.found, self._names, view.masks)
        return partial(self.append_text, line_of(line))


def read_records(path: Path) -> list[FrameRecord]:
    """Reads the records that `JsonLines` wrote, of this version or an older one.

    A last line without its end, as a process leaves it that was killed while writing, is left out.

    Raises:
      OSError: the file cannot be read.
      ValueError: a line is damaged.
    """
    return [_record(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _record(text: str) -> FrameRecord:
    try:
        line = json.loads(text)
        detections = line.pop("detections", [])
        line.pop("outputs", None)
        line.pop("result", None)
        agreement = line.pop("agreement", None)
        if agreement is not None:
            agreement.pop("f1")
            agreement = Agreement(**agreement)
        own = {field.name for field in fields(FrameRecord)}
        placement = line.pop("placement_record", None)
        # `placement` of a line is the endpoint, which belongs to the statistics
        values = {name: value for name, value in line.items() if name in own and name != "placement"}
        stats = {name: value for name, value in line.items() if name not in own or name == "placement"}
        if "motion_source" in stats:
            stats["motion_source"] = _FORMER_MOTION_SOURCES.get(stats["motion_source"], stats["motion_source"])
        values["origin"] = tuple(values["origin"])
        return FrameRecord(**values, stats=stats, agreement=agreement, detections=len(detections), placement=placement)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a line of a run ({type(error).__name__}: {error}): {text[:80]!r}") from error
