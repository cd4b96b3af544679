"""The generated input cache against its definition: S_0, the assembled input and the cache, bit for bit."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.input_cache import InputCacheLibrary, InputCacheParams, build_input_cache
from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.runtime.reuse.cpp_input_cache import CppInput, CppInputCache
from fluxshard.runtime.reuse.input_cache import InputOptions, InputProposal
from tests.laws import input_caches

SHAPES = ((3, 24, 40), (3, 13, 19), (1, 9, 8), (5, 16, 7))


@cache
def _library(channels: int, height: int, width: int, isa: str = "native") -> InputCacheLibrary:
    target = detect_target(isa)  # type: ignore[arg-type]
    return build_input_cache(InputCacheParams(height=height, width=width, channels=channels), target)


def _fed(found: CppInput, shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = shape
    stride = -(-channels // 4) * 4
    numbers = (ctypes.c_float * (height * width * stride)).from_address(found.fed)
    pixels = torch.from_numpy(np.frombuffer(numbers, np.float32).reshape(height, width, stride).copy())
    assert (pixels[..., channels:] == 0).all()
    return pixels[..., :channels].permute(2, 0, 1)[None]


@settings(max_examples=120, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    options=input_caches.OPTIONS,
    isa=st.sampled_from(["native", "portable"]),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_the_definition(shape: input_caches.Shape, options: InputOptions, isa: str, seed: int) -> None:
    def fed(found: InputProposal) -> Tensor:
        assert isinstance(found, CppInput)
        return _fed(found, shape)

    input_caches.check(CppInputCache(_library(*shape, isa), options), fed, shape, options, seed)


def test_only_the_last_proposal_can_be_committed() -> None:
    options = InputOptions(tau=0.0, scene_cut=1.0, mode="assembled", remap=True)
    test = CppInputCache(_library(*SHAPES[0]), options)
    image = torch.rand(1, *SHAPES[0])
    first, second = (test.propose(image, None, keyframe=True, given=None) for _ in range(2))
    with pytest.raises(StateError, match="not the last one"):
        test.commit(first)
    with pytest.raises(StateError, match="not the last one"):  # it is gone by now
        test.commit(second)


def test_what_does_not_fit_is_refused() -> None:
    options = InputOptions(tau=0.0, scene_cut=1.0, mode="assembled", remap=True)
    test = CppInputCache(_library(*SHAPES[0]), options)
    for image in (torch.rand(1, 3, 24, 41), torch.rand(1, *SHAPES[0]).double()):
        with pytest.raises(ShapeError, match=r"expected \(1, 3, 24, 40\)"):
            test.propose(image, None, keyframe=True, given=None)
    with pytest.raises(ShapeError, match="do not cover"):
        test.propose(torch.rand(1, *SHAPES[0]), MotionField.zero(8, 8), keyframe=True, given=None)


def test_a_proposal_is_good_until_the_next() -> None:
    options = InputOptions(tau=0.0, scene_cut=0.9, mode="assembled", remap=True)
    made, image = CppInputCache(_library(3, 24, 40), options), torch.rand(1, 3, 24, 40)
    first = made.propose(image, None, keyframe=True, given=None)
    second = made.propose(image, None, keyframe=True, given=None)
    with pytest.raises(StateError, match="not the last one"):
        first.mask()
    assert second.mask().all()
