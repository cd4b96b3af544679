"""Motion of a video's pictures since the last one that was run, from the vectors of all packets."""

from __future__ import annotations

from fluxshard.cloud.decoding.shared_vectors import PacketVectors, VectorState
from fluxshard.motion import MotionField
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.motion.codec_vectors import field_from_vectors
from fluxshard.video.motion.motion_since import MotionSince


class PictureMotion:
    """Follows the motion of one video: what `fluxshard.video` finds in the same packets, bit for bit.

    Whether a picture was run is known only after it was decoded, and more may have been decoded by then. So motion is
    counted from the last picture that was run, and from the last one that may be run.

    Args:
      letterbox: from pictures to images.
    """

    def __init__(self, letterbox: Letterbox) -> None:
        self._letterbox = letterbox
        self._since_run = MotionSince(letterbox.size)
        self._since_wanted = MotionSince(letterbox.size)

    def decoded(self, found: PacketVectors) -> None:
        """Takes the next packet of the video."""
        if found.state is VectorState.NO_PICTURE:
            return
        motion = None
        if found.state is VectorState.KNOWN:
            motion = field_from_vectors(found.vectors, self._letterbox)
        self._since_run.add(motion)
        self._since_wanted.add(motion)

    def wanted(self) -> MotionField | None:
        """The last picture may be run: its motion since the one that was run last; None where it is unknown."""
        self._since_wanted.restart()
        return self._since_run.motion

    def ran(self) -> None:
        """The last picture that was wanted has been run."""
        self._since_run, self._since_wanted = self._since_wanted, MotionSince(self._letterbox.size)
