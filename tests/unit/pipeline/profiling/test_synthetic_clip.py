"""Moving pictures that are made up: images that networks take, true motion, and work of all sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.pipeline.profiling.synthetic_clip import FRAMES, synthetic_clip


@pytest.mark.parametrize("size", [(64, 96), (33, 50), (16, 16)])
def test_images_and_motion(size: tuple[int, int]) -> None:
    clip = list(synthetic_clip(size, 30))
    assert len(clip) == 30 and clip[0][1] is None
    for image, motion in clip[1:]:
        assert image.shape == (1, 3, *size) and image.dtype == torch.float32 and image.is_contiguous()
        assert float(image.min()) >= 0 and float(image.max()) <= 1
        assert motion is not None
        motion.check_covers(*size)


def test_the_same_seed_gives_the_same_pixels() -> None:
    for (image, _), (again, _) in zip(synthetic_clip((32, 48), 5), synthetic_clip((32, 48), 5), strict=True):
        assert torch.equal(image, again)
    other = next(iter(synthetic_clip((32, 48), 1, seed=1)))[0]
    assert not torch.equal(other, next(iter(synthetic_clip((32, 48), 1)))[0])


def test_what_changes_rises_and_falls_and_the_rest_follows_the_camera() -> None:
    shares, panned = [], 0
    before = None
    for image, motion in synthetic_clip((96, 160), 60):
        if before is not None and motion is not None:
            dy, dx = (int(part) for part in motion.displacement[0, 0])
            panned += bool(dx)
            # source = position - motion
            here = image[0, :, : 96 + dy or None, : 160 + dx or None].numpy()
            there = before[0, :, -dy:, -dx:].numpy()
            shares.append(float((np.abs(here - there).max(0) > 0.03).mean()))
        before = image
    assert min(shares) < 0.08 and max(shares) > 0.25
    assert 20 < panned < 40 and FRAMES > 100
