"""Post-processing against the Ultralytics library's own, on its checkpoints and photographs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from PIL import Image

from fluxshard.models.detections.agreement import match
from fluxshard.models.detections.detections import Detections
from fluxshard.models.detections.postprocess import decode
from fluxshard.models.loading.load import load

pytest.importorskip("ultralytics", reason="needs the ultralytics package")

NAMES = ("yolo11n", "yolo11n-seg", "yolo11n-pose")
PICTURES = ("bus", "zidane")


@pytest.fixture(scope="module", params=NAMES)
def checkpoint(request, data_dir):
    path = data_dir / "weights" / f"{request.param}.pt"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    return path


@pytest.fixture(scope="module")
def loaded(checkpoint):
    with pytest.warns(UserWarning, match="runs Python code"):
        return load(checkpoint)


def letterboxed(data_dir, name):
    """A photograph in the middle of 640x640, `(1, 3, 640, 640)`, its scale, offset and size."""
    path = data_dir / "images" / f"{name}.jpg"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    picture = Image.open(path).convert("RGB")
    scale = 640 / max(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    canvas = np.full((640, 640, 3), 114, np.uint8)
    top, left = (640 - height) // 2, (640 - width) // 2
    canvas[top : top + height, left : left + width] = np.asarray(
        picture.resize((width, height), Image.Resampling.BILINEAR)
    )
    image = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255
    return image, (scale, scale), (float(top), float(left)), (picture.height, picture.width)


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(("confidence", "iou"), [(0.25, 0.7), (0.01, 0.45)])
def test_same_boxes_as_the_librarys_suppression(loaded, data_dir, picture, confidence, iou):
    from ultralytics.utils.nms import non_max_suppression

    image, *_ = letterboxed(data_dir, picture)
    with torch.inference_mode():
        outputs = loaded.net(image)
    prediction = outputs[0] if isinstance(outputs, tuple) else outputs
    expected = non_max_suppression(prediction.clone(), confidence, iou, nc=loaded.layout.classes)[0].numpy()
    start = time.perf_counter()
    found = decode(outputs, loaded.layout, (640, 640), confidence=confidence, iou=iou)
    elapsed_ms = 1e3 * (time.perf_counter() - start)
    assert len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1e-3)
    np.testing.assert_array_equal(found.scores, expected[:, 4])
    np.testing.assert_array_equal(found.classes, expected[:, 5].astype(np.int64))
    if loaded.task == "pose":
        np.testing.assert_array_equal(found.keypoints.reshape(len(expected), -1), expected[:, 6:])
    if loaded.task == "segment":
        np.testing.assert_array_equal(found.masks.coefficients, expected[:, 6:])
    assert elapsed_ms < 50  # below 3 ms when alone


@pytest.mark.parametrize("picture", PICTURES)
def test_same_objects_as_the_librarys_predict(loaded, checkpoint, data_dir, picture, monkeypatch):
    from ultralytics import YOLO
    from ultralytics.utils.nms import TorchNMS

    ops = types.ModuleType("torchvision.ops")  # predict imports torchvision, whose operators this torch may not have
    ops.nms = TorchNMS.nms
    torchvision = types.ModuleType("torchvision")
    torchvision.ops, torchvision.__version__ = ops, "0.28.0"
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    image, scale, offset, shape = letterboxed(data_dir, picture)
    with torch.inference_mode():
        outputs = loaded.net(image)
    found = decode(outputs, loaded.layout, (640, 640)).to_picture(scale, offset, shape)
    source = np.ascontiguousarray(
        np.asarray(Image.open(data_dir / "images" / f"{picture}.jpg").convert("RGB"))[..., ::-1]
    )
    result = YOLO(checkpoint).predict(
        source, imgsz=640, rect=False, conf=0.25, iou=0.7, verbose=False, device="cpu", retina_masks=True
    )[0]
    boxes = result.boxes
    expected = Detections(boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy().astype(np.int64), shape)
    # the two resize the photograph with different filters, so scores and corners differ a little
    pairs = match(found, expected, iou=0.85)
    assert len(pairs) == len(found) == len(expected) > 0
    for row, column, _ in pairs:
        assert found.scores[row] == pytest.approx(expected.scores[column], abs=0.1)
        if loaded.task == "pose":
            points = result.keypoints.data[column].numpy()
            seen = points[:, 2] > 0.5
            size = float(np.sqrt(np.prod(expected.boxes[column, 2:] - expected.boxes[column, :2])))
            distance = np.hypot(*(found.keypoints[row] - points)[seen, :2].T)
            assert not seen.any() or np.median(distance) < 0.03 * size
        if loaded.task == "segment":
            rows, columns, mask = found.mask(row)
            whole = np.zeros(shape, bool)
            whole[rows.start : rows.stop, columns.start : columns.stop] = mask
            theirs = result.masks.data[column].numpy() > 0
            assert (whole & theirs).sum() / (whole | theirs).sum() > 0.9


def test_names_and_tasks(loaded, checkpoint):
    assert loaded.names[0] == "person" and loaded.stride_px == 32
    assert loaded.task == {"yolo11n": "detect", "yolo11n-seg": "segment", "yolo11n-pose": "pose"}[checkpoint.stem]
    if loaded.task != "detect":
        with pytest.warns(UserWarning):
            boxes_only = load(checkpoint, "detect")
        with torch.inference_mode():
            found = decode(boxes_only.net(torch.rand(1, 3, 64, 96)), boxes_only.layout, (64, 96), confidence=0.0)
        assert len(found) > 0 and found.masks is None and found.keypoints is None


def test_a_task_that_the_checkpoint_cannot_do(data_dir):
    from fluxshard.errors import ModelError

    path = data_dir / "weights" / "yolo11n.pt"
    if not path.is_file():
        pytest.skip("no yolo11n.pt")
    with pytest.warns(UserWarning), pytest.raises(ModelError, match="is a 'detect' model and cannot do 'pose'"):
        load(path, "pose")


def test_state_dict_of_another_network(data_dir):
    from fluxshard.errors import ModelError

    for path in (data_dir / "weights").glob("*/*"):
        with pytest.raises(ModelError, match=r"ONNX|state_dict"):
            load(path)


@pytest.mark.parametrize(
    ("name", "end_to_end"),
    [("yolo26n", True), ("yolo26n", False), ("yolo26n-pose", True), ("yolo26n-seg", True), ("yolov8n", False)],
)
def test_other_generations_decode(name, end_to_end, tmp_path):
    """Untrained networks of other generations, heads without suppression among them."""
    from ultralytics import YOLO

    model = YOLO(f"{name}.yaml", verbose=False).model
    if end_to_end:
        if not hasattr(model.model[-1], "one2one_cv2"):
            pytest.skip("this version of ultralytics has no heads without suppression")
        model.model[-1].end2end = True
    torch.save({"model": model}, tmp_path / "net.pt")
    with pytest.warns(UserWarning):
        loaded = load(tmp_path / "net.pt")
    assert loaded.layout.is_end_to_end == end_to_end
    with torch.inference_mode():
        found = decode(loaded.net(torch.rand(1, 3, 64, 96)), loaded.layout, (64, 96), confidence=0.0)
    assert 0 < len(found) <= 300
    if loaded.task == "segment":
        found.mask(0)
    if loaded.task == "pose":
        assert found.keypoints.shape[1:] == (17, 3)


def test_loading_is_silent_and_leaves_the_process_alone(checkpoint, tmp_path):
    """No banner, no change of the thread count, of printing, of OMP_NUM_THREADS or of how Pillow opens files."""
    code = (
        "import os, sys, warnings; warnings.simplefilter('ignore'); import numpy, torch, PIL.Image\n"
        "def seen():\n"
        "    threads = torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS')\n"
        "    return *threads, repr(numpy.get_printoptions()), PIL.Image.open\n"
        "before = seen()\n"
        "from fluxshard.models.loading.load import load; load(sys.argv[1])\n"
        "assert before == seen()\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "YOLO_CONFIG_DIR")
    }
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
