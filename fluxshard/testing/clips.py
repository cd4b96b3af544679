"""Video clips of known motion: pictures encoded with one exact vector per macroblock. Needs PyAV when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from fluxshard.testing.pictures import Picture

EXACT_X264 = (
    "keyint=infinite:min-keyint=1:bframes=0:ref=1:scenecut=0:weightp=0:partitions=none:8x8dct=0:me=umh:merange=64:"
    "subme=0:no-mbtree=1"
)
"""Settings of x264: P frames only, one whole-pixel vector per 16x16 macroblock."""

QUARTER_X264 = EXACT_X264.replace("subme=0", "subme=7")
"""The same with vectors in quarters of a pixel."""


def write_clip(
    path: Path,
    pictures: Iterable[Picture],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    fps: int = 25,
    format: str | None = None,
) -> Path:
    """Encodes pictures to a file.

    Args:
      path: of the file; its suffix decides the container.
      pictures: `(H, W, 3)` uint8 RGB, all of one size.
      codec: name of an FFmpeg encoder.
      options: of the encoder; None takes `EXACT_X264` at CRF 18.
      fps: frames per second.
      format: of the container, instead of what the suffix says.

    Returns:
      the path.

    Raises:
      ModuleNotFoundError: PyAV is not installed.
      ValueError: the codec does not encode video.
    """
    import av
    from av.video.stream import VideoStream

    if options is None:
        options = {"preset": "medium", "crf": "18", "x264-params": EXACT_X264}
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=fps)
        if not isinstance(stream, VideoStream):
            raise ValueError(f"codec (={codec!r}) encodes {stream.type}; name an encoder of video")
        stream.options = {**options}
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
