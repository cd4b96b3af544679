"""Images of a stream whose video comes up: every packet is decoded, in a process of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.cloud.decoding.shared_vectors import PacketVectors
from fluxshard.cloud.server.images import Mask
from fluxshard.cloud.server.running.picture_motion import PictureMotion
from fluxshard.cloud.wire.messages import MIN_CHUNK_BYTES
from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.errors import DecoderError, WireError
from fluxshard.motion import MotionField
from fluxshard.video.letterbox import Letterbox, to_planes

_MOST_WAITING = 256  # packets that are not decoded yet: eight seconds of video
_MOST_WAITING_BYTES = 32 << 20  # of them: at 32 Mbit/s


class Decoder(Protocol):
    """Decodes one video; see `DecoderProcess`."""

    @property
    def vectors(self) -> PacketVectors | None:
        """Motion vectors of the packet decoded last; None where none are wanted."""
        ...

    def decode(self, number: int, data: bytes, *, keyframe: bool, wanted: bool) -> NDArray[np.uint8] | None:
        """Feeds one packet; `(h, w, 3)` RGB where the picture is wanted."""
        ...

    def reset(self) -> None:
        """Forgets the video: the next packet has to be a keyframe."""
        ...

    def close(self) -> None:
        """Ends the process."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A packet that is not decoded yet; `follows` the one before without a gap."""

    number: int
    data: bytes
    keyframe: bool
    follows: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """An image of the video, and its motion since the one that was run before."""

    image: Tensor
    motion: MotionField | None


class PictureImages:
    """See `StreamImages`. Packets may have gaps before keyframes only, and what follows a damaged one is not decoded.

    Args:
      make_decoder: starts a decoder for the video.
      letterbox: from pictures to images.
      max_packet_bytes: of one packet.
      threads: to decode in.
      motion: follows the motion of pictures; None where nobody wants it. The decoder gives vectors for it.
      failed: is told why a packet was not decoded, where that is not the video's doing.
    """

    is_sparse, recovers, digest = False, True, 0

    def __init__(
        self,
        make_decoder: Callable[[], Decoder],
        letterbox: Letterbox,
        max_packet_bytes: int,
        threads: Executor,
        motion: PictureMotion | None = None,
        failed: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self._make_decoder, self._letterbox, self._most = make_decoder, letterbox, max_packet_bytes
        self._failed = failed
        self._follow = motion  # used in a decoder's thread only
        self._ran = False  # the picture that was wanted last; the decoder's thread does not know yet
        self.motion: MotionField | None = None
        self._decoder: Decoder | None = None
        self._starting, self._closed = threading.Lock(), False
        self._threads = threads
        self._parts: list[bytes] = []  # of the packet that arrives
        self._got = 0
        self._last = -1  # number of the last complete packet
        self._wanted: dict[int, asyncio.Future[_Seen]] = {}
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._broken = True  # nothing is decoded until a keyframe
        threads.submit(self._start)  # a process takes a while to start: it need not be the first frame that waits

    def announce(self, frame: pb.Frame) -> None:
        """See `StreamImages.announce`."""
        if frame.payload_bytes:
            raise WireError("a frame of a video has a payload of its own")
        if frame.picture > self._last:
            self._wanted = {frame.picture: asyncio.get_running_loop().create_future()}

    def can_have(self, frame: pb.Frame) -> bool:
        """See `StreamImages.can_have`."""
        return frame.picture in self._wanted

    def packet(self, packet: pb.Packet) -> bool:
        """See `StreamImages.packet`."""
        if packet.total_bytes > self._most:
            raise WireError("a packet is larger than allowed")
        if packet.offset != self._got or self._got + len(packet.data) > packet.total_bytes:
            raise WireError("a part of a packet is out of order")
        if packet.number <= self._last:
            raise WireError("a packet of the video came twice, or too late")
        is_last = self._got + len(packet.data) == packet.total_bytes
        if not is_last and len(packet.data) < MIN_CHUNK_BYTES:  # each is kept, at some fifty bytes more than it has
            raise WireError(f"a part of a packet is smaller than {MIN_CHUNK_BYTES} bytes")
        self._parts.append(packet.data)
        self._got += len(packet.data)
        if not is_last:
            return False
        data, self._parts, self._got = b"".join(self._parts), [], 0
        follows, self._last = packet.number == self._last + 1, packet.number
        too_many = self._waiting_bytes + len(data) > _MOST_WAITING_BYTES or len(self._waiting) >= _MOST_WAITING
        if self._waiting and too_many:
            raise WireError("the video comes faster than it can be decoded")
        self._waiting_bytes += len(data)
        self._waiting.append(_Waiting(packet.number, data, packet.keyframe, follows))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._decode())
        return True

    def has(self, frame: pb.Frame) -> bool:
        """See `StreamImages.has`."""
        return frame.picture <= self._last

    async def image(self, frame: pb.Frame, payload: bytes, mask: Callable[[], Mask], threads: Executor) -> Tensor:
        """See `StreamImages.image`."""
        try:
            seen = await self._wanted[frame.picture]
        finally:
            self._wanted.pop(frame.picture, None)
        self.motion = seen.motion
        return seen.image

    def ran(self) -> None:
        """See `StreamImages.ran`."""
        self._ran = True

    def close(self) -> None:
        """See `StreamImages.close`."""
        if self._task is not None:
            self._task.cancel()
        for future in self._wanted.values():
            future.cancel()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._threads.submit(self._end)

    async def _decode(self) -> None:
        """Decodes what waits, one packet after the other."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                packet = self._waiting.popleft()
                self._waiting_bytes -= len(packet.data)
                future = self._wanted.get(packet.number)
                if not packet.follows:
                    self._broken = True
                    for earlier in [wanted for wanted in self._wanted if wanted < packet.number]:
                        _fail(self._wanted[earlier], WireError("a packet of the video is missing"))
                if self._broken and not packet.keyframe:
                    _fail(future, WireError("the video was interrupted"))
                    continue
                ran, self._ran = self._ran, False
                try:
                    seen = await loop.run_in_executor(self._threads, self._one, packet, future is not None, ran)
                except Exception as error:  # whatever it is, somebody may wait for the picture
                    self._broken = True
                    _fail(future, self._explained(error))
                    continue
                self._broken = False
                if future is not None and not future.done():
                    if seen is None:
                        _fail(future, WireError("a packet holds no picture"))
                    else:
                        future.set_result(seen)
        finally:
            self._task = None

    def _explained(self, error: Exception) -> WireError:
        """What became of a packet that was not decoded; an error that the video has not caused is reported, too."""
        if isinstance(error, WireError) and not isinstance(error, DecoderError):
            return error
        self._failed(error)
        if isinstance(error, DecoderError):
            return error
        return DecoderError("the server could not decode the video; it goes on with the next keyframe")

    def _start(self) -> Decoder:
        """In a decoder's thread."""
        with self._starting:
            if self._closed:
                raise WireError("the stream has ended")
            if self._decoder is None:
                self._decoder = self._make_decoder()
            return self._decoder

    def _one(self, packet: _Waiting, wanted: bool, ran: bool) -> _Seen | None:
        """In a decoder's thread."""
        follow, decoder = self._follow, self._start()
        if ran and follow is not None:
            follow.ran()
        if self._broken:
            decoder.reset()
        picture = decoder.decode(packet.number, packet.data, keyframe=packet.keyframe, wanted=wanted)
        if follow is not None and decoder.vectors is not None:
            follow.decoded(decoder.vectors)
        if picture is None:
            return None
        motion = None if follow is None else follow.wanted()
        return _Seen(to_planes(self._letterbox.place(picture)), motion)

    def _end(self) -> None:
        """In a decoder's thread."""
        with self._starting:
            self._closed = True
            if self._decoder is not None:
                self._decoder.close()


def _fail(future: asyncio.Future[_Seen] | None, error: WireError) -> None:
    if future is not None and not future.done():
        future.set_exception(error)
        future.exception()  # whoever waits for it is told; where nobody does, it is not an error of the program
