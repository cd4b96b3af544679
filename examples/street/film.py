"""Encodes a drawn street as a camera would: H.264, one key picture, then only predictions from the picture before."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from examples.street.scene import FPS


def encode(pictures: Iterable[NDArray[np.uint8]], path: Path, crf: int = 18) -> int:
    """Writes pictures `(H, W, 3)` uint8, H and W even, to an MP4 file; returns the file's size in bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "preset": "fast",
            "crf": str(crf),
            "x264-params": "bframes=0:ref=1:keyint=infinite:scenecut=0:weightp=0",
        }
        for index, picture in enumerate(pictures):
            if not index:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path.stat().st_size
