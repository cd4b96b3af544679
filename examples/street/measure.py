"""Runs a film through the dense network and through sessions, in turns, and adds up accuracy, time and work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from examples.street.metrics import Score
from examples.street.model import Detection, class_map, detections
from examples.street.scene import SceneFrame, SceneObject
from fluxshard import Plan, ReuseOptions, Session
from fluxshard.video import Frame

Outputs = Mapping[str, Tensor]
_EARLY, _OUTPUTS = ("stem", "down4"), ("classes.1", "centres.1", "boxes.1")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a difference counts as a change.

    What leaves the network has none: a stale score stands on the wrong side of a decision, a stale feature seldom does.

    Attributes:
      pixels: on colours, 0..1.
      early: on features up to stride 4 of the way down.
      later: on all other features.
    """

    pixels: float
    early: float
    later: float

    def reuse(self, plan: Plan) -> ReuseOptions:
        """What a session needs to know."""
        tau = {
            layer.name: 0.0
            if layer.name in _OUTPUTS
            else self.early
            if layer.name.split(".")[0] in _EARLY
            else self.later
            for layer in plan.layers
            if layer.mode != "view"
        }
        return ReuseOptions(rfap="compact", tau_input=self.pixels, tau=tau)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one way of running made of one frame.

    Attributes:
      latency_ms: wall clock of the call.
      classes, found: the prediction.
      difference: largest absolute difference of the raw outputs from the dense network's.
      compute_ratio, recompute_ratio, keyframe: of the session; 1, 1 and False for the dense network.
    """

    latency_ms: float
    classes: NDArray[np.uint8]
    found: tuple[Detection, ...]
    difference: float = 0.0
    compute_ratio: float = 1.0
    recompute_ratio: float = 1.0
    keyframe: bool = False


@dataclass
class Tally:
    """Adds up the readings of one way of running; the first frame counts for accuracy only.

    Attributes:
      truth: accuracy against the truth.
      dense: accuracy with the dense network's predictions in the place of the truth.
      readings: one a frame, predictions left out after they are scored.
    """

    truth: Score = field(default_factory=Score)
    dense: Score = field(default_factory=Score)
    latency_ms: list[float] = field(default_factory=list)
    dense_ms: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    recompute: list[float] = field(default_factory=list)
    difference: float = 0.0
    keyframes: int = 0
    frames: int = 0

    def add(self, reading: Reading, yardstick: Reading, truth: SceneFrame) -> None:
        """Adds a frame."""
        self.frames += 1
        self.truth.add(truth.class_map, reading.classes, truth.objects, reading.found)
        self.dense.add(yardstick.classes, reading.classes, [_as_object(d) for d in yardstick.found], reading.found)
        self.difference = max(self.difference, reading.difference)
        if truth.index:
            self.latency_ms.append(reading.latency_ms)
            self.dense_ms.append(yardstick.latency_ms)
            self.compute.append(reading.compute_ratio)
            self.recompute.append(reading.recompute_ratio)
            self.keyframes += reading.keyframe

    def summary(self) -> dict[str, Any]:
        """Figures as plain numbers."""
        same = np.trace(self.dense.confusion) / max(self.dense.confusion.sum(), 1)
        median = float(np.median(self.latency_ms)) if self.latency_ms else None
        return {
            "frames": self.frames,
            "mean_iou": self.truth.mean_iou,
            "f1": self.truth.f1,
            "pixels_as_dense": float(same),
            "f1_against_dense": self.dense.f1,
            "largest_difference": self.difference,
            "median_ms": median,
            "dense_over_this": float(np.median(self.dense_ms)) / median if median else None,
            "compute_ratio": float(np.mean(self.compute)) if self.compute else None,
            "recompute_ratio": float(np.mean(self.recompute)) if self.recompute else None,
            "keyframes": self.keyframes,
        }


def readings(
    frames: Iterable[Frame], dense: Callable[[Tensor], Outputs], sessions: Mapping[str, Session]
) -> Iterator[tuple[Frame, dict[str, Reading]]]:
    """Runs every frame all ways, the first one in turns; the dense network's reading is called "dense"."""
    names = ["dense", *sessions]
    for count, frame in enumerate(frames):
        raw: dict[str, tuple[Outputs, float]] = {}
        first = count % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            outputs = sessions[name].run(frame.image, frame.motion) if name in sessions else dense(frame.image)
            raw[name] = outputs, 1e3 * (time.perf_counter() - start)
        yield frame, {name: _reading(*raw[name], raw["dense"][0], sessions.get(name)) for name in names}


def _reading(outputs: Outputs, latency_ms: float, yardstick: Outputs, session: Session | None) -> Reading:
    classes, found = class_map(outputs), detections(outputs)
    if session is None:
        return Reading(latency_ms, classes, found)
    difference = max(float((outputs[name] - yardstick[name]).abs().max()) for name in yardstick)
    stats = session.stats
    return Reading(latency_ms, classes, found, difference, stats.compute_ratio, stats.recompute_ratio, stats.keyframe)


def _as_object(found: Detection) -> SceneObject:
    y0, x0, y1, x1 = (round(value) for value in found.box)
    return SceneObject(0, found.label, (y0, x0, max(y1, y0 + 1), max(x1, x0 + 1)), 1 << 20, 1.0)


def tallies_of(
    results: Iterable[tuple[SceneFrame, dict[str, Reading]]], cameras: Sequence[str] = ("still", "drive", "pan")
) -> tuple[dict[str, Tally], dict[str, dict[str, Tally]]]:
    """Tallies of each way over the whole film, and by what the camera does."""
    whole: dict[str, Tally] = {}
    parts: dict[str, dict[str, Tally]] = {camera: {} for camera in cameras}
    for truth, ways in results:
        for name, reading in ways.items():
            whole.setdefault(name, Tally()).add(reading, ways["dense"], truth)
            parts[truth.camera].setdefault(name, Tally()).add(reading, ways["dense"], truth)
    return whole, parts
