"""The child process that decodes one stream: `python -m fluxshard.cloud.decoding.child`, started by `DecoderProcess`.

It must not import torch: what it loads is what a hostile stream could use, and what each stream costs.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
from contextlib import suppress

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fluxshard.cloud.decoding.protocol import REPLY, REQUEST, Reply, Request, max_packet_bytes, picture_bytes
from fluxshard.cloud.decoding.sandbox import enter
from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import PIXEL_FORMATS, AccessUnitDecoder
from fluxshard.video.h264.nal_units import START_CODE, has_slice, starts_stream
from fluxshard.video.picture import quarter_turns, to_picture

_ALIGNMENT_PX = 256  # libavcodec allocates pictures with margins, and macroblocks whole


class StreamDecoder:
    """Decodes one stream, and refuses whatever is not one intact picture of the agreed size for each packet.

    Args:
      picture_size: (h, w) of the pictures.
      pixels: `(h, w, 3)` where pictures are written.
    """

    def __init__(self, picture_size: tuple[int, int], pixels: NDArray[np.uint8]) -> None:
        self._size, self._pixels = picture_size, pixels
        self._max_pixels = (picture_size[0] + _ALIGNMENT_PX) * (picture_size[1] + _ALIGNMENT_PX)
        self._reformatter = VideoReformatter()
        self._decoder: AccessUnitDecoder | None = None

    def decode(self, number: int, data: bytes, request: Request) -> Reply:
        """Decodes one packet; after a refusal, the next one must start the stream again."""
        if Request.RESET in request:
            self._decoder = None
        decoder, self._decoder = self._decoder, None  # until it turns out well
        if decoder is None:
            if Request.RESET not in request or not starts_stream(data):
                return Reply.NOT_A_KEYFRAME
            decoder = AccessUnitDecoder(refuse_damage=True, max_pixels=self._max_pixels)
        try:
            pictures = decoder.decode(number, data)
        except (av.FFmpegError, MemoryError):
            return Reply.UNDECODABLE
        if len(pictures) > 1:
            return Reply.MORE_PICTURES
        if pictures:
            refusal = self._refusal(number, pictures[0])
            if refusal is not None:
                return refusal
            if Request.WANTED in request:
                try:
                    self._pixels[:] = to_picture(pictures[0], self._reformatter)
                except VideoError:
                    return Reply.OTHER_FORMAT
        elif Request.WANTED in request or has_slice(data):
            return Reply.NO_PICTURE
        self._decoder = decoder
        return Reply.DECODED

    def _refusal(self, number: int, picture: av.VideoFrame) -> Reply | None:
        """Why a picture is not taken; None if it is."""
        if picture.is_corrupt:
            return Reply.CORRUPT
        if picture.pts != number:
            return Reply.OTHER_PICTURE
        if (picture.height, picture.width) != self._size or quarter_turns(picture) != 0:
            return Reply.OTHER_SIZE
        return None if picture.format.name in PIXEL_FORMATS else Reply.OTHER_FORMAT

    def warm_up(self) -> None:
        """Loads what decoding needs: afterwards nothing can be opened."""
        with suppress(av.FFmpegError):
            AccessUnitDecoder(refuse_damage=True).decode(
                0, START_CODE + b"\x65"
            )  # no picture, but all of the way there
        black = av.VideoFrame(self._size[1], self._size[0], "yuv420p")
        to_picture(black, self._reformatter)


def serve(channel: socket.socket, decoder: StreamDecoder, *, most_bytes: int, timeout_s: float) -> None:
    """Answers requests until the server closes the channel. A packet that takes longer than allowed ends the process.

    Args:
      channel: to the server.
      decoder: of the stream.
      most_bytes: of a packet.
      timeout_s: for one packet.
    """
    while True:
        head = _receive(channel, REQUEST.size)
        if head is None:
            return
        flags, n_bytes, number = REQUEST.unpack(head)
        data = _receive(channel, n_bytes) if n_bytes <= most_bytes else None
        if data is None:
            return
        signal.setitimer(signal.ITIMER_REAL, timeout_s)  # its signal ends the process, also if the server is gone
        reply = decoder.decode(number, data, Request(flags))
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.sendall(REPLY.pack(reply, number))


def _receive(channel: socket.socket, n_bytes: int) -> bytes | None:
    """That many bytes; None where the channel ends before."""
    buffer = bytearray(n_bytes)
    view, filled = memoryview(buffer), 0
    while filled < n_bytes:
        count = channel.recv_into(view[filled:])
        if count == 0:
            return None
        filled += count
    return bytes(buffer)


def main(arguments: list[str]) -> None:
    """Decodes until the server closes the channel.

    Args:
      arguments: numbers of the channel's and the shared memory's file; height and width of the pictures; bytes of
        memory for decoding; seconds for a packet.
    """
    channel_file, memory_file, height, width, memory_bytes = map(int, arguments[:5])
    size = height, width
    channel = socket.socket(fileno=channel_file)
    memory = mmap.mmap(memory_file, picture_bytes(size))
    os.close(memory_file)
    decoder = StreamDecoder(size, np.frombuffer(memory, np.uint8).reshape(height, width, 3))
    decoder.warm_up()
    protection = enter(memory_bytes)
    channel.sendall(REPLY.pack(Reply.READY, protection))
    serve(channel, decoder, most_bytes=max_packet_bytes(size), timeout_s=float(arguments[5]))


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # nothing to clean up, and little is allowed
