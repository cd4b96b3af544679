"""Statistics, detections and raw outputs as values that JSON holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.detections import CroppedMask, Detections


def plain(value: Any) -> Any:
    """Converts to what JSON can hold; NaN and infinities become None, unknown types their `str`."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list) and set(map(type, value)) == {int}:
        return list(value)  # thousands of run lengths, many times as fast
    if isinstance(value, (tuple, list, np.ndarray)):
        return [plain(entry) for entry in value]
    return str(value)


def detections_json(
    found: Detections, names: tuple[str, ...], masks: Sequence[CroppedMask] | None = None
) -> list[dict[str, Any]]:
    """One dict per detection: boxes as x1, y1, x2, y2; masks as COCO's uncompressed run lengths.

    Where they were tracked, `id` is the object's, None while it is new. Numbers that are not finite are left to
    `plain`.

    Args:
      found: detections.
      names: class names; a class without one is called by its number.
      masks: of the detections, where they have been computed already; see `Detections.mask`.
    """
    rows = []
    for index in range(len(found)):
        class_index = int(found.classes[index])
        row: dict[str, Any] = {
            "class": class_index,
            "name": names[class_index] if 0 <= class_index < len(names) else str(class_index),
            "score": round(float(found.scores[index]), 5),
            "box": [round(float(value), 2) for value in found.boxes[index]],
        }
        if found.ids is not None:
            row["id"] = int(found.ids[index]) if found.ids[index] >= 0 else None
        if found.keypoints is not None:
            row["keypoints"] = [[round(float(value), 2) for value in point] for point in found.keypoints[index]]
        if found.masks is not None:
            mask = found.mask(index) if masks is None else masks[index]
            row["mask"] = {"size": list(found.shape), "counts": run_lengths(*mask, found.shape)}
        rows.append(row)
    return rows


def run_lengths(rows: range, columns: range, mask: NDArray[np.bool_], shape: tuple[int, int]) -> list[int]:
    """COCO run lengths, down the columns, beginning with False, of a mask that is given in a window only.

    Args:
      rows, columns: the window; the mask is False outside.
      mask: `(len(rows), len(columns))` bool.
      shape: (H, W) of the whole mask.
    """
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
