"""Motion between pictures that come without any: from a camera, OpenCV, or a codec whose vectors point elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fluxshard.codegen.cpp.motion.block_search import BlockSearchParams, own_block_search
from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField

_MOST_PX = 1 << 14


class MotionEstimator:
    """Finds where the content of each 8-px cell was in the picture before, by comparing blocks.

        estimator = fluxshard.MotionEstimator((384, 640))
        for picture in pictures:
            outputs = session.run(picture, estimator(picture))

    Motion of up to 32 px a picture along an axis is found anew, faster motion where it grows to that. Cells that look
    like nothing in the picture before are invalid. `video.motion.block_search` says what is computed.

    Args:
      size: (H, W) of the pictures in pixels: those that the network gets, letterboxed.
      threads: that share the work; None for as many as torch has.

    Raises:
      ShapeError: a size that pictures cannot have.
      ToolchainError, CompileError, MissingKernelError: the program is not in the cache and cannot be built.
    """

    def __init__(self, size: Sequence[int], *, threads: int | None = None) -> None:
        if len(size) != 2 or not all(
            isinstance(length, int) and not isinstance(length, bool) and 1 <= length <= _MOST_PX for length in size
        ):
            raise ShapeError(f"size (={size!r}) must be (height, width) of pictures, whole pixels from 1 to {_MOST_PX}")
        if threads is not None and threads < 1:
            raise ShapeError(f"threads (={threads}) must be at least 1")
        self.size = size[0], size[1]
        self._threads = torch.get_num_threads() if threads is None else threads
        self._program = own_block_search(BlockSearchParams())
        self._state = self._program.new_state(*self.size)
        self._pictures = 0

    def __call__(self, picture: NDArray[np.uint8]) -> MotionField | None:
        """The motion of a picture since the one of the call before; None for the first.

        Args:
          picture: `(H, W, 3)` uint8, RGB or BGR, which makes no difference.

        Raises:
          ShapeError: a picture of another shape or type.
        """
        if picture.shape != (*self.size, 3) or picture.dtype != np.uint8:
            raise ShapeError(f"picture is {picture.shape} {picture.dtype}; expected {(*self.size, 3)} uint8")
        found = self._program.motion(self._state, np.ascontiguousarray(picture), self._pictures, self._threads)
        self._pictures += 1
        return None if found is None else MotionField.trusted(*found)

    def reset(self) -> None:
        """Forgets the last picture: the next is the first."""
        self._pictures = 0
        self._state = self._program.new_state(*self.size)
