"""What is kept of every frame: one line of `frames.jsonl`, readable whenever the process ends."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.agreement import Agreement
from fluxshard.models.detections.detections import Detections


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """Figures of one frame; pictures and detections are not kept.

    Attributes:
      frame: index in the video.
      time_s: presentation time; None where the source has none.
      stats: fields of the session's FrameStats.
      incremental_ms, dense_ms: wall clock of the calls, until the device has done them; dense_ms is None where dense
        was not run.
      decode_ms: post-processing of the incremental outputs.
      focus_ms: finding where the objects are, and telling the stream.
      source_ms: decoding the video, placing the picture, finding its motion and copying the image to the device.
      agreement: detections against those of the dense network.
      max_difference: largest absolute difference of the raw outputs; None where they are those of a larger canvas.
      detections: how many were found.
      origin: (y, x) of the image on what the outputs describe.
      planned_work: multiply-accumulates that were planned for the frame before it ran, over those of the network on
        what the outputs describe; None for other policies than planned.
    """

    frame: int
    time_s: float | None
    stats: Mapping[str, Any]
    incremental_ms: float
    dense_ms: float | None = None
    decode_ms: float = 0.0
    focus_ms: float = 0.0
    source_ms: float = 0.0
    agreement: Agreement | None = None
    max_difference: float | None = None
    detections: int = 0
    origin: tuple[int, int] = (0, 0)
    planned_work: float | None = None

    def ratio(self, name: str) -> float:
        """A ratio of the stats; NaN where it is not there."""
        value = self.stats.get(name)
        return float("nan") if value is None else float(value)


def stats_fields(stats: Any) -> dict[str, Any]:
    """Fields of a FrameStats as plain values."""
    if is_dataclass(stats) and not isinstance(stats, type):
        return {name: plain(value) for name, value in asdict(stats).items()}
    return {name: plain(value) for name, value in vars(stats).items()}


def plain(value: Any) -> Any:
    """A value that JSON can hold; NaN and infinities become null."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [plain(entry) for entry in value]
    return str(value)


def detections_json(found: Detections, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Detections as JSON: boxes as x1, y1, x2, y2; masks as COCO's uncompressed run lengths."""
    rows = []
    for index in range(len(found)):
        class_index = int(found.classes[index])
        row: dict[str, Any] = {
            "class": class_index,
            "name": names[class_index] if 0 <= class_index < len(names) else str(class_index),
            "score": round(float(found.scores[index]), 5),
            "box": [round(float(value), 2) for value in found.boxes[index]],
        }
        if found.keypoints is not None:
            row["keypoints"] = [[round(float(value), 2) for value in point] for point in found.keypoints[index]]
        if found.masks is not None:
            row["mask"] = {"size": list(found.shape), "counts": run_lengths(*found.mask(index), found.shape)}
        rows.append(plain(row))
    return rows


def run_lengths(rows: range, columns: range, mask: NDArray[np.bool_], shape: tuple[int, int]) -> list[int]:
    """COCO run lengths, down the columns, beginning with False, of a mask that is given in a window only."""
    height, width = shape
    strip = np.zeros((len(columns), height), np.bool_)
    strip[:, rows.start : rows.stop] = mask.T
    flat = np.concatenate(([False], strip.ravel(), [False]))
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + columns.start * height
    lengths: list[int] = np.diff(np.concatenate(([0], edges, [height * width]))).tolist()
    return lengths


def outputs_json(outputs: Any) -> list[dict[str, Any]]:
    """Shape and range of every tensor of an output whose meaning is not known."""
    if isinstance(outputs, Mapping):
        return [row for value in outputs.values() for row in outputs_json(value)]
    if isinstance(outputs, (tuple, list)):
        return [row for value in outputs for row in outputs_json(value)]
    if not hasattr(outputs, "numel") or outputs.numel() == 0:
        return []
    value = outputs.float()
    row = {
        "shape": list(value.shape),
        "min": float(value.min()),
        "mean": float(value.mean()),
        "max": float(value.max()),
    }
    return [plain(row)]


@dataclass(slots=True)
class RecordFile:
    """`frames.jsonl`: every line reaches the operating system before the next frame begins."""

    path: Path
    _file: Any = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self._file = self.path.open("w", encoding="utf-8")
        return self

    def write(self, record: FrameRecord, found: list[dict[str, Any]], outputs: list[dict[str, Any]] | None) -> None:
        """Appends one frame."""
        line: dict[str, Any] = {"frame": record.frame, "time_s": record.time_s}
        line |= {name: value for name, value in record.stats.items() if name != "frame"}
        line |= {
            "incremental_ms": round(record.incremental_ms, 4),
            "dense_ms": None if record.dense_ms is None else round(record.dense_ms, 4),
            "decode_ms": round(record.decode_ms, 4),
            "focus_ms": round(record.focus_ms, 4),
            "source_ms": round(record.source_ms, 4),
            "origin": record.origin,
            "planned_work": record.planned_work,
            "max_difference": record.max_difference,
            "agreement": None if record.agreement is None else asdict(record.agreement) | {"f1": record.agreement.f1},
        }
        line |= {"detections": found} if outputs is None else {"outputs": outputs}
        self._file.write(json.dumps(plain(line), allow_nan=False) + "\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
