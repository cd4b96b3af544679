"""Channels of stored values as another layer reads them."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.ir.params import Cat, ChannelSlice, UpsampleNearest


@dataclass(frozen=True, slots=True)
class Segment:
    """Channels `[start, start + count)` of a store, upsampled by (uy, ux); store -1 is the image."""

    store: int
    start: int
    count: int
    uy: int
    ux: int
    width: int  # of the stored grid


def view_segments(params: object, inputs: list[tuple[Segment, ...]]) -> tuple[Segment, ...]:
    """Segments of a view, from those of its inputs."""
    if isinstance(params, Cat):
        return tuple(s for segments in inputs for s in segments)
    if isinstance(params, ChannelSlice):
        return tuple(_cut(inputs[0], params.start, params.stop))
    assert isinstance(params, UpsampleNearest), params
    y, x = params.factor
    return tuple(Segment(s.store, s.start, s.count, s.uy * y, s.ux * x, s.width) for s in inputs[0])


def _cut(segments: tuple[Segment, ...], start: int, stop: int) -> list[Segment]:
    kept, at = [], 0
    for s in segments:
        low, high = max(start, at), min(stop, at + s.count)
        if low < high:
            kept.append(Segment(s.store, s.start + low - at, high - low, s.uy, s.ux, s.width))
        at += s.count
    return kept
