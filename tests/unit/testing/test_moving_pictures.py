"""Images and pictures move as they say."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from fluxshard.testing import frames, panning, quarter_panning, write_clip
from fluxshard.testing.moving_frames import KINDS


def test_a_pan_moves_by_its_vectors() -> None:
    pairs = list(frames("pan", (40, 48), 6, seed=3))
    assert pairs[0][1] is None
    for (before, _), (image, motion) in itertools.pairwise(pairs):
        assert motion is not None and motion.valid.all()
        (dy, dx) = motion.displacement[0, 0].tolist()
        assert (motion.displacement == (dy, dx)).all()
        height, width = 40 - abs(dy), 48 - abs(dx)
        here = image[..., max(dy, 0) :, max(dx, 0) :][..., :height, :width]
        there = before[..., max(-dy, 0) :, max(-dx, 0) :][..., :height, :width]
        assert torch.equal(here, there)
    assert any(motion is not None and motion.displacement.any() for _, motion in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_each_kind(kind: str) -> None:
    pairs, again = (list(frames(kind, (24, 40), 4, seed=5, integer=True)) for _ in range(2))
    for (image, motion), (other, _) in zip(pairs, again, strict=True):
        assert image.shape == (1, 3, 24, 40) and image.dtype == torch.float32 and torch.equal(image, other)
        assert torch.equal(image, image.round()) and 0 <= image.min() <= image.max() <= 4
        assert (motion is None) == (image is pairs[0][0] or kind == "unknown")
    assert not torch.equal(pairs[0][0], pairs[-1][0])


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'zoom'.*must be one of pan, blocks"):
        next(frames("zoom", (24, 40), 1, seed=0))


def test_pictures_pan() -> None:
    one, two = panning((32, 48), (2, -3), 2)
    assert one.shape == (32, 48, 3) and one.dtype == np.uint8 and one.std() > 10
    assert np.array_equal(one[:-2, 3:], two[2:, :-3])
    quarters = quarter_panning((32, 48), (4, 8), 2)
    assert np.array_equal(quarters[0][:-1, :-2], quarters[1][1:, 2:])  # four quarters are a pixel


def test_only_video_is_encoded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'aac'.*encodes audio"):
        write_clip(tmp_path / "a.mkv", panning((32, 48), (0, 0), 1), codec="aac")
