"""Motion over several pictures: from a frame that was used to the one that was decoded last."""

from __future__ import annotations

from fluxshard.motion import MotionField, accumulate


class MotionSince:
    """Composes the motion of pictures that follow each other; unknown as soon as that of one is.

    Args:
      size: (H, W) of the image in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._motion: MotionField | None = None
        self._pictures = 0

    @property
    def motion(self) -> MotionField | None:
        """Motion to the last picture; None where it is unknown, or there was no picture."""
        return self._motion

    def add(self, motion: MotionField | None) -> None:
        """Takes the next picture.

        Args:
          motion: since the picture before; None where it is unknown.
        """
        if self._pictures and motion is not None:
            motion = None if self._motion is None else accumulate(self._motion, motion, *self._size)
        self._motion = motion
        self._pictures += 1

    def restart(self) -> None:
        """The picture that was added last is used: from here on, motion is counted from it."""
        self._motion, self._pictures = None, 0
