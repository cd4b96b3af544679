"""Median prediction as a generated program, bit-equal with `ReferenceMedianPredictor`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.checks import MOST_SIDE_PX
from fluxshard.cloud.wire.pixels.median_predictor import MedianPredictor, ReferenceMedianPredictor
from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.wire.median_predictor import (
    MedianPredictorLibrary,
    MedianPredictorParams,
    build_median_predictor,
)
from fluxshard.errors import ToolchainError


class CppMedianPredictor:
    """See `MedianPredictor`. It keeps nothing between calls.

    Args:
      library: for pictures as wide as those that are given.
    """

    def __init__(self, library: MedianPredictorLibrary) -> None:
        self._library = library

    def residuals(self, pixels: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
        """See `MedianPredictor.residuals`."""
        found = np.empty((3, int(np.count_nonzero(mask))), np.uint8)
        self._library.encode(np.ascontiguousarray(pixels), np.ascontiguousarray(mask), found)
        return found

    def restore(self, residuals: NDArray[np.uint8], mask: Mask, image: NDArray[np.uint8]) -> None:
        """See `MedianPredictor.restore`."""
        self._library.decode(np.ascontiguousarray(residuals), np.ascontiguousarray(mask), image)


def median_predictor() -> MedianPredictor:
    """Generated C++ where there is a compiler, otherwise numpy.

    Raises:
      MissingKernelError: compilation is disabled and the program is not cached.
    """
    try:
        target = detect_target()
    except ToolchainError:
        return ReferenceMedianPredictor()
    params = MedianPredictorParams(most_columns=MOST_SIDE_PX)
    return CppMedianPredictor(build_median_predictor(params, target))
