"""What follows from the uplink's rate: how large a piece of an upload is, and how much of a video may wait."""

from __future__ import annotations

CHUNK_BYTES = 16 << 10  # progress is seen per chunk: so a stall shows within one
MOST_CHUNK_BYTES = 60 << 10  # where the link is fast: every message costs as much as some ten kilobytes
_CHUNK_MS = 4.0  # of the uplink
_BACKLOG_MS, _LEAST_BACKLOG_BYTES = 500.0, 128 << 10  # of a video, beyond which it goes on at the next keyframe


def chunk_bytes(bytes_per_ms: float | None) -> int:
    """Of messages with pixels: as much as the uplink takes in some milliseconds, so that a stall shows soon.

    Args:
      bytes_per_ms: the uplink's rate; None where it is not known.
    """
    if bytes_per_ms is None:
        return CHUNK_BYTES
    return round(min(MOST_CHUNK_BYTES, max(CHUNK_BYTES, _CHUNK_MS * bytes_per_ms)))


def most_backlog_bytes(bytes_per_ms: float | None) -> float:
    """Packets of a video that may wait: what the uplink takes in half a second, or 128 KiB.

    Args:
      bytes_per_ms: the uplink's rate; None where it is not known.
    """
    return _LEAST_BACKLOG_BYTES if bytes_per_ms is None else max(_LEAST_BACKLOG_BYTES, _BACKLOG_MS * bytes_per_ms)
