"""Run lengths of masks, and objects of a trace from detections."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.masks import decode, encode, found_objects, mask_iou
from fluxshard.models.detections.detections import Detections, Masks

MASKS = st.integers(0, 2**24 - 1).map(
    lambda bits: np.array([bits >> index & 1 for index in range(24)], np.bool_).reshape(4, 6)
)


@given(MASKS)
def test_encoding_round_trip(mask: NDArray[np.bool_]) -> None:
    assert (decode(encode(mask), (4, 6)) == mask).all()
    assert encode(mask) == encode(np.asfortranarray(mask)) == encode(mask.astype(np.uint8))


@given(st.lists(MASKS, max_size=3), st.lists(MASKS, max_size=3))
def test_overlaps_are_those_of_counting(a: list[NDArray[np.bool_]], b: list[NDArray[np.bool_]]) -> None:
    expected = np.array([[(p & q).sum() / max((p | q).sum(), 1) for q in b] for p in a], np.float64).reshape(
        len(a), len(b)
    )
    assert np.allclose(mask_iou([encode(p) for p in a], [encode(q) for q in b], (4, 6)), expected)


def detections(**more: object) -> Detections:
    return Detections(
        boxes=np.array([[1.25, 2, 5, 4], [0, 0, 2.00049, 3]], np.float32),
        scores=np.array([0.9, 0.1234567], np.float32),
        classes=np.array([3, 0]),
        shape=(4, 6),
        **more,  # type: ignore[arg-type]
    )


def test_objects_in_order_up_to_the_limit() -> None:
    first, second = found_objects(detections(), 5)
    assert (first.category, first.score, first.box) == (3, 0.9, (1.25, 2.0, 5.0, 4.0))
    assert (second.category, second.score, second.box) == (0, 0.123457, (0.0, 0.0, 2.0, 3.0))
    assert first.mask is None and first.keypoints is None
    assert found_objects(detections(), 1) == (first,) and found_objects(detections(), 0) == ()


def test_masks_are_cropped_to_boxes_and_laid_on_the_picture() -> None:
    full = Masks(np.ones((2, 1), np.float32), np.ones((1, 4, 6), np.float32), (1.0, 1.0))
    first, second = found_objects(detections(masks=full), 2)
    expected = np.zeros((4, 6), np.bool_)
    expected[2:4, 2:5] = True  # pixels whose corners the box covers
    assert first.mask is not None and (decode(first.mask, (4, 6)) == expected).all()
    expected[:] = False
    expected[0:3, 0:3] = True
    assert second.mask is not None and (decode(second.mask, (4, 6)) == expected).all()


def test_keypoints_are_flat() -> None:
    points = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 7
    first, second = found_objects(detections(keypoints=points), 2)
    assert first.keypoints == (0.0, 0.143, 0.286, 0.429, 0.571, 0.714)
    assert second.keypoints is not None and second.keypoints[0] == 0.857


def test_keypoints_without_confidence_are_seen() -> None:
    first, _ = found_objects(detections(keypoints=np.arange(8, dtype=np.float32).reshape(2, 2, 2)), 2)
    assert first.keypoints == (0.0, 1.0, 1.0, 2.0, 3.0, 1.0)


def test_masks_of_another_picture_are_refused() -> None:
    """Overlaps of masks of two sizes never end in pycocotools."""
    one, other = encode(np.ones((4, 6), np.bool_)), encode(np.eye(5, dtype=np.bool_))
    for masks in (([one], [other]), ([other], [one]), ([one, other], [one])):
        with pytest.raises(EvaluationError, match=r"cover 25 pixels and the picture \(4, 6\) \(h, w\) has 24"):
            mask_iou(*masks, (4, 6))
    with pytest.raises(EvaluationError, match="cover 25 pixels"):
        decode(other, (4, 6))


def test_without_pycocotools_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(EvaluationError, match=r"pip install 'fluxshard\[evaluate\]'"):
        encode(np.zeros((2, 2), np.bool_))
