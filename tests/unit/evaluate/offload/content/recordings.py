"""Small recordings for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluxshard.evaluate.offload.content.recorded_content import RecordedContent

AGES = (1, 2, 4)
FRAMES = 10


def recording(**changes: Any) -> RecordedContent:
    """Ten frames of 8x8 pixels. At frame t and age a: work a / 10, 10a pixels, 100 + t bytes of head, 50a packed."""
    frames, ages = np.arange(FRAMES)[:, None], np.array(AGES)[None]
    known = frames >= ages

    def of(values: Any) -> Any:
        return np.where(known, values, np.nan)

    values: dict[str, Any] = {
        "name": "clip", "ages": AGES, "work": of(ages / 10 + 0 * frames)[:, :, None], "pixels": of(10 * ages),
        "order_bytes": of(100 + frames), "packed_bytes": of(50 * ages),
        "packed_key_bytes": np.full(FRAMES, 150.0), "packet_bytes": np.arange(1, FRAMES + 1) * 10.0,
        "key_bytes": np.full(FRAMES, 200.0), "size": (8, 8), "facts": {"task": "detect"},
    }  # fmt: skip
    return RecordedContent(**values | changes)
