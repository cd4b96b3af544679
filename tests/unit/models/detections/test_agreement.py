"""Matching of detections, and what is said of the pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.models.detections.agreement import compare, match, max_difference
from fluxshard.models.detections.detections import Detections, Masks


def boxes(*rows, classes=None, **more):
    array = np.array(rows, np.float32).reshape(-1, 4)
    labels = np.zeros(len(array), np.int64) if classes is None else np.array(classes)
    return Detections(array, np.linspace(0.9, 0.5, len(array)).astype(np.float32), labels, (100, 100), **more)


def test_identical_frames_agree_wholly():
    frame = boxes((0, 0, 10, 10), (20, 20, 40, 40), classes=[0, 1])
    result = compare(frame, frame)
    assert (result.matched, result.extra, result.missed) == (2, 0, 0)
    assert result.f1 == 1 and result.box_iou == pytest.approx(1)
    assert result.mask_iou is None and result.oks is None


def test_each_detection_is_used_once_and_the_best_pair_first():
    found = boxes((0, 0, 10, 10), (0, 0, 10, 9))
    reference = boxes((0, 0, 10, 9))
    assert match(found, reference) == [(1, 0, 1.0)]
    result = compare(found, reference)
    assert (result.matched, result.extra, result.missed) == (1, 1, 0)
    assert result.f1 == pytest.approx(2 / 3)


def test_classes_must_agree_and_overlap_must_reach_a_half():
    reference = boxes((0, 0, 10, 10))
    assert match(boxes((0, 0, 10, 10), classes=[3]), reference) == []
    assert len(match(boxes((0, 0, 10, 5)), reference)) == 1
    assert match(boxes((0, 0, 10, 4.9)), reference) == []


def test_empty_frames_say_nothing_rather_than_zero():
    assert compare(boxes(), boxes()).f1 is None
    assert compare(boxes((0, 0, 1, 1)), boxes()).f1 == 0
    assert compare(boxes(), boxes((0, 0, 1, 1))).missed == 1


def test_mask_iou_where_the_boxes_differ():
    """Two full masks: their IoU is that of the boxes."""
    full = Masks(np.ones((1, 1), np.float32), np.ones((1, 25, 25), np.float32), (0.25, 0.25))
    result = compare(boxes((0, 0, 40, 40), masks=full), boxes((10, 0, 50, 40), masks=full))
    assert result.mask_iou == pytest.approx(0.6)
    none = Masks(-np.ones((1, 1), np.float32), np.ones((1, 25, 25), np.float32), (0.25, 0.25))
    assert compare(boxes((0, 0, 40, 40), masks=full), boxes((0, 0, 40, 40), masks=none)).mask_iou == 0
    assert compare(boxes((0, 0, 40, 40), masks=none), boxes((0, 0, 40, 40), masks=none)).mask_iou is None


def test_keypoints_that_the_reference_does_not_see_are_left_out():
    points = np.zeros((1, 17, 3), np.float32)
    points[..., 2] = 0.9
    points[0, 3:, 2] = 0.1
    moved = points.copy()
    moved[0, 0, :2] = (3, 4)  # 5 px
    moved[0, 10, :2] = 1000  # not seen
    result = compare(boxes((0, 0, 40, 80), keypoints=moved), boxes((0, 0, 40, 80), keypoints=points))
    assert result.keypoint_px == pytest.approx(5 / 3)
    area = 40 * 80 * 0.53
    assert result.oks == pytest.approx((2 + np.exp(-25 / (2 * area * (2 * 0.026) ** 2))) / 3)


def test_largest_difference_over_any_structure():
    a = {"y": (torch.zeros(2), [torch.ones(3)]), "n": 3}
    b = {"y": (torch.zeros(2), [torch.tensor([1.0, 1.5, 1.0])]), "n": 3}
    assert max_difference(a, b) == 0.5
    assert max_difference(a, a) == 0
    assert max_difference(torch.tensor([float("nan")]), torch.zeros(1)) == float("inf")
