"""Content that was recorded from a clip: a file of what every frame takes, for caches of every age."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.offload.content.content import Work
from fluxshard.files import write_whole

FORMAT = 1
RecordedPayload = Literal["raw", "packed", "bitstream"]
PAYLOADS: tuple[RecordedPayload, ...] = ("raw", "packed", "bitstream")
_MOST_ENTRIES = 1 << 26  # of one array in a file
_RAW_BYTES = 3  # per pixel

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedContent:
    """What the frames of a clip take under one policy, by frame and age of the cache.

    A row of an array is a frame, a column an age; entries whose age is above their frame's number are NaN.

    Attributes:
      name: of the clip.
      ages: of the columns, in captured frames; rising, from 1.
      work: `(frames, ages, kinds)` predicted work.
      pixels: `(frames, ages)` pixels in S_0.
      order_bytes: `(frames, ages)` of motion, masks and what else a frame's head holds.
      packed_bytes: `(frames, ages)` of the pixels in S_0, lossless.
      packed_key_bytes: `(frames,)` of all pixels, lossless.
      packet_bytes, key_bytes: `(frames,)` of the frame's packet in the video, and of a keyframe in its place.
      size: (H, W) of the image.
      facts: model, options, versions; for people.

    Raises:
      EvaluationError: arrays that do not fit each other, or values that are not allowed.
    """

    name: str
    ages: tuple[int, ...]
    work: Floats
    pixels: Floats
    order_bytes: Floats
    packed_bytes: Floats
    packed_key_bytes: Floats
    packet_bytes: Floats
    key_bytes: Floats
    size: tuple[int, int]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames, n_ages = len(self.packet_bytes), len(self.ages)
        rising = all(a < b for a, b in itertools.pairwise(self.ages))
        if frames < 2 or not self.ages or self.ages[0] != 1 or not rising:
            raise self._wrong(f"{frames} frames and ages {self.ages}; expected 2 frames and rising ages from 1")
        if self.work.ndim != 3 or self.work.shape[:2] != (frames, n_ages) or not self.work.shape[2]:
            raise self._wrong(f"work of {self.work.shape}; expected ({frames}, {n_ages}, kinds)")
        for name in ("pixels", "order_bytes", "packed_bytes"):
            if getattr(self, name).shape != (frames, n_ages):
                raise self._wrong(f"{name} of {getattr(self, name).shape}; expected {(frames, n_ages)}")
        known = np.arange(frames)[:, None] >= np.array(self.ages)
        for name in ("work", "pixels", "order_bytes", "packed_bytes"):
            values = getattr(self, name)[known]
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise self._wrong(f"{name} has values that are not finite and at least 0")
        for name in ("packet_bytes", "key_bytes", "packed_key_bytes"):
            values = getattr(self, name)
            if values.shape != (frames,) or not (np.isfinite(values).all() and (values > 0).all()):
                raise self._wrong(f"{name} must be {frames} finite numbers above 0")
        if (self.work[known] > 1 + 1e-9).any() or (self.pixels[known] > self.size[0] * self.size[1]).any():
            raise self._wrong("work above 1, or more pixels than the image has")

    def _wrong(self, what: str) -> EvaluationError:
        return EvaluationError(f"content {self.name!r} has {what}: record it again")

    def save(self, path: Path) -> None:
        """Writes a NumPy archive; a reader never sees half of it."""
        head = {
            "format": FORMAT, "name": self.name, "ages": self.ages, "size": self.size, "facts": dict(self.facts)
        }  # fmt: skip
        body = io.BytesIO()
        arrays = {name: getattr(self, name).astype(np.float32) for name in _ARRAYS}
        np.savez_compressed(body, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
        write_whole(path, body.getvalue())

    @classmethod
    def load(cls, path: Path) -> RecordedContent:
        """Reads what `save` wrote.

        Raises:
          EvaluationError: missing, damaged or of another format.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                head = json.loads(stored["head"].tobytes())
                if head.get("format") != FORMAT:
                    raise EvaluationError(
                        f"content {str(path)!r} has format {head.get('format')!r}; this version reads {FORMAT}: "
                        "record it again"
                    )
                arrays = {name: _numbers(stored[name]) for name in _ARRAYS}
            return cls(
                name=str(head["name"]), ages=tuple(map(int, head["ages"])), size=(int(head["size"][0]),
                int(head["size"][1])), facts=dict(head["facts"]), **arrays,
            )  # fmt: skip
        except EvaluationError:
            raise
        except Exception as error:  # damaged archives raise anything
            seen = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise EvaluationError(f"content {str(path)!r} cannot be read: {seen}") from error

    def of(self, payload: RecordedPayload) -> ReplayedContent:
        """The content as a replay sees it, with one payload."""
        return ReplayedContent(self, payload)


_ARRAYS = ("work", "pixels", "order_bytes", "packed_bytes", "packed_key_bytes", "packet_bytes", "key_bytes")


def _numbers(stored: NDArray[Any]) -> Floats:
    if stored.dtype != np.float32 or stored.size > _MOST_ENTRIES:
        raise ValueError(f"an array of {stored.size} {stored.dtype}")
    return stored.astype(np.float64)


def loop_start(recorded: RecordedContent) -> int:
    """The frame with which a replayed clip begins, and at which it starts over."""
    return min(len(recorded.packet_bytes) // 2, recorded.ages[-1])


class ReplayedContent:
    """See `Content`; a clip that starts over.

    Ages between two that were recorded are interpolated; older caches take the oldest one. The clip starts over at a
    frame before which there are others, so that young caches are recorded for all of its frames; the jump back is no
    cut. Frames have the oldest cache that the clip has for them where it is not as old as is asked for.

    Args:
      recorded: the clip.
      payload: what goes up.
    """

    def __init__(self, recorded: RecordedContent, payload: RecordedPayload) -> None:
        frames = len(recorded.packet_bytes)
        self._first = loop_start(recorded)
        self.frames = frames - self._first
        """See `Content.frames`."""
        self.first = self._first
        """The frame of the recording that frame 0 is."""
        self._most = recorded.ages[-1]
        looped = range(self._first, frames)
        pixels, height, width = 0 * recorded.pixels, *recorded.size
        key = np.zeros(frames)
        if payload == "raw":
            pixels, key = _RAW_BYTES * recorded.pixels, np.full(frames, float(_RAW_BYTES * height * width))
        elif payload == "packed":
            pixels, key = recorded.packed_bytes, recorded.packed_key_bytes
        # by frame, then by age from 1: lists, since a replay reads them one by one
        rows = [_every_age(recorded.work[t], recorded.ages, t) for t in looped]
        self._work: list[list[Work]] = [[tuple(map(float, one)) for one in row] for row in rows]
        order = [_every_age(recorded.order_bytes[t, :, None], recorded.ages, t)[:, 0] for t in looped]
        own = [_every_age(pixels[t, :, None], recorded.ages, t)[:, 0] for t in looped]
        self._bytes: list[list[float]] = [(a + b).tolist() for a, b in zip(order, own, strict=True)]
        self._key: list[float] = key[self._first :].tolist()
        self._whole: Work = (1.0,) * recorded.work.shape[2]
        self._has_video = payload == "bitstream"
        self._keyframes: list[float] = recorded.key_bytes[self._first :].tolist()
        packets = recorded.packet_bytes[self._first :]
        self._until: list[float] = [0.0, *np.cumsum(packets).tolist()]  # bytes before a frame's packet

    def work(self, ran: int, frame: int) -> Work:
        """See `Content.work`."""
        if ran < 0:
            return self._whole
        return self._work[frame % self.frames][min(frame - ran, self._most) - 1]

    def frame_bytes(self, ran: int, frame: int) -> float:
        """See `Content.frame_bytes`."""
        number = frame % self.frames
        return self._key[number] if ran < 0 else self._bytes[number][min(frame - ran, self._most) - 1]

    def video_bytes(self, sent: int, frame: int) -> float:
        """See `Content.video_bytes`."""
        if not self._has_video:
            return 0.0
        keyframe = self._keyframes[frame % self.frames]
        return keyframe if sent < 0 else min(keyframe, self._before(frame + 1) - self._before(sent + 1))

    def _before(self, frame: int) -> float:
        loops, number = divmod(frame, self.frames)
        return loops * self._until[-1] + self._until[number]


def _every_age(row: Floats, ages: tuple[int, ...], frame: int) -> Floats:
    """Values for ages 1, 2 and so on, from those of some ages: `(ages, kinds)` to `(largest age, kinds)`."""
    known = [index for index, age in enumerate(ages) if age <= frame]
    every = np.arange(1, ages[-1] + 1)
    columns = [np.interp(every, np.array(ages)[known], row[known, kind]) for kind in range(row.shape[1])]
    return np.stack(columns, axis=1)
