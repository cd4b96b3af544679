"""Pictures of image files, as a video."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fluxshard.errors import VideoError
from fluxshard.video.orientation import orientation_of_exif
from fluxshard.video.picture import to_pixels
from fluxshard.video.sources.failures import reason, refusing_damage
from fluxshard.video.sources.reader import DecodedPicture

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
IMAGES_FPS = 30.0  # assumed rate of images, which have no time stamps


class ImageReader:
    """Reader of image files of equal size.

    Args:
      paths: files in order, at least one.
      name: name of the source in messages.
      fps: frames per second; None takes `IMAGES_FPS`.
      strict: whether a damaged image is an error; otherwise it is left out.
    """

    has_vectors = live = paced = endless = False
    carries_packets = False
    time_base: Fraction | None = None

    def __init__(self, paths: list[Path], name: str, *, fps: float | None, strict: bool) -> None:
        self.name = name
        self.fps: float | None = fps or IMAGES_FPS
        self.frame_count: int | None = len(paths)
        self.damaged = 0
        self._paths, self._strict = paths, strict

    def frames(self) -> Iterator[DecodedPicture]:
        """Yields the images; see `Reader`.

        Raises:
          VideoError: an image has another size than the first, none can be read, or, in strict mode, one cannot.
        """
        first: tuple[int, int] | None = None
        intact = True
        for number, path in enumerate(self._paths, 1):
            try:
                frame = _read_image(path, strict=self._strict)
            except VideoError:
                if self._strict or (first is None and number == len(self._paths)):
                    raise
                self.damaged, intact = self.damaged + 1, False
                continue
            size = (frame.height, frame.width)
            first = first or size
            if size != first:
                raise VideoError(
                    f"image {str(path)!r} has {size[0]}x{size[1]} px and the first of {self.name!r} "
                    f"{first[0]}x{first[1]} px; give images of one size"
                )
            yield DecodedPicture(frame=frame, intact=intact)
            intact = True

    def close(self) -> None:
        """Does nothing: each file is closed after it was read."""


def is_image(entry: Path) -> bool:
    """Whether a directory's entry is a picture: hidden files are what other programs leave beside pictures."""
    return entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()


def _read_image(path: Path, *, strict: bool) -> av.VideoFrame:
    """Decodes an image file, upright.

    Args:
      path: of the file.
      strict: whether an image of which a part is missing cannot be read.

    Raises:
      VideoError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        # from memory: FFmpeg interprets "%" in the file name of an image as a pattern
        with av.open(io.BytesIO(data), "r") as container:
            if strict:
                codec = container.streams.video[0].codec_context
                codec.options = refusing_damage(codec.name)
            for frame in container.decode(video=0):
                return _upright(frame, data)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError(f"image {str(path)!r} cannot be read: {reason(error)}") from error
    raise VideoError(f"image {str(path)!r} cannot be read: it has no picture")


def _upright(frame: av.VideoFrame, data: bytes) -> av.VideoFrame:
    """The frame as EXIF says that it is shown: PyAV tells no mirrored picture from one that is turned by half."""
    try:
        with _header(data) as image:
            orientation = orientation_of_exif(image.getexif().get(ExifTags.Base.Orientation))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return frame  # a format that only FFmpeg knows, or damage that only it forgives
    if orientation.upright:
        return frame
    stored = to_pixels(frame, VideoReformatter())
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(orientation.apply(stored)), format="rgb24")


def _header(data: bytes) -> Image.Image:
    """Opens an image by Pillow, of which only the header is read: of any size, where the format is a common one.

    Raises:
      Image.DecompressionBombError: it is larger than Pillow opens, in another format.
      OSError, ValueError, SyntaxError, struct.error: it is damaged, or in a format that Pillow does not know.
    """
    try:
        return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        for kind in (JpegImageFile, PngImageFile, TiffImageFile):
            with suppress(SyntaxError):  # another format
                return kind(io.BytesIO(data))
        raise


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key of natural order: `frame2` before `frame10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
