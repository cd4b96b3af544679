"""Pictures of video files, network streams and cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from fluxshard.errors import VideoError
from fluxshard.video.h264.nal_units import is_referred_to, length_bytes
from fluxshard.video.h264.sequence_parameters import most_references
from fluxshard.video.h264.source_packets import PicturePackets, SourcePackets, may_be_sent
from fluxshard.video.packet import Packet
from fluxshard.video.sources.failures import damaged, lost, not_opened, reason, refusing_damage
from fluxshard.video.sources.frame_clock import LEAST_FPS, MOST_FPS
from fluxshard.video.sources.pixel_aspect import PixelAspect
from fluxshard.video.sources.reader import DecodedPicture
from fluxshard.video.sources.suspects import Suspects

_CODECS_WITH_VECTORS = frozenset(("h264", "mpeg4"))
_MOST_READ = 1024  # packets before the first picture that are kept; a stream joined midway has a few hundred


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a container is read.

    Attributes:
      name: of the source, in messages.
      strict: whether damage is an error.
      live: whether pictures come when they happen: they are decoded without delay, and a lost connection is an error
        that says so.
      paced: whether pictures come by the sender's clock, whoever takes them.
      endless: whether an orderly end is that of the connection, and not of the video.
      vectors: whether to export motion vectors.
      packets: whether to give pictures their packets, if a receiver of the packets can decode the same pictures.
      timeout_s: longest time without an answer; of a live source also without a picture.
    """

    name: str
    strict: bool
    live: bool = False
    paced: bool = False
    endless: bool = False
    vectors: bool
    packets: bool
    timeout_s: float


class ContainerReader:
    """Reader of a video file, network stream or camera; see `Reader`.

    Args:
      container: container opened for reading.
      how: to read it.

    Raises:
      VideoError: the container has no video stream.
    """

    def __init__(self, container: InputContainer, how: Reading) -> None:
        self.name, self.live, self.paced = how.name, how.live, how.paced
        # what has a length is a file, also where it comes over the network
        self.endless = how.endless and container.duration is None
        self.damaged = 0
        self._container, self._strict, self._timeout_s = container, how.strict, how.timeout_s
        self._count, self._intact = 0, True
        self._kept: list[Packet] = []  # of damaged pictures
        self._suspect = Suspects()
        self._picture_s = time.monotonic()  # when the last picture was done with
        self._stream = self._pick_stream()
        self._pixel_aspect = PixelAspect(self._stream)
        codec = self._stream.codec_context
        # B-frames, several references: vectors need not refer to the previous picture in presentation order. Where
        # packets are sent on, the receiver finds the motion in them, and has to find the same
        several = not how.packets and codec.name == "h264" and (most_references(codec.extradata or b"") or 1) > 1
        self.has_vectors = codec.name in _CODECS_WITH_VECTORS and not codec.has_b_frames and not several
        self._vectors = how.vectors and self.has_vectors
        # temporal layers: pictures that none refers to, so that vectors of the next are as long as two pictures
        self._layered = False
        self._layers_sought = self._vectors and codec.name == "h264" and not how.packets
        self._length_bytes = length_bytes(codec.extradata or b"")
        options = {"flags2": "+export_mvs"} if self._vectors else {}
        if how.strict:
            options |= refusing_damage(codec.name)
        if options:
            codec.options = options  # must be set before the first picture
        # what was read before the first picture, which tells whether packets can be sent on; None once that is known
        self._read: list[av.Packet[VideoStream]] | None = [] if how.packets and may_be_sent(self._stream) else None
        self._source_packets: SourcePackets | None = None
        self.carries_packets = False
        # frame threading delays pictures, and vectors are exported from one thread only
        codec.thread_type = "SLICE" if how.live or self._vectors or self._read is not None else "AUTO"
        # FFmpeg may take the ticks of a clock for pictures
        rates = (float(rate) for rate in (self._stream.average_rate, self._stream.guessed_rate) if rate)
        self.fps = next((rate for rate in rates if LEAST_FPS <= rate <= MOST_FPS), None)
        self.frame_count = self._stream.frames or None
        self.time_base: Fraction | None = self._stream.time_base

    def _pick_stream(self) -> VideoStream:
        """First video stream that is not a cover picture."""
        pictures = [
            stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if pictures:
            return pictures[0]
        others = sorted({stream.type for stream in self._container.streams})
        self._container.close()
        raise VideoError(
            f"video {self.name!r} has no pictures, only: {', '.join(others) or 'nothing'}; "
            "give a file with a video track"
        )

    def frames(self) -> Iterator[DecodedPicture]:
        """Yields pictures; see `Reader`.

        Raises:
          VideoError: no picture decodes, or pictures carry packets, and go out of order.
          DamageError: in strict mode, the stream is damaged; all pictures before the damage are yielded first.
          StreamLostError: a live source broke off or timed out.
        """
        failure: Exception | None = None
        # all that comes of a live source: where packets of others alone come, PyAV would wait for ours for ever
        packets: Iterator[av.Packet[Any]] = (
            self._container.demux() if self.live else self._container.demux(self._stream)
        )
        self._picture_s = time.monotonic()
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                failure = error
                yield from self._checked(self._drain())
                if self.live:
                    raise lost(self.name, self._count, error, self._timeout_s) from error
                if self._strict and self._count:
                    raise damaged(self.name, self._count, error) from error
                break
            if packet is None:
                break
            if packet.stream.index == self._stream.index:
                stamp = packet.pts  # packets that are sent on are used up
                self._look_at(packet)
                try:
                    pictures = self._decode(packet)
                except av.FFmpegError as error:
                    failure, self._intact = error, False
                    self._suspect.discard(stamp)
                    if self._count:  # errors before the first picture are normal for a stream joined midway
                        self.damaged += 1
                        if self._strict:
                            yield from self._checked(self._drain())
                            raise damaged(self.name, self._count, error) from error
                else:
                    yield from self._checked(pictures)
            if self.live and time.monotonic() - self._picture_s > self._timeout_s:
                yield from self._checked(self._drain())
                raise lost(self.name, self._count, TimeoutError(), self._timeout_s, "no picture") from failure
        if self._count == 0:
            why = f": {reason(failure)}" if failure else ""
            raise VideoError(f"video {self.name!r} has a video track without a single frame that decodes{why}")

    def _look_at(self, packet: av.Packet[VideoStream]) -> None:
        """Takes from a packet what its picture does not say."""
        self._suspect.packet(packet.pts, incomplete=bool(packet.is_corrupt and packet.size))
        if self._layers_sought and packet.size and not is_referred_to(bytes(packet), self._length_bytes):
            self._layered, self._layers_sought = True, False

    def _checked(self, pictures: list[PicturePackets]) -> Iterator[DecodedPicture]:
        """Leaves out pictures in which the decoder has filled in something.

        Raises:
          DamageError: in strict mode.
        """
        for frame, own in pictures:
            incomplete = frame.pts in self._suspect
            if frame.is_corrupt or incomplete:
                joining = incomplete and self._count == 0  # a recording may begin within a picture
                if self._strict and not joining:
                    raise damaged(self.name, self._count, None)
                self.damaged += not joining
                self._suspect.discard(frame.pts)
                self._intact = False
                self._kept += own
                continue
            own, self._kept = (*self._kept, *own), []
            codec = self._stream.codec_context if self._source_packets is None else self._source_packets.codec
            yield DecodedPicture(
                frame=frame,
                intact=self._intact,
                packets=own,
                pixel_aspect=self._pixel_aspect.of(frame, codec),
                refers_to_last=not self._layered,
            )
            self._count, self._intact = self._count + 1, True
            self._picture_s = time.monotonic()  # whoever took it may have been long about it

    def _decode(self, packet: av.Packet[VideoStream]) -> list[PicturePackets]:
        """Pictures of one packet, with the packets to send on if there are any.

        Raises:
          av.FFmpegError: the packet is damaged.
          VideoError: pictures carry packets, and go out of order.
        """
        if self._source_packets is not None:
            return self._source_packets.decode(packet)
        if self._read is not None and packet.size:
            self._read.append(packet)
            if len(self._read) > _MOST_READ:
                self._read = None
        pictures = packet.decode()
        if self._read and pictures:
            read, self._read = self._read, None
            found = None
            aspect = self._pixel_aspect.of(pictures[0], self._stream.codec_context)
            if aspect == 1:  # packets do not always say it, and a receiver does not look for it
                found = SourcePackets.continuing(
                    self._stream, self.name, read, pictures[0], motion_vectors=self._vectors
                )
            if found is not None and len(pictures) == 1:
                self._source_packets, first = found
                self.carries_packets = True
                return [first]
        return [(picture, ()) for picture in pictures]

    def _drain(self) -> list[PicturePackets]:
        """Flushes the decoder and returns its remaining pictures, without packets: what follows them is damaged."""
        if self._source_packets is not None:
            return []  # it has given each picture at once
        with suppress(av.FFmpegError):
            return [(picture, ()) for picture in self._stream.codec_context.decode(None)]
        return []

    def close(self) -> None:
        """Closes the container."""
        self._container.close()


def open_container(
    url: str, format: str | None, options: dict[str, str], failed: str, timeout_s: float
) -> InputContainer:
    """Opens a container with timeouts.

    Args:
      url: URL or device for FFmpeg.
      format: FFmpeg's input format; None probes it.
      options: FFmpeg's options.
      failed: beginning of the error message.
      timeout_s: longest time without an answer.

    Raises:
      VideoError: FFmpeg cannot open it.
    """
    start_s = time.monotonic()
    try:
        container = av.open(url, "r", format=format, options=options, timeout=(timeout_s, timeout_s))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise not_opened(failed, error, timeout_s, time.monotonic() - start_s) from error
    assert isinstance(container, InputContainer)
    return container
