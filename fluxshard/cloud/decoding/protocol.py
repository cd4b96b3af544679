"""What the server and a decoder's child process say to each other: structs of fixed size, and a packet's bytes."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

REQUEST = struct.Struct("<BxxxIQ")  # Request; bytes of the packet, which follow; its number
REPLY = struct.Struct("<BxxxxxxxQ")  # Reply; the packet's number, or Protection for READY

MAX_SIDE_PX = 16_384
MAX_PICTURE_PX = 139_264 * 256  # H.264, table A-1: the macroblocks of level 6.2
MARGIN_PX = 256  # beyond a picture's size: libavcodec decodes whole macroblocks, and allocates pictures with margins


class Request(IntFlag):
    """What a packet is asked for.

    Attributes:
      RESET: whatever was decoded before is forgotten, and the packet starts a stream.
      WANTED: the picture is written to the shared memory.
    """

    RESET = 1
    WANTED = 2


class Reply(IntEnum):
    """What became of a packet, or READY, which comes once."""

    READY = 0
    DECODED = 1
    NOT_A_KEYFRAME = 2
    UNDECODABLE = 3
    CORRUPT = 4
    NO_PICTURE = 5
    MORE_PICTURES = 6
    OTHER_PICTURE = 7
    OTHER_SIZE = 8
    OTHER_FORMAT = 9


class Protection(IntFlag):
    """What a child process has given up.

    Attributes:
      LIMITS: memory beyond its share, files, processes and core dumps.
      NO_NEW_PRIVILEGES: what set-user-ID programs would give.
      USER: the rights of root, where the server has them.
      NETWORK: the network of the machine.
      SYSTEM_CALLS: all but a few, none of which opens anything.
    """

    LIMITS = 1
    NO_NEW_PRIVILEGES = 2
    USER = 4
    NETWORK = 8
    SYSTEM_CALLS = 16


def picture_bytes(picture_size: tuple[int, int]) -> int:
    """Bytes of an RGB picture."""
    return 3 * picture_size[0] * picture_size[1]


def max_packet_bytes(picture_size: tuple[int, int]) -> int:
    """Bytes of the largest packet: samples as they are (I_PCM) take two for three here, with room for headers."""
    return picture_bytes(picture_size) + (1 << 16)
