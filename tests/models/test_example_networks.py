"""The networks of examples that are no detectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from examples.espnet.model import CLASSES, ESPNet, load_espnet
from examples.street.model import load_trained
from examples.street.tasks import Output
from fluxshard.models.loading.loaded_model import MAP_TASKS
from fluxshard.models.tasks.heads import head_for

SIZE = (64, 96)


def test_espnet_scores_every_pixel():
    with torch.inference_mode():
        assert ESPNet().eval()(torch.rand(1, 3, *SIZE)).shape == (1, 20, *SIZE)


def test_public_weights_see_a_car_on_a_road(data_dir):
    weights = data_dir / "weights/espnet/espnet_p_2_q_8_cityscapes.pth"
    picture = data_dir / "davis/JPEGImages/480p/car-roundabout/00020.jpg"
    for path in (weights, picture):
        if not path.is_file():
            pytest.skip(f"no {path.name} in {data_dir}")
    size = (384, 640)
    pixels = np.asarray(Image.open(picture).resize(size[::-1]))
    with torch.inference_mode():
        outputs = load_espnet(weights)(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255)
    found = head_for("semantic", size)(outputs)
    assert found.labels[int(0.45 * size[0]), int(0.35 * size[1])] == CLASSES.index("car")  # its door
    assert found.labels[-20, size[1] // 2] == CLASSES.index("road")


def test_the_street_has_an_output_for_every_task():
    net, image = load_trained(), torch.rand(1, 3, *SIZE)
    with torch.inference_mode():
        for task in MAP_TASKS:
            assert head_for(task, SIZE)(Output(net, task)(image)) is not None
