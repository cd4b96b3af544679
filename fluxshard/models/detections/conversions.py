"""Detections as other libraries have them. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import MissingExtraError, ShapeError
from fluxshard.models.detections.detections import Detections
from fluxshard.models.loading.ultralytics import library


def to_supervision(found: Detections) -> Any:
    """See `Detections.to_supervision`."""
    try:
        supervision = importlib.import_module("supervision")
    except ImportError as error:
        raise MissingExtraError(f"to_supervision() {_lacks('supervision', 'track', error)}") from error
    data: dict[str, Any] = {}
    if found.names:
        data["class_name"] = np.array([found.name(index) for index in range(len(found))], dtype=str)
    if found.keypoints is not None:
        data["keypoints"] = found.keypoints
    return supervision.Detections(
        xyxy=found.boxes.reshape(-1, 4).copy(),
        mask=None if found.masks is None else whole_masks(found),
        confidence=found.scores.copy(),
        class_id=found.classes.astype(int),
        tracker_id=None if found.ids is None else found.ids.astype(int),
        data=data,
    )


def to_ultralytics(found: Detections, picture: NDArray[np.uint8] | None, path: str) -> Any:
    """See `Detections.to_ultralytics`."""
    import torch

    try:
        results = library("ultralytics.engine.results")
    except ImportError as error:
        raise MissingExtraError(f"to_ultralytics() {_lacks('ultralytics', 'yolo', error)}") from error
    if picture is None:
        picture = np.zeros((*found.shape, 3), np.uint8)
    if not isinstance(picture, np.ndarray) or picture.shape != (*found.shape, 3) or picture.dtype != np.uint8:
        seen = f"{picture.shape} {picture.dtype}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ShapeError(f"picture is {seen}; expected {(*found.shape, 3)} uint8 RGB: the one they were found in")
    columns = [found.boxes.reshape(-1, 4), found.scores[:, None], found.classes[:, None].astype(np.float32)]
    if found.ids is not None:
        columns.insert(1, found.ids[:, None].astype(np.float32))
    most = int(found.classes.max()) + 1 if len(found) else 0
    names = found.names if len(found.names) >= most else (*found.names, *map(str, range(len(found.names), most)))
    return results.Results(
        np.ascontiguousarray(picture[..., ::-1]),
        path=path,
        names=dict(enumerate(names)),
        boxes=torch.from_numpy(np.concatenate(columns, 1, dtype=np.float32)),
        masks=None if found.masks is None or not len(found) else torch.from_numpy(whole_masks(found)),
        keypoints=None if found.keypoints is None else torch.from_numpy(found.keypoints.copy()),
    )


def whole_masks(found: Detections) -> NDArray[np.bool_]:
    """`(N, H, W)` bool: the mask of each object on the whole image."""
    masks = np.zeros((len(found), *found.shape), np.bool_)
    for index in range(len(found)):
        rows, columns, mask = found.mask(index)
        masks[index, rows.start : rows.stop, columns.start : columns.stop] = mask
    return masks


def _lacks(name: str, extra: str, error: ImportError) -> str:
    """What to do about a package that cannot be imported."""
    lacking = error.name if isinstance(error, ModuleNotFoundError) and error.name else f"{name} ({error})"
    return f"needs {lacking}, which cannot be imported; run: pip install 'fluxshard[{extra}]'"
