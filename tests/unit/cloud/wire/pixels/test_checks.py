"""What payloads refuse before they look at any data."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.errors import WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.pixels.checks import check_mask, check_pixels, check_size


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (-1, 8), (16385, 1), (1, 16385), (8192, 8192)])
def test_sizes_that_are_not_allowed(size: tuple[int, int]) -> None:
    with pytest.raises(WireError, match="is not allowed: sides are 1 to 16384 px"):
        check_size(*size)


def test_sizes_that_are_allowed() -> None:
    for size in ((1, 1), (16384, 1), (33, 47), (4096, 5461)):
        check_size(*size)


def test_masks_and_pixels_of_other_streams() -> None:
    with pytest.raises(WireError, match=r"a mask of \(4, 5\) bool was given; this stream has \(4, 6\)"):
        check_mask(np.ones((4, 5), np.bool_), 4, 6)
    with pytest.raises(WireError, match="uint8 was given"):
        check_mask(np.ones((4, 6), np.uint8), 4, 6)  # type: ignore[arg-type]
    for pixels in (np.zeros((4, 6, 3)), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6), np.uint8)):
        with pytest.raises(WireError, match=r"this stream has \(4, 6, 3\) uint8"):
            check_pixels(pixels, 4, 6)  # type: ignore[arg-type]
