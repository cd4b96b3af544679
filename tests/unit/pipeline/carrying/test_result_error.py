"""The distance of two results."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.models.detections.detections import Detections
from fluxshard.pipeline.carrying.result_error import result_error

BOX = (10.0, 10.0, 30.0, 30.0)


def results(*objects: tuple[tuple[float, ...], float], kind: int = 0) -> Detections:
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    return Detections(
        boxes, np.array([score for _, score in objects], np.float32), np.full(len(objects), kind, np.int64), (64, 96)
    )


def test_equal_results_are_not_apart_and_nothing_is_not_apart_from_nothing() -> None:
    assert result_error(results((BOX, 0.9)), results((BOX, 0.9))) == 0
    assert result_error(results(), results()) == 0


def test_objects_that_are_in_one_result_only_count_by_their_score() -> None:
    faint = ((50.0, 10.0, 70.0, 30.0), 0.1)
    assert result_error(results((BOX, 0.9)), results()) == 1
    assert result_error(results((BOX, 0.9)), results((BOX, 0.9), faint)) == pytest.approx(0.1 / 1.9)
    assert result_error(results((BOX, 0.9), faint), results((BOX, 0.9))) == pytest.approx(0.1 / 1.9)


def test_an_object_that_is_half_off_is_half_wrong() -> None:
    half = (10.0, 10.0, 30.0, 20.0)
    assert result_error(results((half, 0.5)), results((BOX, 0.5))) == pytest.approx(0.5)


def test_another_class_is_another_object() -> None:
    assert result_error(results((BOX, 0.5), kind=1), results((BOX, 0.5))) == 1


def test_poses_are_compared_by_their_keypoints() -> None:
    points = np.array([[[12.0, 12.0, 0.9], [20.0, 20.0, 0.9]]], np.float32)
    one, other = results((BOX, 0.5)), results((BOX, 0.5))
    far = points + np.array([15.0, 0.0, 0.0], np.float32)
    with_points = [Detections(r.boxes, r.scores, r.classes, r.shape, None, p) for r, p in ((one, points), (other, far))]
    assert result_error(with_points[0], with_points[0]) == 0
    assert 0 < result_error(with_points[0], with_points[1]) <= 1
