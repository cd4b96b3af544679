"""Discovery latency: how long a method takes to find what the dense network finds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.trace import FoundObject, Trace
from fluxshard.models.nms import box_iou

SAME_OBJECT, FOUND = 0.3, 0.5  # box IoU of one object in successive frames; of one object found by two methods
LONGEST_GAP = 2  # frames in which the dense network may lose an object for a moment
SHORTEST_LIFE = 5


@dataclass(slots=True)
class _Track:
    category: int
    frames: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)


def discovery_frames(trace: Trace, dense: Trace, confidence: float) -> tuple[int, ...]:
    """For every object that the dense network begins to find, frames until the method finds it.

    Objects are followed from frame to frame by class and overlap of boxes; they must be found in at least 5 frames and
    begin after the first. An object whose score wavers around the confidence begins by chance, and its latency says
    little; medians over many objects do.

    Returns:
      0 for an object found at once; its remaining life where it is never found.
    """
    result = []
    for track in _tracks(dense, confidence):
        if track.frames[0] == 0 or len(track.frames) < SHORTEST_LIFE:
            continue
        begin = track.frames[0]
        latency = track.frames[-1] - begin + 1
        for number, box in zip(track.frames, track.boxes, strict=True):
            if _is_found(trace.frames[number].objects, track.category, box, confidence):
                latency = number - begin
                break
        result.append(latency)
    return tuple(result)


def _tracks(dense: Trace, confidence: float) -> list[_Track]:
    every: list[_Track] = []
    for number, frame in enumerate(dense.frames):
        objects = [one for one in frame.objects if one.score > confidence]
        alive = [track for track in every if number - track.frames[-1] <= LONGEST_GAP + 1]
        taken: set[int] = set()
        followed: set[int] = set()
        for row, column in _pairs(alive, objects):
            if row in followed or column in taken:
                continue
            followed.add(row)
            taken.add(column)
            alive[row].frames.append(number)
            alive[row].boxes.append(objects[column].box)
        every += [_Track(one.category, [number], [one.box]) for index, one in enumerate(objects) if index not in taken]
    return every


def _pairs(alive: list[_Track], objects: list[FoundObject]) -> list[tuple[int, int]]:
    """Tracks and objects of one class that overlap enough, best first."""
    if not alive or not objects:
        return []
    overlap = box_iou(_boxes([track.boxes[-1] for track in alive]), _boxes([one.box for one in objects]))
    same = np.equal.outer([track.category for track in alive], [one.category for one in objects])
    overlap = np.where(same, overlap, 0)
    order = np.argsort(-overlap, axis=None, kind="stable")
    pairs = [divmod(int(flat), overlap.shape[1]) for flat in order]
    return [(row, column) for row, column in pairs if overlap[row, column] >= SAME_OBJECT]


def _is_found(
    objects: tuple[FoundObject, ...], category: int, box: tuple[float, float, float, float], confidence: float
) -> bool:
    boxes = [one.box for one in objects if one.score > confidence and one.category == category]
    return bool(boxes) and bool((box_iou(_boxes(boxes), _boxes([box])) >= FOUND).any())


def _boxes(boxes: list[tuple[float, float, float, float]]) -> NDArray[np.float32]:
    return np.asarray(boxes, np.float32).reshape(-1, 4)
