"""Gathers what is known of clips: runs methods over them, scores them and records what goes up, where it is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content.material import Answers, Material
from fluxshard.evaluate.end_to_end.content.moved_results import moved_accuracy, moved_traces
from fluxshard.evaluate.end_to_end.content.recordings import Networks, Recordings, load_arrays, save_arrays
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.evaluate.experiment import measure_of
from fluxshard.evaluate.methods.method import Method, dense_method
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.trace_store import StoredTrace
from fluxshard.evaluate.traces.workers import Setup

RECORDED: tuple[Role, ...] = ("planned", "carried", "propagated", "deltacnn", "motion-deltacnn", "w/o remap")
_LIKE_PROPAGATED: tuple[Role, ...] = ("w/o RFAP", "RFAP per layer", "w/o sparse")  # the same pixels go up

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gathered:
    """What is known of clips.

    Attributes:
      materials: in the order of the clips.
      scores: of all methods on all clips.
      measure: of accuracy, a name in `FrameScores`.
    """

    materials: tuple[Material, ...]
    scores: tuple[ClipScores, ...]
    measure: str


class Gathering:
    """What clips give to one evaluation; made once, and kept.

    Args:
      setup: of the evaluation; its clips are encoded.
      out: directory of the evaluation.
      workers: number of processes; None starts one per processor.
      on_frames: receives the number of frames done since its last call.
      tell: receives lines of text.
    """

    def __init__(
        self,
        setup: Setup,
        out: Path,
        *,
        workers: int | None = None,
        on_frames: Callable[[int], None] = lambda _: None,
        tell: Tell = lambda _: None,
    ) -> None:
        self.setup, self.out, self.workers = setup, out, workers
        self.on_frames, self.tell = on_frames, tell
        self._runner = Runner(setup, out)
        self._networks = Networks(setup)
        self._recordings = Recordings(setup, self._networks, out)

    def size_of(self, clip: Clip) -> tuple[int, int]:
        """(H, W) of the network's input for a clip."""
        return self._networks.size_of(clip)

    def gather(self, clips: Sequence[Clip], methods: Mapping[Role, Method], measure: str | None = None) -> Gathered:
        """Materials of clips.

        Args:
          clips: the clips.
          methods: by role; "dense" and "planned" are there.
          measure: of accuracy; None takes mean J where clips have annotations, else OKS or mIoU against the dense
            network.

        Raises:
          EvaluationError: a clip cannot be read, or what is stored is damaged; what was finished remains.
        """
        stored, scores = self._scored(list(methods.values()), clips)
        measure = measure or measure_of(scores)
        dense = {one.task.clip.name: one.path for one in stored if one.task.method is methods["dense"]}
        materials = tuple(self._material(clip, methods, scores, measure, dense[clip.name]) for clip in clips)
        return Gathered(materials=materials, scores=tuple(scores), measure=measure)

    def with_methods(
        self, clips: Sequence[Clip], gathered: Gathered, others: Sequence[tuple[Role, Method]]
    ) -> tuple[tuple[Material, ...], ...]:
        """Materials in which another method has a role, for each of these.

        Args:
          clips: that `gathered` is of, in their order.
          gathered: of `gather`.
          others: roles, of those that are recorded, and the methods that have them.

        Raises:
          EvaluationError: as `gather`.
        """
        _, scores = self._scored([dense_method(), *(method for _, method in others)], clips)
        found = []
        for role, method in others:
            changed = []
            for clip, one in zip(clips, gathered.materials, strict=True):
                self.tell(f"{clip.name}: what {method.name} sends")
                recorded = self._recordings.content(clip, method)
                answers = _answers(scores, clip, method, gathered.measure)
                self._check(clip, {len(recorded.packet_bytes), len(answers.compute), len(one.jpeg_bytes)})
                recordings = {**one.recordings, role: recorded}
                changed.append(replace(one, recordings=recordings, answers={**one.answers, role: answers}))
            found.append(tuple(changed))
        return tuple(found)

    def _scored(self, methods: Sequence[Method], clips: Sequence[Clip]) -> tuple[list[StoredTrace], list[ClipScores]]:
        tasks = [(method, clip) for method in methods for clip in clips]
        stored = self._runner.run(tasks, workers=self.workers, on_frames=self.on_frames, on_trace=self.tell)
        self.tell("scores")
        return stored, self._runner.score(stored, workers=self.workers)

    def _material(
        self, clip: Clip, methods: Mapping[Role, Method], scores: Sequence[ClipScores], measure: str, dense: Path
    ) -> Material:
        """All that is known of a clip, recorded where it is missing."""
        recordings, found = self._recordings, {}
        for role in (one for one in RECORDED if one in methods):
            self.tell(f"{clip.name}: what {methods[role].name} sends")
            found[role] = recordings.content(clip, methods[role])
        for role in _LIKE_PROPAGATED:
            found[role] = found["propagated"]
        pictures = recordings.pictures(clip)
        answers = {role: _answers(scores, clip, method, measure) for role, method in methods.items()}
        path = recordings.path_of_moved(clip, methods["planned"], measure)
        if not path.exists():
            self.tell(f"{clip.name}: results moved to later frames")
            prepared = recordings.prepared(clip)
            traces = moved_traces(methods["planned"], recordings.network(clip), prepared)
            moved = moved_accuracy(traces, Trace.load(dense), prepared, measure)
            save_arrays(path, **{str(age): values for age, values in moved.items()})
        self._check(clip, {len(found["planned"].packet_bytes), *(len(one.compute) for one in answers.values())})
        return Material(
            name=clip.name, recordings=found, jpeg_bytes=pictures.jpeg_bytes, similarity=pictures.similarity,
            answers=answers, moved={int(age): values for age, values in load_arrays(path).items()},
        )  # fmt: skip

    def _check(self, clip: Clip, lengths: set[int]) -> None:
        """Raises EvaluationError where what is stored of a clip has different numbers of frames."""
        if len(lengths) > 1:
            raise EvaluationError(
                f"clip {clip.name!r}: recordings and traces have {sorted(lengths)} frames; delete "
                f"{str(self.out)!r}, and evaluate again"
            )


def _answers(scores: Sequence[ClipScores], clip: Clip, method: Method, measure: str) -> Answers:
    one = next(each for each in scores if (each.clip, each.method) == (clip.name, method.name))
    return Answers(
        compute=np.array([frame.compute_ratio for frame in one.frames]), accuracy=one.column(measure)
    )  # fmt: skip
