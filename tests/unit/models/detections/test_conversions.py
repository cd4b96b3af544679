"""Detections as supervision and Ultralytics have them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import pytest

from fluxshard.errors import MissingExtraError, ShapeError
from fluxshard.models.detections.detections import Detections, Masks

SHAPE = (24, 32)
NAMES = ("person", "dog", "cat")


def found(*, masks: bool = False, keypoints: bool = False, ids: bool = False, names: bool = True) -> Detections:
    boxes = np.array([[2, 3, 12, 20], [10.5, 0, 31, 24]], np.float32)
    ramp = np.tile(np.linspace(-1, 1, 8, dtype=np.float32), (6, 1))
    return Detections(
        boxes,
        np.array([0.9, 0.5], np.float32),
        np.array([2, 0]),
        SHAPE,
        Masks(np.array([[-1], [1]], np.float32), ramp[None], (0.25, 0.25)) if masks else None,
        np.arange(12, dtype=np.float32).reshape(2, 2, 3) if keypoints else None,
        np.array([7, -1]) if ids else None,
        NAMES if names else (),
    )


@pytest.fixture
def supervision() -> Any:
    return pytest.importorskip("supervision", reason="pip install 'fluxshard[track]'")


@pytest.fixture
def results() -> Any:
    pytest.importorskip("ultralytics", reason="pip install 'fluxshard[yolo]'")
    return importlib.import_module("ultralytics.engine.results")


def test_supervision(supervision: Any) -> None:
    one = found(masks=True, keypoints=True, ids=True)
    taken = one.to_supervision()
    assert isinstance(taken, supervision.Detections) and len(taken) == 2
    assert np.array_equal(taken.xyxy, one.boxes) and np.array_equal(taken.confidence, one.scores)
    assert taken.class_id.tolist() == [2, 0] and taken["class_name"].tolist() == ["cat", "person"]
    assert taken.tracker_id.tolist() == [7, -1] and taken.mask.shape == (2, *SHAPE) and taken.mask.dtype == bool
    for index in range(2):
        rows, columns, mask = one.mask(index)
        assert np.array_equal(taken.mask[index][rows.start : rows.stop, columns.start : columns.stop], mask)
        assert taken.mask[index].sum() == mask.sum() > 0
    assert np.array_equal(taken.data["keypoints"], one.keypoints)
    kept = taken[taken.confidence > 0.6]
    assert len(kept) == 1 and kept.data["keypoints"].shape == (1, 2, 3)


def test_supervision_of_less(supervision: Any) -> None:
    plain = found(names=False).to_supervision()
    assert plain.mask is None and plain.tracker_id is None and plain.data == {}
    none = found(masks=True).select(np.array([], np.int64)).to_supervision()
    assert len(none) == 0 and none.xyxy.shape == (0, 4) and none.mask.shape == (0, *SHAPE)


def test_ultralytics(results: Any) -> None:
    one = found(masks=True, keypoints=True, ids=True)
    picture = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    taken = one.to_ultralytics(picture, "walk.mp4")
    assert isinstance(taken, results.Results) and taken.path == "walk.mp4" and taken.orig_shape == SHAPE
    assert np.array_equal(taken.orig_img, picture[..., ::-1]) and taken.names == dict(enumerate(NAMES))
    assert np.array_equal(taken.boxes.xyxy, one.boxes) and np.array_equal(taken.boxes.conf, one.scores)
    assert taken.boxes.cls.tolist() == [2, 0] and taken.boxes.id.tolist() == [7, -1]
    assert taken.masks.data.shape == (2, *SHAPE) and taken.masks.data[0].any() and len(taken.masks.xy[0]) > 3
    assert np.array_equal(taken.keypoints.data, one.keypoints)
    assert [row["name"] for row in taken.summary()] == ["cat", "person"]
    assert taken.plot().shape == (*SHAPE, 3)


def test_ultralytics_of_less(results: Any) -> None:
    plain = found(names=False).to_ultralytics()
    assert plain.boxes.id is None and plain.masks is None and plain.names[2] == "2" and not plain.orig_img.any()
    assert len(found(masks=True).select(np.array([], np.int64)).to_ultralytics()) == 0
    with pytest.raises(ShapeError, match=r"\(32, 24, 3\) uint8; expected \(24, 32, 3\) uint8 RGB"):
        found().to_ultralytics(np.zeros((32, 24, 3), np.uint8))
    with pytest.raises(ShapeError, match="picture is str"):
        found().to_ultralytics("walk.jpg")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "extra"), [("supervision", "track"), ("ultralytics", "yolo")])
def test_what_is_not_installed_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"to_{name}\(\) needs .*pip install 'fluxshard\[{extra}\]'"):
        getattr(found(), f"to_{name}")()


def test_what_is_selected_keeps_its_identity() -> None:
    one = found(ids=True).select(np.array([1, 0]))
    assert one.ids is not None and one.ids.tolist() == [-1, 7] and one.names == NAMES
    moved = one.to_picture((0.5, 0.5), (0.0, 0.0), (48, 64))
    assert moved.ids is one.ids and moved.name(0) == "person"
    assert [one.tone(index) for index in range(2)] == [0, 7]
    assert [found().tone(index) for index in range(2)] == [2, 0]


def test_they_print_briefly() -> None:
    assert repr(found()) == "Detections(1 cat, 1 person, in 24x32 px)"
    assert repr(found(names=False)) == "Detections(1 of class 2, 1 of class 0, in 24x32 px)"
    assert repr(found().select(np.array([], np.int64))) == "Detections(none, in 24x32 px)"
    assert repr(found(masks=True).masks) == "Masks(2 of 6x8 cells)"
