"""Versions of one clip in several codecs are reused as the H.264 version is whose own vectors are used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fluxshard
from benchmarks.versions import GOAL, LEAST_DB, VERSIONS, encode, psnr_db
from fluxshard import video
from fluxshard.testing import panning

SIZE, N = (192, 256), 8


@pytest.fixture(scope="module")
def pictures():
    """A scene that pans, with a square that goes the other way and changes."""
    views = []
    for index, picture in enumerate(panning(SIZE, (0, -8), N)):
        grey = np.repeat(picture.mean(-1, keepdims=True) / 2 + 60, 3, -1).astype(np.uint8)  # as soft as a real scene
        grey[60:100, 40 + 4 * index : 80 + 4 * index] = (200, 40 + 12 * index, 60)
        views.append(grey)
    return views


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.ReLU()]
    for _ in range(2):
        layers += [torch.nn.Conv2d(4, 4, 3, stride=2, padding=1), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers).eval()
    options = fluxshard.CompileOptions(backend="reference")
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options)


def reuse_of(path, model):
    """1 minus the mean compute ratio after the first frame, and where motion came from."""
    with model.session(fluxshard.ReuseOptions(policy="planned")) as session, video.open(path, size=SIZE) as source:
        ratios, sources = [], set()
        for frame in source:
            session.run(frame.planes, frame.motion)
            ratios.append(session.stats.compute_ratio)
            sources.add(frame.motion_source)
    return 1 - float(np.mean(ratios[1:])), sources - {"none"}


@pytest.fixture(scope="module")
def of_p_only(pictures, model, tmp_path_factory):
    path = encode(tmp_path_factory.mktemp("versions") / "p.mkv", pictures, VERSIONS[0])
    reuse, sources = reuse_of(path, model)
    assert sources == {"codec"} and reuse > 0.8
    return reuse


@pytest.mark.parametrize("version", VERSIONS[1:], ids=lambda version: version.name)
def test_each_version_is_reused_as_much(version, pictures, model, of_p_only, tmp_path):
    path = encode(tmp_path / "a.mkv", pictures, version)
    assert psnr_db(path, pictures, version) >= LEAST_DB
    reuse, sources = reuse_of(path, model)
    assert sources == {"block_matching"}
    assert reuse >= GOAL * of_p_only
