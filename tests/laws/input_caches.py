"""The law of input caches, for any backend: S_0, the network's input and what is kept are those of the definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from fluxshard.geometry import Grid
from fluxshard.motion import MotionField, cells
from fluxshard.runtime.level_motion import LevelMotion, Motion
from fluxshard.runtime.reuse.input_cache import InputCache, InputOptions, InputProposal, ReferenceInputCache

Shape = tuple[int, int, int]  # (C, H, W)

OPTIONS = st.builds(
    InputOptions,
    tau=st.sampled_from([0.0, 0.1]),
    scene_cut=st.sampled_from([0.3, 0.9, 1.0]),
    mode=st.sampled_from(["fresh", "assembled"]),
    remap=st.booleans(),
)


def check(
    cache: InputCache, fed: Callable[[InputProposal], Tensor], shape: Shape, options: InputOptions, seed: int
) -> None:
    """Five frames, some of which are not committed; before each, another frame is proposed and dropped.

    Args:
      cache: under test.
      fed: what the network would read, `(1, C, H, W)` float32.
      shape: of the images.
      options: of the cache.
      seed: of content and motion.
    """
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    reference = ReferenceInputCache(Grid(height, width), channels, options)
    image = torch.from_numpy(rng.random((1, *shape), np.float32))
    for number in range(5):
        image = image.clone()
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[..., y : y + 5, x : x + 5] = float(rng.choice([rng.random(), np.nan, np.inf], p=[0.9, 0.05, 0.05]))
        keyframe = bool(number == 0 or rng.random() < 0.1)
        motion = None if keyframe or rng.random() < 0.2 else _motion(rng, height, width)
        given = rng.random((height, width)) < 0.2 if rng.random() < 0.3 else None
        cache.propose(torch.rand(1, *shape), None, keyframe=False, given=None)  # dropped: it changes nothing
        expected = reference.propose(image, motion, keyframe=keyframe, given=given)
        found = cache.propose(image, motion, keyframe=keyframe, given=given)
        assert (found.keyframe, found.pixels) == (expected.keyframe, expected.pixels)
        assert (found.mask() == expected.mask()).all()
        assert torch.equal(fed(found).nan_to_num(7), expected.fed.nan_to_num(7))
        if rng.random() < 0.85 or number == 0:
            reference.commit(expected)
            cache.commit(found)


def _motion(rng: np.random.Generator, height: int, width: int) -> Motion:
    """Where a level moves on its own, the image has nothing to do with it."""
    cell_px = int(rng.choice([4, 8, 16]))
    image = _field(rng, height, width, cell_px)
    return image if rng.random() < 0.5 else LevelMotion(image, (_field(rng, height, width, cell_px),), (None, 0))


def _field(rng: np.random.Generator, height: int, width: int, cell_px: int) -> MotionField:
    lattice = cells(height, cell_px), cells(width, cell_px)
    spread = int(rng.choice([0, 2, 30]))
    valid = rng.random(lattice) < rng.choice([1, 0.9])
    return MotionField(rng.integers(-spread, spread + 1, (*lattice, 2)), valid, cell_px)
