"""Detections come back as they were; anything else is damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxshard.cloud.wire.detections_codec import decode_detections, encode_detections
from fluxshard.errors import WireError
from fluxshard.models.detections.advance import advance
from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.mask_windows import MaskWindows, windowed
from fluxshard.motion import MotionField

SHAPE = (64, 96)


def some(n: int, seed: int, *, masks: bool, keypoints: bool) -> Detections:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(-10, 90, (n, 2)), rng.uniform(0, 60, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    made = Masks(
        rng.normal(size=(n, 5)).astype(np.float32), rng.normal(size=(5, 16, 24)).astype(np.float32), (0.25, 0.25)
    )
    points = rng.normal(size=(n, 17, 3)).astype(np.float32)
    return Detections(
        boxes, rng.random(n).astype(np.float32), rng.integers(0, 80, n), SHAPE, made if masks else None,
        points if keypoints else None,
    )  # fmt: skip


@given(n=st.integers(0, 12), seed=st.integers(0, 2**31), masks=st.booleans(), keypoints=st.booleans())
@settings(deadline=None, max_examples=60)
def test_round_trip(n: int, seed: int, masks: bool, keypoints: bool) -> None:
    found = windowed(some(n, seed, masks=masks, keypoints=keypoints))
    back = decode_detections(encode_detections(found))
    assert back.shape == found.shape and back.classes.dtype == np.int64
    for one, other in ((back.boxes, found.boxes), (back.scores, found.scores), (back.classes, found.classes)):
        assert np.array_equal(one, other)
    assert (back.keypoints is None) == (found.keypoints is None)
    assert back.keypoints is None or np.array_equal(back.keypoints, found.keypoints)
    assert (back.masks is None) == (found.masks is None)
    if found.masks is not None:
        assert isinstance(back.masks, MaskWindows)
        for index in range(n):
            ours, theirs = back.mask(index), found.mask(index)
            assert ours[:2] == theirs[:2] and np.array_equal(ours[2], theirs[2])


@pytest.mark.parametrize("reduced", [False, True])
def test_moved_masks_are_refused(reduced: bool) -> None:
    found = some(4, 3, masks=True, keypoints=True)
    moved = advance(windowed(found) if reduced else found, MotionField.uniform(*SHAPE, 1, 2))
    with pytest.raises(WireError, match="masks were moved"):
        encode_detections(moved)
    plain = advance(some(4, 3, masks=False, keypoints=True), MotionField.uniform(*SHAPE, 1, 2))
    assert np.array_equal(decode_detections(encode_detections(plain)).boxes, plain.boxes)


@given(seed=st.integers(0, 2**31), data=st.data())
@settings(deadline=None, max_examples=200)
def test_damage_is_refused(seed: int, data: st.DataObject) -> None:
    whole = encode_detections(some(4, 3, masks=True, keypoints=True))
    rng = np.random.default_rng(seed)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[rng.integers(len(damaged))] = rng.integers(256)
    cut = bytes(damaged)[: data.draw(st.integers(0, len(damaged)))]
    try:
        found = decode_detections(cut)
    except WireError:
        return
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff\xff\xff\xff" + b"x" * 20, bytes.fromhex("0400000028b52ffde06c06060663636363")]
)
def test_bombs_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_detections(data)
