"""Threshold profiles of all rows, calibrated on other clips than those that are replayed; made once, and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.calibration.calibrate import DenseBaseline, ProgressCallbacks, find_thresholds, run_dense
from fluxshard.evaluate.calibration.objective import Calibration
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.sensitivity.configurations import CONFIGURATIONS, Configuration
from fluxshard.evaluate.traces.workers import Setup, WorkerPool
from fluxshard.runtime.threshold_profile import ThresholdProfile

FOLDER = "profiles"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedOn:
    """How the rows are calibrated.

    Attributes:
      clips: to calibrate on; none of those that are replayed.
      max_frames: of each.
      points: settings of planned reuse that are measured at most, per budget.
      layers: that get thresholds of propagated reuse, islands not counted.
      configurations: the rows.
    """

    clips: tuple[Clip, ...]
    max_frames: int = 20
    points: int = 40
    layers: int = 12
    configurations: tuple[Configuration, ...] = CONFIGURATIONS


def check_apart(on: CalibratedOn, replayed: Sequence[Clip]) -> None:
    """Raises EvaluationError where a clip would be calibrated on and replayed."""
    places = {clip.source.resolve() for clip in replayed}
    both = sorted(clip.name for clip in on.clips if clip.source.resolve() in places)
    if both or not on.clips:
        raise EvaluationError(
            f"thresholds would be calibrated on {', '.join(both) or 'no clip'}: give clips to calibrate on that are "
            "not replayed"
        )


def profiles(
    on: CalibratedOn,
    setup: Setup,
    out: Path,
    *,
    workers: int | None = None,
    on_frames: Callable[[int], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> Mapping[Configuration, ThresholdProfile]:
    """The profile of every row.

    Args:
      on: clips and rows.
      setup: of the evaluation: network, size, and that clips are encoded.
      out: directory of the evaluation.
      workers: number of processes; None starts one per processor.
      on_frames: receives the number of frames done since its last call.
      tell: receives lines of text.

    Raises:
      EvaluationError: the clips are too short, or the dense network finds nothing in one; what was finished remains.
      ProfileError: a stored profile is damaged.
    """
    setup, folder = replace(setup, max_frames=on.max_frames), out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    digest = _digest(on, setup)
    paths = {one: folder / f"{_slug(one)}-{digest}.json" for one in on.configurations}
    missing = {one: path for one, path in paths.items() if not path.exists()}
    if missing:
        with WorkerPool(setup, workers, tasks=len(on.clips)) as pool:
            baseline: DenseBaseline | None = None
            for one, path in missing.items():
                request = _request(on, one)
                progress = ProgressCallbacks(frames=on_frames, step=tell)
                if baseline is None:
                    baseline = run_dense(request, setup, pool, progress)
                    # what goes up is recorded without a canvas
                    baseline = replace(baseline, network=replace(baseline.network, takes_canvas=False))
                tell(f"calibrating {one.label}")
                log = folder / f"planned-{digest}.search.jsonl"
                found, _ = find_thresholds(request, baseline, pool, log, progress)
                found.save(path)
    return {one: ThresholdProfile.load(path) for one, path in paths.items()}


def _request(on: CalibratedOn, one: Configuration) -> Calibration:
    if one.split is None:
        return Calibration(clips=on.clips, alpha=1 - one.budget, policy="planned", most_points=on.points)
    return Calibration(
        clips=on.clips, alpha=1 - one.budget, policy="propagated", split=one.split, truncation_points=on.layers
    )


def _slug(one: Configuration) -> str:
    return one.label.replace(" ", "-").replace("=", "")


def _digest(on: CalibratedOn, setup: Setup) -> str:
    """Of all that profiles depend on, but for the row."""
    facts = {**asdict(setup), "weights": hashlib.sha256(Path(setup.weights).read_bytes()).hexdigest(), "threads": None}
    clips = [str(clip.source.resolve()) for clip in on.clips]
    body = [FORMAT, facts, clips, on.points, on.layers]
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:12]
