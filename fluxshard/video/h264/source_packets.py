"""Decodes the H.264 packets of a source such that a receiver of the same packets decodes the same pictures."""

from __future__ import annotations

from typing import Self

import av
from av.bitstream import BitStreamFilterContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from fluxshard.errors import VideoError
from fluxshard.video.h264.access_unit_decoder import PIXEL_FORMATS, AccessUnitDecoder
from fluxshard.video.h264.nal_units import ParameterSets, starts_stream
from fluxshard.video.orientation import orientation_of
from fluxshard.video.packet import Packet

PicturePackets = tuple[av.VideoFrame, tuple[Packet, ...]]


def may_be_sent(stream: VideoStream) -> bool:
    """Whether the packets of a stream can be sent on, by what its header says: H.264 of 8 bits without B-frames."""
    codec = stream.codec_context
    return codec.name == "h264" and not codec.has_b_frames and codec.pix_fmt in PIXEL_FORMATS


class SourcePackets:
    """Turns the packets of a container into packets in Annex B, numbers and decodes them.

    Args:
      stream: of H.264.
      motion_vectors: whether pictures carry their motion vectors.
      name: name of the source in messages.
    """

    def __init__(self, stream: VideoStream, name: str, *, motion_vectors: bool) -> None:
        self._name = name
        self._filter = BitStreamFilterContext("h264_mp4toannexb", stream)
        self._parameter_sets = ParameterSets(bytes(stream.codec_context.extradata or b""))
        self._decoder = AccessUnitDecoder(motion_vectors=motion_vectors)
        self._count = 0
        self._waiting: list[tuple[Packet, int | None]] = []  # packets since the last picture, with their time stamps

    @classmethod
    def continuing(
        cls,
        stream: VideoStream,
        name: str,
        packets: list[av.Packet[VideoStream]],
        first: av.VideoFrame,
        *,
        motion_vectors: bool,
    ) -> tuple[Self, PicturePackets] | None:
        """Decodes what the stream's own decoder has decoded up to its first picture.

        Args:
          stream: of H.264.
          name: name of the source in messages.
          packets: all of the stream so far, the last of which gave the first picture; they are used up.
          first: that picture, from the stream's own decoder.
          motion_vectors: whether pictures carry their motion vectors.

        Returns:
          the decoder and its first picture; None where a receiver of the packets alone would see another picture or
          none: one that is not upright, has its colours described by the container, does not start with a keyframe, or
          has flaws that a receiver takes for damage.
        """
        made = cls(stream, name, motion_vectors=motion_vectors)
        pictures: list[PicturePackets] = []
        for packet in packets:
            if pictures:
                return None  # the stream's own decoder delays pictures
            try:
                pictures = made.decode(packet)
            except av.FFmpegError:  # as for the stream's own decoder: it was joined midway
                continue
        if len(pictures) != 1 or not orientation_of(first).upright:
            return None
        picture, sent = pictures[0]
        if made._waiting or not sent[-1].keyframe or _looks(picture) != _looks(first) or not _is_flawless(sent[-1]):
            return None
        return made, pictures[0]

    @property
    def codec(self) -> VideoCodecContext:
        """The decoder's state."""
        return self._decoder.codec

    def decode(self, packet: av.Packet[VideoStream]) -> list[PicturePackets]:
        """Decodes one packet of the container, which is used up; an empty one ends the stream.

        Returns:
          pictures with the packets since the picture before, the last of which holds the picture.

        Raises:
          av.FFmpegError: the packet cannot be decoded. It counts, and is sent with the next picture if it can be.
          VideoError: the stream puts its pictures out of order from here on.
        """
        if not packet.size:
            return self._with_packets(self._decoder.flush())
        stamp = packet.dts if packet.pts is None else packet.pts
        try:
            filtered = self._filter.filter(packet)
        except av.FFmpegError:
            self._count += 1  # there is nothing to send; its number is missing, so that a receiver knows
            raise
        pictures: list[av.VideoFrame] = []
        for one in filtered:
            data = self._parameter_sets.complete(bytes(one))
            made = Packet(number=self._count, data=data, keyframe=starts_stream(data))
            self._count += 1
            self._waiting.append((made, stamp))
            pictures += self._decoder.decode(made.number, data)
        return self._with_packets(pictures)

    def _with_packets(self, pictures: list[av.VideoFrame]) -> list[PicturePackets]:
        """Pictures with their packets and the container's time stamps.

        Raises:
          VideoError: the packets up to a picture went with an earlier one.
        """
        found = []
        for picture in pictures:
            number = -1 if picture.pts is None else picture.pts
            own = [entry for entry in self._waiting if entry[0].number <= number]
            if not own or own[-1][0].number != number:
                raise VideoError(
                    f"video {self._name!r} puts its pictures out of order from packet {number} on, so that its "
                    "packets cannot be sent one for each picture; open it with vectors='encode', which makes others"
                )
            del self._waiting[: len(own)]
            picture.pts = own[-1][1]
            found.append((picture, tuple(packet for packet, _ in own)))
        return found


def _is_flawless(keyframe: Packet) -> bool:
    """Whether a decoder that refuses damage takes a keyframe: some cameras write messages that break the standard."""
    try:
        pictures = AccessUnitDecoder(refuse_damage=True).decode(keyframe.number, keyframe.data)
    except av.FFmpegError:
        return False
    return len(pictures) == 1 and not pictures[0].is_corrupt


def _looks(frame: av.VideoFrame) -> tuple[object, ...]:
    """What decides the pixels of a picture beside its samples."""
    return frame.height, frame.width, frame.format.name, frame.color_range, frame.colorspace
