"""Clips whose motion is known, for the tests of fluxshard.video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import MotionField

Picture = NDArray[np.uint8]

EXACT_X264 = (
    "keyint=infinite:min-keyint=1:bframes=0:ref=1:scenecut=0:weightp=0:partitions=none:8x8dct=0:me=umh:merange=64:"
    "subme=0:no-mbtree=1"
)
QUARTER_X264 = EXACT_X264.replace("subme=0", "subme=7")


def canvas(height: int, width: int, seed: int = 0) -> Picture:
    """Smooth texture without repetition: what a motion search finds exactly."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8) + 1, -(-width // 8) + 1, 3)).astype(np.float64)
    fine = np.kron(coarse, np.ones((8, 8, 1)))
    for axis in (0, 1):
        total = np.cumsum(np.insert(fine, 0, 0, axis), axis)
        window = [slice(None)] * 3
        window[axis] = slice(5, None)
        upper = total[tuple(window)]
        window[axis] = slice(None, -5)
        fine = (upper - total[tuple(window)]) / 5
    return fine[:height, :width].astype(np.uint8)


def panning(size: tuple[int, int], step: tuple[int, int], count: int, seed: int = 0) -> list[Picture]:
    """`count` views of one canvas whose content moves by `step` (y, x) pixels per picture."""
    (height, width), (down, right) = size, step
    margin_y, margin_x = abs(down) * count, abs(right) * count
    world = canvas(height + 2 * margin_y + 8, width + 2 * margin_x + 8, seed)
    views = ((margin_y - down * k, margin_x - right * k) for k in range(count))
    return [np.ascontiguousarray(world[y : y + height, x : x + width]) for y, x in views]


def quarter_panning(size: tuple[int, int], step: tuple[int, int], count: int, seed: int = 0) -> list[Picture]:
    """Like `panning`, with `step` in quarters of a pixel."""
    height, width = size
    return [
        picture.reshape(height, 4, width, 4, 3).mean((1, 3)).round().astype(np.uint8)
        for picture in panning((4 * height, 4 * width), step, count, seed)
    ]


def write_clip(
    path: Path,
    pictures: Iterable[Picture],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    fps: int = 25,
    format: str | None = None,
) -> Path:
    """Encodes pictures; libx264 with one exact whole-pixel vector per macroblock unless told otherwise."""
    if options is None:
        options = {"preset": "medium", "crf": "18", "x264-params": EXACT_X264}
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.options = options
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = {"mjpeg": "yuvj444p", "libx264": "yuv444p"}.get(codec, "yuv420p")
                if picture.shape[0] % 2 == 0 and picture.shape[1] % 2 == 0 and codec != "mjpeg":
                    stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def inner(motion: MotionField, rows: range, columns: range, margin_px: int) -> NDArray[np.int64]:
    """`(N, 3)`: displacement and validity of the cells that lie `margin_px` inside the given pixels."""
    cell = motion.cell_px
    y = [i for i in range(motion.valid.shape[0]) if rows.start + margin_px <= i * cell < rows.stop - margin_px - cell]
    x = [
        j
        for j in range(motion.valid.shape[1])
        if columns.start + margin_px <= j * cell < columns.stop - margin_px - cell
    ]
    window = np.ix_(y, x)
    assert y and x
    return (
        np.concatenate((motion.displacement[window], motion.valid[window][..., None]), -1)
        .reshape(-1, 3)
        .astype(np.int64)
    )


def share(cells: NDArray[np.int64], displacement: Sequence[int]) -> float:
    """Share of the cells of `inner` that are valid and moved by `displacement`."""
    return float((cells == (*displacement, 1)).all(-1).mean())
