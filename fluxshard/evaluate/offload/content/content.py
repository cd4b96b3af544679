"""What a replay knows of a video: the work and the bytes of every frame, for caches of every age."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Work = tuple[float, ...]  # kinds of work, 0..1 each, as `work_features` gives them; the first is the share of work


class Content(Protocol):
    """The frames of a video that starts over for ever. Frames are numbered from 0; -1 stands for no frame at all.

    What is asked of two frames is the same when both are `frames` later.
    """

    @property
    def frames(self) -> int:
        """Captured frames until the video starts over."""
        ...

    def work(self, ran: int, frame: int) -> Work:
        """Work of a frame for a cache that stands for an earlier one.

        Args:
          ran: the frame that the cache stands for; -1: nothing is cached.
          frame: that is to run.
        """
        ...

    def frame_bytes(self, ran: int, frame: int) -> float:
        """Bytes of the frame's own messages, where the server ran `ran` last: masks, motion and, if sent, pixels."""
        ...

    def video_bytes(self, sent: int, frame: int) -> float:
        """Bytes of the video's packets up to a frame, where those up to `sent` went up before.

        0 for payloads of pixels. Where a keyframe takes less than all that waits, it is sent instead.
        """
        ...


def upload_bytes(content: Content, ran: int, sent: int, frame: int) -> float:
    """All that goes up for a frame.

    Args:
      content: of the video.
      ran: the frame that the server ran last; -1 for none.
      sent: the frame up to which it has the video's packets; -1 for none.
      frame: that is to run there.
    """
    return content.frame_bytes(ran, frame) + content.video_bytes(sent, frame)


@dataclass(frozen=True, slots=True)
class SyntheticContent:
    """Content whose work adds up: of what one frame leaves unchanged, the next changes its own share.

    Attributes:
      shares: share of work per frame for a cache that is one frame old, 0..1.
      own_bytes: of a frame's messages at a share of work.
      packet_bytes: of one frame of the video; 0 for payloads of pixels.
      key_bytes: of a keyframe of the video.
    """

    shares: Sequence[float]
    own_bytes: Callable[[float], float]
    packet_bytes: float = 0.0
    key_bytes: float = 0.0

    @property
    def frames(self) -> int:
        """See `Content.frames`."""
        return len(self.shares)

    def work(self, ran: int, frame: int) -> Work:
        """See `Content.work`."""
        if ran < 0:
            return (1.0,)
        numbers = np.arange(ran + 1, frame + 1) % len(self.shares)
        return (float(1 - np.prod(1 - np.asarray(self.shares)[numbers])),)

    def frame_bytes(self, ran: int, frame: int) -> float:
        """See `Content.frame_bytes`."""
        return self.own_bytes(self.work(ran, frame)[0])

    def video_bytes(self, sent: int, frame: int) -> float:
        """See `Content.video_bytes`."""
        return self.key_bytes if sent < 0 else min(self.packet_bytes * (frame - sent), self.key_bytes)
