"""What callers hand to compile() and session(), and what is known of the model afterwards."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.compiled.example import example_image
from fluxshard.errors import ModelError, OptionError
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest
from fluxshard.testing.comparisons import assert_same
from fluxshard.video import Letterbox

SIZE = (32, 48)
SHAPE = (1, 3, *SIZE)
REFERENCE = fluxshard.CompileOptions(backend="reference")


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)).eval()


class Head(nn.Module):
    """Says that there is an object of class 1 in the middle, whatever it sees, and how bright the image is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4 + 2, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.copy_(torch.tensor([24.0, 16.0, 20.0, 10.0, 0.1, 0.8]))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, ::8, ::8].flatten(2)


DETECTOR = LoadedModel(Head().eval(), "detect", HeadLayout("detect", 2), ("cat", "dog"), stride_px=8)


@pytest.mark.parametrize(
    "example",
    [
        torch.rand(SHAPE),
        (torch.rand(SHAPE),),
        [torch.rand(SHAPE)],
        SHAPE,
        list(SHAPE),
        torch.Size(SHAPE),
        np.zeros(SHAPE, np.float32),
        np.zeros((*SIZE, 3), np.uint8),
        torch.zeros(SHAPE, dtype=torch.float16),
        SimpleNamespace(pixels=np.zeros((*SIZE, 3), np.uint8), motion=None),
    ],
)
def test_what_an_example_may_be(example: Any) -> None:
    assert example_image(example).shape == SHAPE
    model = fluxshard.compile(_net(), example, options=REFERENCE)
    assert model.plan.image_size == SIZE
    with model.session("exact") as session, torch.inference_mode():
        image = torch.rand(SHAPE)
        assert_same(session.run(image), _net()(image))


def test_a_weights_file_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(_net(), path)
    image = torch.rand(SHAPE)
    for given in (path, str(path)):
        with pytest.warns(UserWarning, match="runs Python code"):
            model = fluxshard.compile(given, SHAPE, options=REFERENCE)
        with model.session("exact") as session, torch.inference_mode():
            assert_same(session.run(image), _net()(image))
        assert (model.task, model.names) == ("raw", ()) and model.loaded is not None


def test_a_saved_model_by_its_path(tmp_path: Path) -> None:
    path, image = tmp_path / "net.fluxshard", torch.rand(SHAPE)
    fluxshard.compile(DETECTOR, SHAPE, options=REFERENCE).save(path)
    for model in (fluxshard.compile(path, SHAPE, options=REFERENCE), fluxshard.compile(path), fluxshard.load(path)):
        assert (model.task, model.names) == ("detect", ("cat", "dog")) and model.plan.image_size == SIZE
        with model.session() as session:
            found = model.detections(session.run(image))
        assert found.classes.tolist() == [1] and found.boxes.tolist() == [[14, 11, 34, 21]]


def test_an_object_of_ultralytics() -> None:
    pytest.importorskip("ultralytics", reason="pip install 'fluxshard[yolo]'")
    from ultralytics import YOLO

    torch.manual_seed(0)
    yolo = YOLO("yolo11n.yaml", verbose=False)
    head = yolo.model.model[-1]
    state = {name: tensor.clone() for name, tensor in yolo.model.state_dict().items()}
    image = torch.rand(1, 3, 64, 64)
    model = fluxshard.compile(yolo, image, options=REFERENCE, check=False)  # it is what is compared below
    assert model.task == "detect" and len(model.names) == head.nc and model.names[0] == yolo.names[0]
    assert not head.export and all(torch.equal(state[name], t) for name, t in yolo.model.state_dict().items())
    with model.session("exact") as session, torch.inference_mode():
        found = session.run(image)
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, yolo.model.eval()(image)[0], rtol=1e-3, atol=1e-3)


def test_an_object_of_ultralytics_without_a_network() -> None:
    kind = type("YOLO", (), {"__module__": "ultralytics.engine.model", "model": "yolo11n.onnx"})
    with pytest.raises(ModelError, match=r"no network in torch but str 'yolo11n\.onnx'"):
        fluxshard.compile(kind(), options=REFERENCE)


def test_what_a_session_may_be_asked_for() -> None:
    model = fluxshard.compile(_net(), SHAPE, options=REFERENCE)
    planned, exact = fluxshard.ReuseOptions(policy="planned"), fluxshard.ReuseOptions.exact()
    assert model.session().reuse == model.session("planned").reuse == model.session(None).reuse == planned
    assert model.session("exact").reuse == model.session(exact=True).reuse == exact
    assert model.session("exact", exact=True).reuse == exact
    assert model.session("propagated").reuse == fluxshard.ReuseOptions()
    own = fluxshard.ReuseOptions(scene_cut=0.5)
    assert model.session(own).reuse == model.session(reuse=own).reuse == own
    for wrong in ("planned", own):
        with pytest.raises(OptionError, match="leave out reuse"):
            model.session(wrong, exact=True)


def test_thresholds_that_a_model_was_saved_with_stay_its_own(tmp_path: Path) -> None:
    model = fluxshard.compile(_net(), SHAPE, options=REFERENCE)
    reuse = fluxshard.ReuseOptions(policy="planned", scene_cut=0.7)
    network, weights = network_digest(model.plan), weights_digest(model.plan, model.weights)
    profile = ThresholdProfile(reuse=reuse, canvas_px=0, network=network, weights=weights)
    model.save(tmp_path / "net.fluxshard", profile=profile)
    loaded = fluxshard.load(tmp_path / "net.fluxshard")
    assert loaded.session().reuse == reuse and loaded.session("planned").reuse != reuse


def test_detections_of_the_picture_and_of_the_image() -> None:
    model = fluxshard.compile(DETECTOR, SHAPE, options=REFERENCE)
    letterbox = Letterbox((64, 64), SIZE)  # half as large, with bars left and right
    frame = SimpleNamespace(pixels=np.zeros((*SIZE, 3), np.uint8), motion=None, letterbox=letterbox)
    with model.session() as session:
        outputs = session.run(frame)
    found = model.detections(outputs, frame)
    assert found.shape == (64, 64) and found.names == ("cat", "dog") and found.name(0) == "dog"
    assert found.boxes.tolist() == [[12, 22, 52, 42]]
    assert model.detections(outputs, letterbox).boxes.tolist() == found.boxes.tolist()
    assert model.detections(outputs).boxes.tolist() == [[14, 11, 34, 21]]
    assert len(model.detections(outputs, confidence=0.9)) == 0
    for wrong in ({"confidence": 2}, {"iou": "high"}):
        with pytest.raises(OptionError, match=f"{next(iter(wrong))} .* must be a number from 0 to 1"):
            model.detections(outputs, **wrong)
    with pytest.raises(OptionError, match="frame is a tuple"):
        model.detections(outputs, SIZE)
    with pytest.raises(ModelError, match="6 channels"):
        model.detections(torch.zeros(1, 84, 10))


def test_detections_on_a_canvas() -> None:
    options = fluxshard.CompileOptions(backend="reference", canvas_px=8)
    model = fluxshard.compile(DETECTOR, SHAPE, options=options)
    letterbox = Letterbox(SIZE, SIZE)
    with model.session() as session:
        outputs = session.run(torch.rand(SHAPE))
        y, x = session.origin
        found = model.detections(outputs, letterbox, origin=(y, x))
    assert found.shape == SIZE and found.boxes.tolist() == [[14 - x, 11 - y, 34 - x, 21 - y]]
    assert model.detections(outputs, origin=(y, x)).shape == SIZE


def test_everything_public_prints_briefly(tmp_path: Path) -> None:
    model = fluxshard.compile(DETECTOR, SHAPE, options=REFERENCE)
    reuse = fluxshard.ReuseOptions(policy="planned", planned=fluxshard.PlannedOptions(tau=0.5))
    assert repr(reuse) == "ReuseOptions(policy='planned', planned=PlannedOptions(tau=0.5))"
    assert repr(fluxshard.OffloadOptions(token="secret")) == "OffloadOptions()"
    with model.session("planned", keep_all=True) as session:
        session.run(torch.rand(SHAPE))
        things = [
            model, model.loaded, model.plan, model.explain(), session, session.stats, session.planned,
            session.inspect(), session.propose(torch.rand(SHAPE)), model.specialise(torch.zeros(SHAPE)),
            model.detections(session.run(torch.rand(SHAPE))), fluxshard.MotionField.zero(*SIZE), REFERENCE,
            model.save(tmp_path / "net.fluxshard"), fluxshard.WatchOptions(), fluxshard.CompileOptions(),
        ]  # fmt: skip
        for thing in things:
            text = repr(thing)
            assert len(text) < 120 and "\n" not in text and " object at 0x" not in text, text
        page = session.stats._repr_html_()
    assert page.count("<tr>") == len(session.stats.as_dict()) and "<th>compute_ratio</th>" in page
