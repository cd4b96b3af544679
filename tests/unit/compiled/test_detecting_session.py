"""One call that runs a frame, says what is in it, and tells planned reuse where."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.errors import ModelError, OptionError, StateError
from fluxshard.models.loading.loaded_model import HeadLayout, LoadedModel
from fluxshard.video import Letterbox

SIZE = (64, 96)
SHAPE = (1, 3, *SIZE)
REFERENCE = fluxshard.CompileOptions(backend="reference")


class Head(nn.Module):
    """An object of class 1 in the middle and one that is barely one, below it, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4 + 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = 0 * self.conv(x)[:, :, ::8, ::8].flatten(2)
        height, width = x.shape[2] * 1.0, x.shape[3] * 1.0
        sure = torch.tensor([width / 2, height / 2, 16.0, 8.0, 0.1, 0.8])
        barely = torch.tensor([width / 2, height - 8, 16.0, 8.0, 0.2, 0.0])
        places = torch.zeros_like(outputs)
        places[:, :, 0] = sure
        places[:, :, 1] = barely
        return outputs + places


DETECTOR = LoadedModel(Head().eval(), "detect", HeadLayout("detect", 2), ("cat", "dog"), stride_px=8)


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    return fluxshard.compile(DETECTOR, SHAPE, options=REFERENCE)


def test_detections_are_those_of_the_outputs(model: fluxshard.CompiledModel) -> None:
    image, letterbox = torch.rand(SHAPE), Letterbox((128, 128), SIZE)
    frame = SimpleNamespace(pixels=np.zeros((*SIZE, 3), np.uint8), motion=None, letterbox=letterbox)
    with model.session() as session, model.session() as other:
        found = session.detect(image, confidence=0.15)
        expected = model.detections(other.run(image), confidence=0.15)
        assert found.boxes.tolist() == expected.boxes.tolist() and len(found) == 2 and found.shape == SIZE
        assert found.names == ("cat", "dog") and found.name(0) == "dog"
        assert len(session.detect(image)) == 1 and len(session.detect(image, confidence=0.9)) == 0
        placed = session.detect(frame)
        assert placed.shape == (128, 128)
        assert placed.boxes.tolist() == model.detections(other.run(frame), frame).boxes.tolist()
        assert placed.boxes.tolist() == session.detect(image, None, letterbox).boxes.tolist()


def test_the_session_is_told_where_the_objects_are(model: fluxshard.CompiledModel) -> None:
    """All of the image changes by more than is allowed near an object, and by less than is allowed elsewhere."""
    before, after = torch.full(SHAPE, 0.4), torch.full(SHAPE, 0.6)
    planned = fluxshard.PlannedOptions(tau=0.02, tau_background=0.4, margin_px=0, small_px=0)
    options = fluxshard.ReuseOptions(policy="planned", planned=planned, scene_cut=1.0)
    shares = []
    for call in ("run", "detect", "sure"):
        with model.session(options) as session:
            for image in (before, after):
                if call == "run":
                    session.run(image)
                else:
                    session.detect(image, confidence=0.9 if call == "sure" else 0.1)
            assert session.planned is not None
            shares.append(float(session.planned.shards[0].mean()))
            assert session.propose(before) is not None
    assert shares[0] == 1.0 and 0 < shares[1] < 0.6
    assert shares[2] == shares[1], "what is shown makes no difference to where more is recomputed"


def test_on_a_canvas_and_at_two_sizes() -> None:
    options = fluxshard.CompileOptions(backend="reference", canvas_px=8)
    model = fluxshard.compile(DETECTOR, SHAPE, options=options)
    with model.session() as session:
        found = session.detect(torch.rand(SHAPE))
        y, x = session.origin
        centre = (SIZE[1] + 8) / 2 - x, (SIZE[0] + 8) / 2 - y
        assert found.shape == SIZE
        assert found.boxes.tolist() == [[centre[0] - 8, centre[1] - 4, centre[0] + 8, centre[1] + 4]]
    model = fluxshard.compile(DETECTOR, SHAPE, options=REFERENCE)
    with model.session() as small, model.session() as large:
        small.detect(torch.rand(SHAPE))
        large.detect(torch.rand(1, 3, 128, 192))
        assert small.detect(torch.rand(SHAPE)).shape == SIZE, "not that of the model's newest size"


@pytest.mark.parametrize("kind", ["exact", "propagated"])
def test_other_policies_detect_as_well(model: fluxshard.CompiledModel, kind: str) -> None:
    with model.session(kind) as session:  # type: ignore[arg-type]
        assert [len(session.detect(torch.rand(SHAPE))) for _ in range(3)] == [1, 1, 1]


def test_nothing_runs_where_something_is_wrong(model: fluxshard.CompiledModel) -> None:
    raw = fluxshard.compile(nn.Conv2d(3, 4, 1).eval(), SHAPE, options=REFERENCE)
    with raw.session() as session:
        with pytest.raises(ModelError, match="what the outputs of this model mean is not known"):
            session.detect(torch.rand(SHAPE))
        with pytest.raises(StateError, match="run a frame first"):
            _ = session.stats
    with model.session() as session:
        for wrong in ({"confidence": 2}, {"iou": "high"}):
            with pytest.raises(OptionError, match=f"{next(iter(wrong))} .* must be a number from 0 to 1"):
                session.detect(torch.rand(SHAPE), **wrong)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="frame is a tuple"):
            session.detect(torch.rand(SHAPE), None, SIZE)  # type: ignore[arg-type]
        with pytest.raises(StateError, match="run a frame first"):
            _ = session.stats
