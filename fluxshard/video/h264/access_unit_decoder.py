"""Decodes an H.264 stream packet by packet. Without torch, since a process that decodes untrusted video imports it."""

from __future__ import annotations

import av
from av.codec.context import Flags

from fluxshard.video.h264.nal_units import has_slice

# 8 bits per sample: what cameras send
PIXEL_FORMATS = frozenset(("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray"))
_MAX_WAITING_BYTES = 1 << 16  # of packets without a picture: parameter sets and messages, which are small


class AccessUnitDecoder:
    """Decodes one packet at a time in one thread, without delay; a picture's `pts` is the number of its packet.

    Sender and receiver decode through this class, so that they compute on the same pictures. A packet without a slice,
    which libavcodec refuses, waits for the next one and is decoded with it.

    Args:
      motion_vectors: whether pictures carry their motion vectors.
      refuse_damage: whether damage is an error of `decode`; otherwise libavcodec conceals what it can.
      max_pixels: pixels of the largest picture that may be allocated, alignment included; None for any.

    Attributes:
      codec: libavcodec's state.
    """

    def __init__(
        self, *, motion_vectors: bool = False, refuse_damage: bool = False, max_pixels: int | None = None
    ) -> None:
        decoder = av.CodecContext.create("h264", "r")
        decoder.thread_type, decoder.thread_count = "SLICE", 1  # frame threading delays pictures
        decoder.flags |= Flags.low_delay
        options = {"flags2": "+export_mvs"} if motion_vectors else {}
        if refuse_damage:
            options["err_detect"] = "explode"
        if max_pixels is not None:
            options["max_pixels"] = str(max_pixels)
        decoder.options = options
        self.codec = decoder
        self._waiting = b""

    def decode(self, number: int, data: bytes) -> list[av.VideoFrame]:
        """Decodes one packet.

        Args:
          number: of the packet.
          data: H.264 in Annex B.

        Returns:
          its picture: none if it holds none or is damaged, several if it holds several.

        Raises:
          av.FFmpegError: the packet cannot be decoded.
        """
        data, self._waiting = self._waiting + data, b""
        if len(data) <= _MAX_WAITING_BYTES and not has_slice(data):
            self._waiting = data
            return []
        packet = av.Packet(data)
        packet.pts = number
        return list(self.codec.decode(packet))

    def flush(self) -> list[av.VideoFrame]:
        """Ends the stream and returns what the decoder still holds.

        Raises:
          av.FFmpegError: it cannot be decoded.
        """
        return list(self.codec.decode(None))
