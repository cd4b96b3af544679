"""Decodes the packets of one stream in a child process, and refuses what does not follow from what came before."""

from __future__ import annotations

import math
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.decoding.child_process import ChildProcess
from fluxshard.cloud.decoding.protocol import (
    MAX_PICTURE_PX,
    MAX_SIDE_PX,
    Protection,
    Reply,
    Request,
    max_packet_bytes,
)
from fluxshard.cloud.decoding.shared_vectors import PacketVectors, shared_bytes
from fluxshard.errors import OptionError, StateError, WireError

_MAX_NUMBER = 2**63 - 1  # what a time stamp of libavcodec holds
_REFUSALS = {
    Reply.NOT_A_KEYFRAME: "the packet is not an IDR picture with its parameter sets; a stream starts with one",
    Reply.UNDECODABLE: "the packet cannot be decoded",
    Reply.CORRUPT: "the packet's picture is damaged",
    Reply.NO_PICTURE: "the packet holds no picture",
    Reply.MORE_PICTURES: "the packet holds more than one picture",
    Reply.OTHER_PICTURE: "the packet gives the picture of another packet; B-frames are not allowed",
    Reply.OTHER_SIZE: "the packet's picture has another size than the stream",
    Reply.OTHER_FORMAT: "the packet's picture is in another format than 8 bits of YUV, or of unknown colours",
}


class DecoderProcess:
    """Decodes one video stream in a process without rights. For one thread at a time.

    A packet that is refused, and a process that is lost, end the stream: the next packet must be a keyframe. A crash or
    a hang costs this stream only.

    Args:
      picture_size: (h, w) of the pictures, as agreed with the sender.
      timeout_s: for one packet. A process that takes longer is ended.
      memory_bytes: of address space that decoding may take, beyond libraries.
      vectors: whether motion vectors are wanted as well.

    Raises:
      WireError: a picture size that H.264 does not have.
      OptionError: a time or memory that is not allowed.
      DecoderError: the process cannot be started.
    """

    def __init__(
        self,
        picture_size: tuple[int, int],
        *,
        timeout_s: float = 5.0,
        memory_bytes: int = 1 << 30,
        vectors: bool = False,
    ) -> None:
        if len(picture_size) != 2 or not all(0 < side <= MAX_SIDE_PX for side in picture_size):
            raise WireError(f"pictures of this size are not allowed; sides are 1 to {MAX_SIDE_PX} px")
        if math.prod(picture_size) > MAX_PICTURE_PX:
            raise WireError(f"pictures of this size are not allowed; {MAX_PICTURE_PX} px are")
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise OptionError(f"timeout_s (={timeout_s}) must be a finite number above 0")
        if memory_bytes < 1:
            raise OptionError(f"memory_bytes (={memory_bytes}) must be at least 1; 1 GiB is enough for any picture")
        self.picture_size = picture_size
        self._timeout_s, self._memory_bytes, self._wants_vectors = timeout_s, memory_bytes, vectors
        self._vectors: PacketVectors | None = None
        self._last: int | None = None  # number of the packet decoded last; None: a keyframe must come
        self._closed = False
        self._child: ChildProcess | None = self._start()

    @property
    def pid(self) -> int | None:
        """Number of the process; None without one."""
        return None if self._child is None else self._child.pid

    @property
    def n_bytes(self) -> int:
        """Bytes of the memory that is shared with the process."""
        return shared_bytes(self.picture_size, vectors=self._wants_vectors)

    @property
    def running(self) -> bool:
        """Whether there is a process that lives."""
        return self._child is not None and self._child.running

    @property
    def protection(self) -> Protection:
        """What the process has given up."""
        return Protection(0) if self._child is None else self._child.protection

    @property
    def vectors(self) -> PacketVectors | None:
        """Motion vectors of the packet decoded last; None after a refusal, or where none are wanted."""
        return self._vectors

    def decode(self, number: int, data: bytes, *, keyframe: bool, wanted: bool) -> NDArray[np.uint8] | None:
        """Decodes one packet. Blocks.

        Args:
          number: of the packet; one more than the last one's, unless the stream starts here.
          data: H.264 in Annex B.
          keyframe: whether the stream may start at the packet, as its sender says.
          wanted: whether the picture is needed.

        Returns:
          `(h, w, 3)` uint8, RGB, a copy; None where the picture is not wanted.

        Raises:
          WireError: the packet is refused: it does not follow the last one, cannot be decoded, or is not one intact
            picture of the agreed size. The next packet must be a keyframe.
          DecoderError: the process died or did not answer in time. The next packet must be a keyframe.
          StateError: the decoder is closed.
        """
        if self._closed:
            raise StateError("the decoder is closed; make another")
        last, self._last, self._vectors = self._last, None, None  # until it turns out well
        if not 0 <= number <= _MAX_NUMBER:
            raise WireError("the packet's number is not allowed")
        if not 0 < len(data) <= max_packet_bytes(self.picture_size):
            raise WireError("the packet is empty, or larger than its picture can be")
        if last is None and not keyframe:
            raise WireError("the stream waits for a keyframe")
        if last is not None and number != last + 1:
            raise WireError("the packet does not follow the last one; the stream waits for a keyframe")
        request = (Request.RESET if last is None else Request(0)) | (Request.WANTED if wanted else Request(0))
        try:
            if self._child is None:
                self._child = self._start()
            reply = self._child.decode(number, data, request)
            if self._wants_vectors and reply is Reply.DECODED:
                self._vectors = self._child.vectors()
        except Exception:  # any error leaves the process somewhere in the middle
            self._drop_child()
            raise
        if reply is not Reply.DECODED:
            raise WireError(_REFUSALS[reply])
        self._last = number
        return self._child.picture() if wanted else None

    def reset(self) -> None:
        """Forgets the stream: the next packet must be a keyframe, of any number."""
        self._last = None

    def close(self) -> None:
        """Ends the process; does nothing if it is closed."""
        self._closed = True
        self._drop_child()

    def __enter__(self) -> DecoderProcess:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process."""
        self.close()

    def _start(self) -> ChildProcess:
        return ChildProcess(
            self.picture_size,
            timeout_s=self._timeout_s,
            memory_bytes=self._memory_bytes,
            vectors=self._wants_vectors,
        )

    def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()
