"""A digest of what this machine makes of a fixed clip: two machines with equal digests compute on equal pixels.

Decoders of H.264 agree; conversions to RGB and scaling differ between builds, versions and instruction sets.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder
from fluxshard.video.letterbox import Letterbox
from fluxshard.video.picture import to_picture

PICTURE_SIZE = (98, 162)  # no multiples of the widths of vectors
_IMAGE_SIZES = ((64, 64), (160, 256))  # smaller and larger
_DELIMITER = b"\0\0\0\1\x09"  # each packet of the clip starts with an access unit delimiter


def clip() -> list[bytes]:
    """Packets of the fixed clip: six pictures in two slices each, of all kinds of blocks that P pictures have."""
    data = files(__package__).joinpath("fingerprint.h264").read_bytes()
    return [_DELIMITER + part for part in data.split(_DELIMITER)[1:]]


def decoder_fingerprint() -> str:
    """Digest of the clip's pictures in RGB, and of the last one letterboxed to two sizes. Takes some milliseconds.

    Raises:
      VideoError: this build of FFmpeg cannot decode the clip.
    """
    digest = hashlib.sha256()
    reformatter = VideoReformatter()
    picture = np.zeros((0, 0, 3), np.uint8)
    try:
        decoder = AccessUnitDecoder(refuse_damage=True)
        for number, data in enumerate(clip()):
            for frame in decoder.decode(number, data):
                picture = to_picture(frame, reformatter)
                digest.update(picture.tobytes())
    except (av.codec.codec.UnknownCodecError, av.FFmpegError) as error:
        raise VideoError("this build of FFmpeg cannot decode H.264; install PyAV's own build") from error
    for size in _IMAGE_SIZES:
        digest.update(Letterbox(PICTURE_SIZE, size).place(picture).tobytes())
    return digest.hexdigest()[:32]
