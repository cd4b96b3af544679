"""The network under evaluation: one model per canvas, and decoded detections in its pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fluxshard.errors import ModelError, OptionError
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.options import CompileOptions
from fluxshard.testing.evaluation import SIZE, bright_network
from fluxshard.testing.networks import box_at, bright_model, square


@pytest.fixture(scope="module")
def network() -> CompiledNetwork:
    return bright_network()


def test_a_network_is_compiled_once_per_canvas(network: CompiledNetwork) -> None:
    assert network.model() is network.model(0) and network.model(8) is network.model(8) is not network.model()


def test_the_canvas_of_a_model_overrides_that_of_the_options() -> None:
    network = CompiledNetwork(bright_model(), SIZE, CompileOptions(backend="reference", canvas_px=16))
    for canvas_px in (0, 8):
        model = network.model(canvas_px)
        model.specialise(square(8, 16))
        assert model.plan.image_size == (SIZE[0] + canvas_px, SIZE[1] + canvas_px)


def test_unknown_outputs_are_refused() -> None:
    with pytest.raises(OptionError, match="task 'raw' cannot be evaluated"):
        CompiledNetwork(replace(bright_model(), layout=None, task="raw"), SIZE)


def test_what_the_model_returns_is_decoded(network: CompiledNetwork) -> None:
    with network.model().session() as session:
        found = network.detect(session.run(square(8, 16)), 0, 0.5)
    assert found.boxes.tolist() == [box_at(8, 16)] and found.shape == SIZE
    assert found.scores[0] == pytest.approx(1, abs=1e-5)


def test_detections_on_a_canvas_have_its_shape(network: CompiledNetwork) -> None:
    output = torch.tensor([[[20.0], [12.0], [8.0], [8.0], [0.5]]])
    found = network.detect(output, 8, 0.4)
    assert found.shape == (SIZE[0] + 8, SIZE[1] + 8) and len(found) == 1
    assert len(network.detect(output, 0, 0.6)) == 0


def test_at_most_50_detections_and_no_overlaps(network: CompiledNetwork) -> None:
    """80 boxes without overlap, and the same again, which overlap wholly."""
    x = torch.arange(80.0)
    boxes = torch.stack([20 * x, 20 * x, torch.full((80,), 8.0), torch.full((80,), 8.0), 1 - x / 100])[None]
    found = network.detect(torch.cat([boxes, boxes], 2), 0, 0.1)
    assert found.scores.tolist() == pytest.approx((1 - x[:50] / 100).tolist())
    assert len(network.detect(torch.cat([boxes, boxes], 2)[..., :100], 0, 0.9, iou=1.0)) > len(
        network.detect(boxes, 0, 0.9)
    )


def test_outputs_of_another_layout_are_refused(network: CompiledNetwork) -> None:
    with pytest.raises(ModelError, match="5 channels"):
        network.detect(torch.zeros(1, 6, 4), 0, 0.5)
