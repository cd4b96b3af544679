"""Generated median prediction against its definition in numpy, bit for bit, and what it refuses."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.wire.median_predictor import (
    MedianPredictorLibrary,
    MedianPredictorParams,
    build_median_predictor,
)
from fluxshard.errors import KernelError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.packed_payload import PackedPayload
from fluxshard.cloud.wire.pixels.cpp_median_predictor import CppMedianPredictor, median_predictor
from fluxshard.cloud.wire.pixels.median_predictor import ReferenceMedianPredictor
from tests.unit.cloud.wire.pictures import KINDS, masks, picture

WIDEST = 300


@cache
def library(isa: str) -> MedianPredictorLibrary:
    target = detect_target(isa)  # type: ignore[arg-type]
    return build_median_predictor(MedianPredictorParams(most_columns=WIDEST), target)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 150)),
    kind=KINDS,
    isa=st.sampled_from(["native", "portable"]),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_the_definition(size: tuple[int, int], kind: str, isa: str, seed: int) -> None:
    pixels, found, expected = picture(size, kind, seed), CppMedianPredictor(library(isa)), ReferenceMedianPredictor()
    for mask in masks(size, seed):
        residuals = expected.residuals(pixels, mask)
        assert (found.residuals(pixels, mask) == residuals).all()
        noise = np.random.default_rng(seed).integers(0, 256, residuals.shape, np.uint8)  # as a stranger would send
        for some in (residuals, noise):
            images = [picture(size, "noise", seed + 1) for _ in range(2)]
            for predictor, image in zip((found, expected), images, strict=True):
                predictor.restore(some, mask, image)
            assert (images[0] == images[1]).all()
        assert (images[0][~mask] == picture(size, "noise", seed + 1)[~mask]).all()


def test_the_widest_picture() -> None:
    size = (9, WIDEST)
    pixels, predictor = picture(size, "smooth", 0), CppMedianPredictor(library("native"))
    for mask in masks(size, 1):
        image = np.zeros((*size, 3), np.uint8)
        predictor.restore(predictor.residuals(pixels, mask), mask, image)
        assert (image[mask] == pixels[mask]).all() and not image[~mask].any()


@pytest.mark.parametrize("count", [0, 1, 19, 21, 1000])
def test_residuals_that_do_not_fit_the_mask_are_refused(count: int) -> None:
    mask = np.zeros((10, 30), np.bool_)
    mask[2:6, 3:8] = True
    image, residuals = np.zeros((10, 30, 3), np.uint8), np.zeros((3, count), np.uint8)
    for run in (
        lambda: library("native").encode(image, mask, residuals),
        lambda: library("native").decode(residuals, mask, image),
    ):
        with pytest.raises(KernelError, match="do not fit the mask of 10x30 px"):
            run()


def test_pictures_that_are_too_wide_are_refused() -> None:
    mask = np.ones((1, WIDEST + 1), np.bool_)
    image, residuals = np.zeros((1, WIDEST + 1, 3), np.uint8), np.zeros((3, WIDEST + 1), np.uint8)
    with pytest.raises(KernelError, match=f"wider than {WIDEST} px"):
        library("native").encode(image, mask, residuals)


def test_payloads_are_equal_with_and_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (33, 47)
    generated = PackedPayload(*size)
    assert isinstance(generated.predictor, CppMedianPredictor)
    monkeypatch.setenv("CXX", "no-such-compiler")
    plain = PackedPayload(*size)
    assert isinstance(plain.predictor, ReferenceMedianPredictor)
    pixels = picture(size, "smooth", 0)
    for mask in masks(size, 1):
        assert generated.encode(pixels, mask) == plain.encode(pixels, mask)


def test_one_predictor_serves_many_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    predictor, size = median_predictor(), (64, 96)
    pictures = [picture(size, "noise", seed) for seed in range(8)]
    mask = masks(size, 0)[2]
    expected = [ReferenceMedianPredictor().residuals(one, mask) for one in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            found = pool.map(lambda one: predictor.residuals(one, mask), pictures)
            assert all((a == b).all() for a, b in zip(found, expected, strict=True))
