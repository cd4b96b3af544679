"""Discovery latency: frames until a method detects an object that the dense network detects."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.evaluate.metrics.search_accuracy import box_overlaps
from fluxshard.evaluate.traces.trace import FoundObject, Trace
from fluxshard.models.detections.agreement import best_pairs

SAME_OBJECT, FOUND = 0.3, 0.5  # smallest box IoU of an object in successive frames; in two traces of one frame
LONGEST_GAP = 2  # longest run of frames without a detection inside a track
SHORTEST_LIFE = 5  # fewest detections of a track


@dataclass(slots=True)
class _Track:
    """Track of one object in the dense trace.

    Attributes:
      frames: numbers of the frames with a detection.
      objects: the detections.
    """

    frames: list[int]
    objects: list[FoundObject]

    @property
    def last(self) -> FoundObject:
        """Most recent detection."""
        return self.objects[-1]


def discovery_frames(trace: Trace, dense: Trace, confidence: float) -> tuple[int, ...]:
    """Latency in frames, per object that appears in the dense trace, until the method detects it.

    Objects are tracked by class and box IoU; a track counts if it has at least 5 detections and starts after the first
    frame. Scores that oscillate around the confidence start tracks by chance, so single latencies are noisy; use
    medians over many objects.

    Args:
      trace: trace of the method.
      dense: trace of the dense network on the same frames.
      confidence: detections must score above it.

    Returns:
      one latency per track: 0 where detected at once, the length of the track where never detected.
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
    """Links confident detections of successive frames, highest box IoU first."""
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
