"""The input cache by hand: Eq. 16, given pixels, scene cuts, and what proposing leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fluxshard.errors import StateError
from fluxshard.geometry import Grid
from fluxshard.motion import MotionField
from fluxshard.options import InputMode
from fluxshard.runtime.reuse.input_cache import InputOptions, ReferenceInputCache

SIZE = (8, 16)


def _cache(
    tau: float = 0.1, scene_cut: float = 1.0, mode: InputMode = "assembled", remap: bool = True
) -> ReferenceInputCache:
    options = InputOptions(tau=tau, scene_cut=scene_cut, mode=mode, remap=remap)
    cache = ReferenceInputCache(Grid(*SIZE), 3, options)
    cache.commit(cache.propose(_flat(0.5), None, keyframe=True, given=None))
    return cache


def _flat(value: float) -> Tensor:
    return torch.full((1, 3, *SIZE), value)


def test_pixels_that_differ_by_more_than_tau() -> None:
    cache, image = _cache(), _flat(0.5)
    image[0, 1, 2, 3], image[0, 2, 4, 5], image[0, 0, 6, 7] = 0.61, 0.59, float("nan")
    found = cache.propose(image, None, keyframe=False, given=None)
    assert not found.keyframe and found.pixels == 2
    assert np.argwhere(found.mask()).tolist() == [[2, 3], [6, 7]]
    # pixels below the threshold are fed as they were cached, so that slow changes add up
    assert found.fed[0, 2, 4, 5] == 0.5 and found.fed[0, 1, 2, 3] == image[0, 1, 2, 3]


def test_motion_aligns_and_what_has_no_source_is_recomputed() -> None:
    cache, image = _cache(), _flat(0.5)
    image[..., 3] = 0.9
    cache.commit(cache.propose(image, None, keyframe=False, given=None))
    moved = cache.propose(image.roll(2, 3), MotionField.uniform(*SIZE, 0, 2), keyframe=False, given=None)
    assert np.argwhere(moved.mask().any(0)).ravel().tolist() == [0, 1]
    assert torch.equal(moved.fed, image.roll(2, 3))


def test_given_pixels_take_the_place_of_the_comparison() -> None:
    given = np.zeros(SIZE, np.bool_)
    given[1, 1] = True
    found = _cache().propose(_flat(0.9), None, keyframe=False, given=given)
    assert (found.mask() == given).all() and found.fed[0, 0, 1, 1] == _flat(0.9)[0, 0, 0, 0]
    assert (found.fed[0, 0][~torch.from_numpy(given)] == 0.5).all()


def test_scene_cut() -> None:
    half = _flat(0.5)
    half[..., :8] = 0.9
    for scene_cut, keyframe in ((0.49, True), (0.5, False)):
        found = _cache(scene_cut=scene_cut).propose(half, None, keyframe=False, given=None)
        assert found.keyframe == keyframe and found.pixels == (128 if keyframe else 64)


def test_the_whole_frame_is_fed_where_it_is_at_hand() -> None:
    found = _cache(mode="fresh").propose(_flat(0.55), None, keyframe=False, given=None)
    assert found.pixels == 0 and torch.equal(found.fed, _flat(0.55))


def test_without_remapping_changes_go_back_to_where_they_came_from() -> None:
    cache, image = _cache(remap=False), _flat(0.5)
    image[..., 4, 10] = 0.9
    motion = MotionField.uniform(*SIZE, 0, 2)
    cache.commit(cache.propose(image, motion, keyframe=False, given=None))
    # the bright pixel is cached at its source, two columns to the left, in the coordinates of the keyframe
    still = cache.propose(image, motion, keyframe=False, given=None)
    assert np.argwhere(still.mask().any(0)).ravel().tolist() == [0, 1] and still.previous[0, 0, 4, 8] == 0.9


def test_proposing_changes_nothing() -> None:
    cache = _cache()
    for value in (0.0, 1.0):
        assert cache.propose(_flat(value), None, keyframe=False, given=None).pixels == 128
    assert cache.propose(_flat(0.5), None, keyframe=False, given=None).pixels == 0


def test_only_the_last_proposal_can_be_committed() -> None:
    cache = _cache()
    first, second = (cache.propose(_flat(0.7), None, keyframe=False, given=None) for _ in range(2))
    with pytest.raises(StateError, match="propose the frame again"):
        cache.commit(first)
    with pytest.raises(StateError, match="propose the frame again"):
        cache.commit(second)
