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

from fluxshard.cloud.decoding.protocol import (
    MARGIN_PX,
    REPLY,
    REQUEST,
    Reply,
    Request,
    max_packet_bytes,
    picture_bytes,
)
from fluxshard.cloud.decoding.sandbox import enter
from fluxshard.cloud.decoding.shared_vectors import VectorState, shared_bytes, write_vectors
from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import PIXEL_FORMATS, AccessUnitDecoder
from fluxshard.video.h264.nal_units import START_CODE, has_slice, starts_stream
from fluxshard.video.motion.picture_vectors import refers_to_last, vectors_of
from fluxshard.video.orientation import orientation_of
from fluxshard.video.picture import to_picture


class StreamDecoder:
    """Decodes one stream, and refuses whatever is not one intact picture of the agreed size for each packet.

    Args:
      picture_size: (h, w) of the pictures.
      pixels: `(h, w, 3)` where pictures are written.
      vectors: `(vector_bytes,)` where the motion vectors of every packet are written; None writes none.
    """

    def __init__(
        self, picture_size: tuple[int, int], pixels: NDArray[np.uint8], vectors: NDArray[np.uint8] | None = None
    ) -> None:
        self._size, self._pixels, self._vectors = picture_size, pixels, vectors
        self._refer_to_last = True  # as those of all pictures so far
        self._max_pixels = (picture_size[0] + MARGIN_PX) * (picture_size[1] + MARGIN_PX)
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
            decoder = self._new_decoder()
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
        self._write_vectors(pictures[0] if pictures else None)
        self._decoder = decoder
        return Reply.DECODED

    def _new_decoder(self) -> AccessUnitDecoder:
        return AccessUnitDecoder(
            motion_vectors=self._vectors is not None, refuse_damage=True, max_pixels=self._max_pixels
        )

    def _write_vectors(self, picture: av.VideoFrame | None) -> None:
        if self._vectors is None:
            return
        if picture is None:
            write_vectors(self._vectors, VectorState.NO_PICTURE)
            return
        # one picture of another kind, and those after it may refer to pictures further back
        self._refer_to_last = self._refer_to_last and refers_to_last(picture)
        found = vectors_of(picture) if self._refer_to_last else None
        write_vectors(self._vectors, VectorState.UNKNOWN if found is None else VectorState.KNOWN, found)

    def _refusal(self, number: int, picture: av.VideoFrame) -> Reply | None:
        """Why a picture is not taken; None if it is."""
        if picture.is_corrupt:
            return Reply.CORRUPT
        if picture.pts != number:
            return Reply.OTHER_PICTURE
        if (picture.height, picture.width) != self._size or not orientation_of(picture).upright:
            return Reply.OTHER_SIZE
        return None if picture.format.name in PIXEL_FORMATS else Reply.OTHER_FORMAT

    def warm_up(self) -> None:
        """Loads what decoding needs: afterwards nothing can be opened."""
        with suppress(av.FFmpegError):
            self._new_decoder().decode(0, START_CODE + b"\x65")  # no picture, but all of the way there
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
        memory for decoding; 1 where motion vectors are wanted, else 0; seconds for a packet.
    """
    channel_file, memory_file, height, width, memory_bytes, vectors = map(int, arguments[:6])
    size = height, width
    channel = socket.socket(fileno=channel_file)
    memory = np.frombuffer(mmap.mmap(memory_file, shared_bytes(size, vectors=bool(vectors))), np.uint8)
    os.close(memory_file)
    pixels, rest = memory[: picture_bytes(size)], memory[picture_bytes(size) :]
    decoder = StreamDecoder(size, pixels.reshape(height, width, 3), rest if vectors else None)
    decoder.warm_up()
    protection = enter(memory_bytes)
    channel.sendall(REPLY.pack(Reply.READY, protection))
    serve(channel, decoder, most_bytes=max_packet_bytes(size), timeout_s=float(arguments[6]))


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # nothing to clean up, and little is allowed
