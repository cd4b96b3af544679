"""Decoding of output tensors, and masks against torch's interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import ModelError
from fluxshard.models.detections.detections import Detections, Masks
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.loaded_model import HeadLayout

SHAPE = (64, 96)


def prediction(rows, classes, extra=0):
    """`(1, 4 + classes + extra, N)` from (x, y, w, h, {class: score}, extra values)."""
    tensor = torch.zeros(1, 4 + classes + extra, len(rows) + 3)  # three anchors without an object
    for i, (x, y, w, h, scores, *rest) in enumerate(rows):
        tensor[0, :4, i] = torch.tensor([x, y, w, h])
        for index, score in scores.items():
            tensor[0, 4 + index, i] = score
        if rest:
            tensor[0, 4 + classes :, i] = torch.as_tensor(rest[0])
    return tensor


def test_boxes_scores_and_classes_in_order_of_score():
    y = prediction([(20, 30, 10, 8, {0: 0.4, 2: 0.6}), (50, 40, 4, 4, {1: 0.9})], classes=3)
    found = decode(y, HeadLayout("detect", 3), SHAPE)
    assert found.boxes.tolist() == [[48, 38, 52, 42], [15, 26, 25, 34]]
    assert found.classes.tolist() == [1, 2]
    assert found.scores == pytest.approx([0.9, 0.6])
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.shape == SHAPE


def test_confidence_is_a_lower_bound_that_is_not_reached():
    y = prediction([(20, 30, 10, 8, {0: 0.25}), (50, 40, 4, 4, {0: 0.2500001})], classes=1)
    assert len(decode(y, HeadLayout("detect", 1), SHAPE, confidence=0.25)) == 1


@pytest.mark.parametrize("wrap", [lambda y: y, lambda y: (y, {"boxes": 0}), lambda y: [(y,), {}]])
def test_any_nesting_that_begins_with_the_tensor_is_read(wrap):
    y = prediction([(20, 30, 10, 8, {0: 0.5})], classes=2)
    assert len(decode(wrap(y), HeadLayout("detect", 2), SHAPE)) == 1


def test_nan_and_infinity_are_no_detections():
    nan, inf = float("nan"), float("inf")
    y = prediction([(nan, 30, 10, 8, {0: 0.9}), (20, 30, inf, 8, {0: 0.9}), (20, 30, 10, 8, {0: nan})], classes=1)
    assert len(decode(y, HeadLayout("detect", 1), SHAPE)) == 0


def test_no_detections_have_the_right_shapes():
    layout = HeadLayout("pose", 1, keypoint_shape=(17, 3))
    found = decode(prediction([], 1, 51), layout, SHAPE)
    assert found.boxes.shape == (0, 4)
    assert found.keypoints is not None and found.keypoints.shape == (0, 17, 3)
    moved = found.to_picture((0.5, 0.5), (0, 0), (128, 192))
    assert moved.boxes.shape == (0, 4)


def test_keypoints_follow_their_box():
    points = torch.arange(6.0)
    y = prediction([(20, 30, 10, 8, {0: 0.3}, points), (50, 40, 4, 4, {0: 0.8}, points + 10)], classes=1, extra=6)
    found = decode(y, HeadLayout("pose", 1, keypoint_shape=(2, 3)), SHAPE)
    assert found.keypoints is not None
    assert found.keypoints.tolist() == [[[10, 11, 12], [13, 14, 15]], [[0, 1, 2], [3, 4, 5]]]


def test_end_to_end_rows_need_no_suppression():
    rows = torch.zeros(1, 5, 6)
    rows[0, 0] = torch.tensor([1, 2, 30, 40, 0.5, 1])
    rows[0, 3] = torch.tensor([1, 2, 30, 40, 0.9, 1])  # the same box twice: the network meant both
    found = decode(rows, HeadLayout("detect", 2, is_end_to_end=True), SHAPE)
    assert found.scores == pytest.approx([0.9, 0.5])
    assert found.boxes[0].tolist() == [1, 2, 30, 40]


@pytest.mark.parametrize(
    ("outputs", "layout"),
    [
        (torch.zeros(1, 9, 10), HeadLayout("detect", 3)),
        (torch.zeros(2, 7, 10), HeadLayout("detect", 3)),
        (torch.zeros(1, 7), HeadLayout("detect", 3)),
        ({"out": torch.zeros(1)}, HeadLayout("detect", 3)),
        (torch.zeros(1, 39, 10), HeadLayout("segment", 3, mask_channels=32)),
        ((torch.zeros(1, 39, 10), torch.zeros(1, 8, 16, 24)), HeadLayout("segment", 3, mask_channels=32)),
    ],
)
def test_outputs_of_another_layout_are_refused(outputs, layout):
    with pytest.raises(ModelError, match="the model returned"):
        decode(outputs, layout, SHAPE)


def test_results_do_not_share_memory_with_the_outputs():
    y = prediction([(20, 30, 10, 8, {0: 0.5}, torch.ones(4))], classes=1, extra=4)
    protos = torch.ones(1, 4, 16, 24)
    found = decode((y, protos), HeadLayout("segment", 1, mask_channels=4), SHAPE)
    y.zero_()
    protos.zero_()
    assert found.boxes.max() > 0
    assert found.mask(0)[2].all()


def test_prototypes_stay_where_they_are_if_nobody_writes_to_them():
    y = prediction([(20, 30, 10, 8, {0: 0.5}, torch.ones(4))], classes=1, extra=4)
    protos = torch.ones(1, 4, 16, 24)
    found = decode((y, protos), HeadLayout("segment", 1, mask_channels=4), SHAPE, owns=True)
    assert np.shares_memory(found.masks.prototypes, protos.numpy())
    y.zero_()
    assert found.boxes.max() > 0 and found.mask(0)[2].all()


@pytest.mark.parametrize("cells", [(16, 24), (13, 19), (64, 96), (1, 1)])
def test_masks_equal_bilinear_interpolation_of_the_logits(cells):
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=(2, 5)).astype(np.float32)
    prototypes = rng.normal(size=(5, *cells)).astype(np.float32)
    masks = Masks(coefficients, prototypes, (cells[0] / SHAPE[0], cells[1] / SHAPE[1]))
    logits = torch.einsum("nk,khw->nhw", torch.from_numpy(coefficients), torch.from_numpy(prototypes))
    expected = torch.nn.functional.interpolate(logits[None], SHAPE, mode="bilinear")[0]
    for rows, columns in ((range(64), range(96)), (range(7, 31), range(40, 41)), (range(0), range(5))):
        part = expected[1, rows.start : rows.stop, columns.start : columns.stop]
        found = torch.from_numpy(masks.window(1, rows, columns))
        assert found.shape == part.shape
        assert not ((found != (part > 0)) & (part.abs() > 1e-4)).any()


def test_masks_and_boxes_move_together_to_the_picture():
    """A disc that fills its box still does after the letterbox is undone."""
    ys, xs = np.mgrid[0:32, 0:48]
    disc = (8.0 - np.hypot(ys + 0.5 - 16, xs + 0.5 - 24)).astype(np.float32)
    found = Detections(
        np.array([[32, 16, 64, 48]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        (64, 96),
        Masks(np.ones((1, 1), np.float32), disc[None], (0.5, 0.5)),
    )
    moved = found.to_picture((0.5, 0.25), (8.0, 0.0), (96, 384))  # the picture is 96x384, padded by 8 rows above
    assert moved.boxes.tolist() == [[128, 16, 256, 80]]
    rows, columns, mask = moved.mask(0)
    assert (rows, columns) == (range(16, 80), range(128, 256))
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert mask[32].all() and mask[:, 64].all()
    assert not mask[0, 0] and not mask[-1, -1]


def test_boxes_are_clipped_to_the_picture_and_keypoints_are_not():
    found = Detections(
        np.array([[-10, -10, 200, 50]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        SHAPE,
        keypoints=np.array([[[-4, 10, 0.9]]], np.float32),
    )
    moved = found.to_picture((0.5, 0.5), (4.0, 0.0), (112, 192))
    assert moved.boxes.tolist() == [[0, 0, 192, 92]]
    assert moved.keypoints is not None and moved.keypoints[0, 0] == pytest.approx([-8, 12, 0.9])
