"""What a stream's sequence parameter sets say. Without torch, since a process that decodes untrusted video imports it.

Source: ITU-T H.264, sections 7.3.2.1.1 and 7.3.2.1.1.1; ISO/IEC 14496-15, section 5.3.3.1.2 (avcC).
"""

from __future__ import annotations

from collections.abc import Iterator

from fluxshard.video.h264.bit_reader import BitReader
from fluxshard.video.h264.nal_units import SPS, START_CODE, units

_WITH_CHROMA_FORMAT = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))  # profiles


def most_references(extradata: bytes) -> int | None:
    """Largest number of pictures that a picture may refer to, over all parameter sets; None where there are none.

    Args:
      extradata: of the stream's container, in Annex B or as avcC.
    """
    found = [_references(unit) for unit in _parameter_sets(extradata)]
    known = [count for count in found if count is not None]
    return max(known, default=None)


def _parameter_sets(extradata: bytes) -> Iterator[bytes]:
    if extradata.startswith((START_CODE, START_CODE[1:])):
        yield from (unit for unit in units(extradata) if unit[0] & 31 == SPS)
        return
    if len(extradata) < 7 or extradata[0] != 1:
        return
    at = 6
    for _ in range(extradata[5] & 31):
        length = int.from_bytes(extradata[at : at + 2], "big")
        unit = extradata[at + 2 : at + 2 + length]
        if len(unit) < length or not unit:
            return
        if unit[0] & 31 == SPS:
            yield unit
        at += 2 + length


def _references(unit: bytes) -> int | None:
    """`max_num_ref_frames` of a sequence parameter set; None where it ends before."""
    bits = BitReader(unit[1:].replace(b"\0\0\3", b"\0\0"))  # without the bytes that keep start codes out
    try:
        profile = bits.fixed(8)
        bits.fixed(16)
        bits.unsigned()
        if profile in _WITH_CHROMA_FORMAT:
            _skip_chroma(bits)
        bits.unsigned()
        order = bits.unsigned()
        if order == 0:
            bits.unsigned()
        elif order == 1:
            bits.fixed(1)
            bits.unsigned(), bits.unsigned()
            for _ in range(min(bits.unsigned(), 255)):
                bits.unsigned()
        return bits.unsigned()
    except EOFError:
        return None


def _skip_chroma(bits: BitReader) -> None:
    chroma = bits.unsigned()
    if chroma == 3:
        bits.fixed(1)
    bits.unsigned(), bits.unsigned()
    bits.fixed(1)
    if not bits.fixed(1):
        return
    for number in range(12 if chroma == 3 else 8):
        if not bits.fixed(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.signed()) % 256
            last = following or last
