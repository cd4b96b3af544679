"""NAL units of an H.264 stream in Annex B. Without torch, since a process that decodes untrusted video imports it.

Source: ITU-T H.264, Annex B and section 7.3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from fluxshard.video.h264.bit_reader import BitReader

IDR, SPS, PPS = 5, 7, 8
SLICES = frozenset((1, 2, 3, 4, IDR))  # types of the units that hold coded picture data
START_CODE = b"\0\0\0\1"
MAX_LEADING_UNITS = 256  # before the first slice; a stream has fewer than ten


def units(data: bytes) -> Iterator[bytes]:
    """Yields the NAL units of an Annex-B packet, without their start codes."""
    start = data.find(START_CODE[1:])
    while start >= 0:
        end = data.find(START_CODE[1:], start + 3)
        unit = data[start + 3 : end if end >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        start = end


def leading_types(data: bytes) -> list[int]:
    """Types of the NAL units up to the first slice, which is the last of the list if there is one.

    Whatever follows a slice belongs to the same picture. No more than `MAX_LEADING_UNITS` are read.
    """
    return [head & 31 for head in _up_to_slice(_heads(data))]


def length_bytes(extradata: bytes) -> int:
    """Bytes of the length in front of each unit of a stream's packets; 0 in Annex B, where start codes are.

    Args:
      extradata: of the stream's container. Source: ISO/IEC 14496-15, section 5.3.3.1.2 (avcC).
    """
    return (extradata[4] & 3) + 1 if len(extradata) >= 7 and extradata[0] == 1 else 0


def is_referred_to(data: bytes, length_bytes: int = 0) -> bool:
    """Whether later pictures may refer to that of a packet (`nal_ref_idc`); True where it holds no slice.

    Args:
      data: the packet.
      length_bytes: as `length_bytes` says of its stream.
    """
    heads = _up_to_slice(_heads_behind_lengths(data, length_bytes) if length_bytes else _heads(data))
    return not heads or heads[-1] & 31 not in SLICES or bool(heads[-1] >> 5 & 3)


def _up_to_slice(heads: Iterator[int]) -> list[int]:
    """First bytes of units, up to that of a slice."""
    found: list[int] = []
    for head in itertools.islice(heads, MAX_LEADING_UNITS):
        found.append(head)
        if head & 31 in SLICES:
            break
    return found


def _heads(data: bytes) -> Iterator[int]:
    """First bytes of the units of a packet in Annex B."""
    start = data.find(START_CODE[1:])
    while 0 <= start < len(data) - 3:
        yield data[start + 3]
        start = data.find(START_CODE[1:], start + 3)


def _heads_behind_lengths(data: bytes, length_bytes: int) -> Iterator[int]:
    """First bytes of the units of a packet of another form."""
    start = length_bytes
    while start < len(data):
        yield data[start]
        start += int.from_bytes(data[start - length_bytes : start], "big") + length_bytes


def has_slice(data: bytes) -> bool:
    """Whether a packet holds a part of a picture."""
    types = leading_types(data)
    return bool(types) and types[-1] in SLICES


def starts_stream(data: bytes) -> bool:
    """Whether decoding can start at a packet: an IDR picture behind both kinds of parameter sets."""
    types = leading_types(data)
    return bool(types) and types[-1] == IDR and SPS in types and PPS in types


class ParameterSets:
    """The parameter sets of a stream that were seen last.

    Args:
      extradata: of the stream's container, in Annex B; of another form it is ignored.
    """

    def __init__(self, extradata: bytes = b"") -> None:
        self._sets: dict[tuple[int, int], bytes] = {}
        if extradata.startswith((START_CODE, START_CODE[1:])):
            self._add(extradata)

    def complete(self, data: bytes) -> bytes:
        """The packet, with the parameter sets in front of an IDR picture that comes without."""
        types = leading_types(data)
        if SPS in types or PPS in types:
            self._add(data)
        if not types or types[-1] != IDR or (SPS in types and PPS in types):
            return data
        return b"".join(START_CODE + self._sets[key] for key in sorted(self._sets)) + data

    def _add(self, data: bytes) -> None:
        for unit in units(data):
            kind = unit[0] & 31
            if kind in (SPS, PPS):
                # an SPS has its profile, constraints and level before its number
                self._sets[kind, _number(unit[4:8] if kind == SPS else unit[1:5])] = unit


def _number(data: bytes) -> int:
    """The number of a parameter set that begins here; 0 where the unit ends before."""
    try:
        return BitReader(data).unsigned()
    except EOFError:
        return 0
