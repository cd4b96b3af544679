"""An encoder of H.264 with a decoder behind it: pictures as a receiver will see them."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import AccessUnitDecoder


class RoundTrip:
    """Encodes pictures with x264, one packet for each without delay, and decodes them again with their motion vectors.

    Only the first picture is a keyframe, and those that ask to be one. Pictures of several planes are BT.709 in limited
    range.

    Args:
      size: (height, width) of the pictures in pixels.
      pixel_format: of the pictures.
      crf: constant quality of x264: 18 is close to the original, 23 its default.
      x264: further settings of x264, as a list of `name=value` with colons between.
      purpose: what it is for, in messages.

    Raises:
      VideoError: this build of FFmpeg has no libx264.
    """

    def __init__(self, size: tuple[int, int], pixel_format: str, *, crf: int, x264: str, purpose: str) -> None:
        self._purpose = purpose
        self._count = 0
        try:
            encoder = av.CodecContext.create("libx264", "w")
        except (av.codec.codec.UnknownCodecError, av.FFmpegError) as error:
            raise VideoError(
                f"this build of FFmpeg has no libx264, which is needed for {purpose}; install PyAV's own build, or "
                "open the video without what needs it: vectors='codec' or 'none', packets=False"
            ) from error
        encoder.height, encoder.width = size
        encoder.pix_fmt = pixel_format
        if pixel_format != "gray":
            encoder.colorspace, encoder.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
        encoder.thread_count = 1  # x264 encodes one slice per thread: vectors would depend on the machine
        encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
        # ultrafast: settings are then those given; no delay, one reference and no B-frames: each vector refers to the
        # picture before
        encoder.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": str(crf),
            "forced-idr": "1",
            "x264-params": f"keyint=infinite:bframes=0:ref=1:scenecut=0:weightp=0:{x264}",
        }
        self._encoder = encoder
        self._decoder = AccessUnitDecoder(motion_vectors=True)

    def run(self, frame: av.VideoFrame, *, keyframe: bool = False) -> tuple[bytes, av.VideoFrame]:
        """Encodes and decodes a picture of the given size and format.

        Args:
          frame: the picture.
          keyframe: whether decoding must be able to start at it.

        Returns:
          the packet in Annex B, and the decoded picture.

        Raises:
          VideoError: the encoder or its decoder failed.
        """
        number = self._count
        self._count += 1
        frame.pts = number
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        try:
            packets = [bytes(packet) for packet in self._encoder.encode(frame)]
            decoded = [picture for packet in packets for picture in self._decoder.decode(number, packet)]
        except av.FFmpegError as error:
            raise VideoError(f"{self._purpose} failed at picture {number}: {error.strerror}") from error
        if len(packets) != 1 or len(decoded) != 1:
            raise VideoError(
                f"{self._purpose} failed at picture {number}: the encoder gave {len(packets)} packets and "
                f"{len(decoded)} pictures back; expected 1 of each"
            )
        return packets[0], decoded[0]
