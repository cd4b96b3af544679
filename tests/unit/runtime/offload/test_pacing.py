"""Sizes that follow from the uplink's rate."""

from __future__ import annotations

import pytest

from fluxshard.runtime.offload.pacing import CHUNK_BYTES, MOST_CHUNK_BYTES, chunk_bytes, most_backlog_bytes


@pytest.mark.parametrize(
    ("bytes_per_ms", "chunk", "backlog"),
    [
        (None, CHUNK_BYTES, 128 << 10),
        (100.0, CHUNK_BYTES, 128 << 10),
        (8000.0, 32_000, 4e6),
        (1e5, MOST_CHUNK_BYTES, 5e7),
    ],
)
def test_sizes(bytes_per_ms: float | None, chunk: int, backlog: float) -> None:
    assert chunk_bytes(bytes_per_ms) == chunk and most_backlog_bytes(bytes_per_ms) == backlog
