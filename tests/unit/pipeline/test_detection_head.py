"""One decoding serves regions and what is shown."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout


@given(seed=st.integers(0, 10**6), low=st.floats(0.0, 0.5), high=st.floats(0.5, 1.0), limit=st.integers(1, 12))
def test_one_suppression_serves_two_confidences(seed, low, high, limit):
    """Boxes of lower scores suppress none of higher ones: what is shown is what a suppression of its own would show."""
    rng = np.random.default_rng(seed)
    tensor = np.concatenate((rng.uniform(0, 40, (1, 4, 30)), rng.uniform(0, 1, (1, 2, 30))), 1).astype(np.float32)
    layout = HeadLayout("detect", 2)
    found = decode(tensor, layout, (64, 64), confidence=low, iou=0.4, limit=limit)
    shown = found.select(np.flatnonzero(found.scores > high))
    alone = decode(tensor, layout, (64, 64), confidence=high, iou=0.4, limit=limit)
    assert np.array_equal(shown.boxes, alone.boxes) and np.array_equal(shown.scores, alone.scores)
