from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from fluxshard.errors import VideoError
from fluxshard.testing.pictures import texture
from fluxshard.video.picture import to_picture


def test_rgb_pictures_stay_as_they_are() -> None:
    picture = texture(33, 47)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    assert (to_picture(frame, VideoReformatter()) == picture).all()


class Reformatter:
    """Fails, or knows no threads, as PyAV did before."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error, self._works = error, VideoReformatter()

    def reformat(self, frame: av.VideoFrame, **arguments: object) -> av.VideoFrame:
        if self._error is not None:
            raise self._error
        if "threads" in arguments:
            raise TypeError("unexpected keyword argument 'threads'")
        return self._works.reformat(frame, **arguments)  # type: ignore[arg-type]


def test_older_conversions_give_the_same() -> None:
    picture = texture(48, 64)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    found = to_picture(frame, Reformatter())  # type: ignore[arg-type]
    assert found.dtype == np.uint8 and (found == to_picture(frame, VideoReformatter())).all()


def test_a_picture_that_cannot_be_converted() -> None:
    frame = av.VideoFrame(64, 48, "yuv420p")
    failing = Reformatter(av.error.OSError(95, "Operation not supported"))
    with pytest.raises(VideoError, match=r"a picture in yuv420p cannot be converted to RGB: .* BT\.709"):
        to_picture(frame, failing)  # type: ignore[arg-type]
