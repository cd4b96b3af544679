"""Discovery latency: how long a method takes to find what the dense network finds."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.evaluate.metrics.search_accuracy import box_overlaps
from fluxshard.evaluate.traces.trace import FoundObject, Trace
from fluxshard.models.detections.agreement import best_pairs

SAME_OBJECT, FOUND = 0.3, 0.5  # box IoU of one object in successive frames; of one object found by two methods
LONGEST_GAP = 2  # frames in which the dense network may lose an object for a moment
SHORTEST_LIFE = 5


@dataclass(slots=True)
class _Track:
    """One object of the dense network: the frames in which it is found, and what is found."""

    frames: list[int]
    objects: list[FoundObject]

    @property
    def last(self) -> FoundObject:
        return self.objects[-1]


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
        for number, one in zip(track.frames, track.objects, strict=True):
            confident = [other for other in trace.frames[number].objects if other.score > confidence]
            if (box_overlaps(confident, [one]) >= FOUND).any():
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
        for row, column in best_pairs(box_overlaps([track.last for track in alive], objects), SAME_OBJECT):
            taken.add(column)
            alive[row].frames.append(number)
            alive[row].objects.append(objects[column])
        every += [_Track([number], [one]) for index, one in enumerate(objects) if index not in taken]
    return every
