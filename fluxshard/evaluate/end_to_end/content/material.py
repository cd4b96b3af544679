"""What is known of one clip: recordings, pictures as they are sent, and how well every method answers each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.edge.payload.packet_messages import picture_head
from fluxshard.cloud.edge.payload.sparse import Envelope
from fluxshard.evaluate.end_to_end.entrants import Entrant
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.evaluate.offload.content.recorded_content import RecordedContent, ReplayedContent
from fluxshard.evaluate.offload.scenario import Repeats

Floats = NDArray[np.float64]
_NUMBER = 1000  # of a frame and of its picture, which take as many bytes as they have digits
_HEAD_BYTES = len(
    picture_head(_NUMBER, Envelope(seq=_NUMBER, base_seq=0, epoch=_NUMBER, wants_answer=True, budget_ms=0))
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a method made of every frame of a clip, when it ran on all of them one after the other.

    Attributes:
      compute: `(frames,)` share of the dense network's work.
      accuracy: `(frames,)`; NaN where there is nothing to compare with.
    """

    compute: Floats
    accuracy: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """One clip. A row is a frame, a column an age of the cache, as in `RecordedContent`.

    Attributes:
      name: of the clip.
      recordings: by role; propagated reuse and the methods like it count pixels as their work.
      jpeg_bytes: `(frames,)` of whole pictures.
      similarity: `(frames, ages)` SSIM with the frame that is so much older.
      answers: by role.
      moved: by age in frames, the accuracy of "planned" results of so many frames ago, moved to now.
    """

    name: str
    recordings: Mapping[Role, RecordedContent]
    jpeg_bytes: Floats
    similarity: Floats
    answers: Mapping[Role, Answers]
    moved: Mapping[int, Floats]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.recordings["planned"].size

    @property
    def raw_bytes(self) -> int:
        """Of an image."""
        return 3 * self.size[0] * self.size[1]


def work_slope(materials: Sequence[Material], role: Role) -> float:
    """How a method's work grows with the pixels that it recomputes, at least 0: a line through all frames of all clips.

    Args:
      materials: clips with the method.
      role: of a method whose recording counts pixels.
    """
    x, y = [], []
    for one in materials:
        x.append(one.recordings[role].work[1:, 0, 0])
        y.append(one.answers[role].compute[1:])
    pixels, work = np.concatenate(x), np.concatenate(y)
    spread = float(pixels.var())
    if spread < 1e-9:
        return 0.0
    return max(0.0, float(((pixels - pixels.mean()) * (work - work.mean())).mean()) / spread)


def content_of(one: Material, entrant: Entrant, slope: float = 0.0) -> ReplayedContent:
    """A clip as a replay of a method sees it.

    Args:
      one: the clip.
      entrant: the method.
      slope: of `work_slope`, for methods whose recording counts pixels.
    """
    role = entrant.role
    base = one.recordings.get(role, one.recordings["planned"])
    nothing, everything = 0 * base.order_bytes, 0 * base.work + 1
    pixels = 0 * base.pixels + one.size[0] * one.size[1]
    if entrant.dense:
        base = replace(base, work=everything[:, :, :1])
    elif role not in ("planned", "carried"):
        base = replace(base, work=_measured(base, one.answers[role].compute, slope)[:, :, None])
    if entrant.sent == "jpeg":
        sizes = one.jpeg_bytes
        base = replace(base, order_bytes=nothing, packed_bytes=nothing + sizes[:, None], packed_key_bytes=sizes)
        return base.of("packed")
    if entrant.sent in ("h264", "camera", "bitstream"):  # the server plans: nothing is said of the work
        return replace(base, order_bytes=nothing + _HEAD_BYTES).of("bitstream")
    if entrant.sent == "coach":
        return replace(base, order_bytes=nothing, pixels=pixels / 4).of("raw")
    if entrant.dense and role == "dense":
        return replace(base, order_bytes=nothing, pixels=pixels).of("raw")
    return base.of("packed" if entrant.sent == "packed" else "raw")


def _measured(recorded: RecordedContent, compute: Floats, slope: float) -> Floats:
    """Work by frame and age: as measured for caches of one frame, more by the pixels that older ones add."""
    pixels = recorded.work[:, :, 0]
    return np.clip(compute[:, None] + slope * (pixels - pixels[:, :1]), 0.0, 1.0)


def repeats_of(one: Material, entrant: Entrant, content: ReplayedContent, similarity: float) -> Repeats | None:
    """Which frames are answered by the last result: COACH's similar ones, and those that planned reuse carried.

    Args:
      one: the clip.
      entrant: the method.
      content: the clip as it is replayed.
      similarity: from which on COACH repeats.
    """
    if entrant.role == "coach":
        ages = one.recordings["planned"].ages
        rows = [
            _by_age(one.similarity[number], ages) for number in range(content.first, content.first + content.frames)
        ]
        return lambda ran, frame: rows[frame % content.frames][min(frame - ran, ages[-1]) - 1] >= similarity
    if entrant.role == "carried":
        carried = (one.answers["carried"].compute[content.first :] == 0).tolist()
        return lambda _ran, frame: bool(carried[frame % content.frames])
    return None


def _by_age(row: Floats, ages: tuple[int, ...]) -> list[float]:
    known = np.isfinite(row)
    every = np.arange(1, ages[-1] + 1)
    return [float(value) for value in np.interp(every, np.array(ages)[known], row[known])]
