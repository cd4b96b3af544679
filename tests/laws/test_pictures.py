"""Bytes and floats are one: what a session makes of a uint8 image is, bit for bit, what it makes of the floats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.options import Backend, DType
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import EXACT
from tests.laws.nets import RandomNet

pytestmark = pytest.mark.requires_compiler
BACKENDS: tuple[tuple[Backend, DType], ...] = (("cpp", "float32"), ("cpp", "bfloat16"), ("reference", "float32"))
PLANNED = fluxshard.ReuseOptions(policy="planned", scene_cut=1.0)
REUSE = {
    "planned": PLANNED,
    "planned, assembled": replace(PLANNED, input="assembled"),
    "propagated": fluxshard.ReuseOptions(tau_input=0.02, tau=0.01),
    "exact": EXACT,
}
SEEDS = tuple(range(300, 304))
Bytes = NDArray[np.uint8]


class Stem(nn.Module):
    """A stem, and layers that read the image in other ways where `everywhere` says so."""

    def __init__(self, channels: int, stride: int, everywhere: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, stride, 1)
        self.next = nn.Conv2d(8, 8, 3, 2, 1)
        self.point = nn.Conv2d(channels, 4, 1) if everywhere else None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        deep = self.next(torch.nn.functional.silu(self.stem(x)))
        return (deep,) if self.point is None else (deep, self.point(x) + 1.0, nn.functional.max_pool2d(x, 2))


@cache
def _random(seed: int, backend: Backend, dtype: DType) -> tuple[RandomNet, fluxshard.CompiledModel]:
    net = RandomNet(seed, 8)
    options = fluxshard.CompileOptions(backend=backend, dtype=dtype)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=options)


@cache
def _stem(channels: int, size: tuple[int, int], everywhere: bool, backend: Backend, dtype: DType, canvas_px: int = 0,
          ) -> fluxshard.CompiledModel:  # fmt: skip
    torch.manual_seed(channels)
    net = Stem(channels, 1 + channels % 2, everywhere).eval()
    options = fluxshard.CompileOptions(backend=backend, dtype=dtype, canvas_px=canvas_px)
    return fluxshard.compile(net, torch.zeros(1, channels, *size), options=options)


def _floats(pixels: Bytes) -> Tensor:
    """`(H, W, C)` as the float image `(1, C, H, W)`."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])).to(torch.float32) / 255


def _stream(size: tuple[int, int], channels: int, n: int, seed: int) -> Iterator[tuple[Bytes, MotionField | None]]:
    """Noise in which patches change; everything moves by a pixel, or by eight, or not at all."""
    rng = np.random.default_rng(seed)
    pixels, motion = rng.integers(0, 256, (*size, channels), np.uint8), None
    for index in range(n):
        yield pixels.copy(), motion
        step = (8, 0, 1)[index % 3]
        pixels, motion = np.roll(pixels, step, 1), MotionField.uniform(*size, 0, step)
        y, x = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 6)
        pixels[y : y + 6, x : x + 6] = rng.integers(0, 256, (6, 6, channels), np.uint8)


def _views(pixels: Bytes) -> dict[str, Any]:
    """The same picture as it may lie in memory."""
    wide = np.zeros((pixels.shape[0] + 3, 2 * pixels.shape[1], pixels.shape[2]), np.uint8)
    wide[3:, ::2] = pixels
    views: dict[str, Any] = {
        "together": torch.from_numpy(pixels).permute(2, 0, 1)[None],
        "planes": torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None],
        "every second column": torch.from_numpy(wide)[3:, ::2].permute(2, 0, 1)[None],
    }
    if pixels.shape[2] == 3:
        mirrored, frozen = pixels[..., ::-1].copy(), pixels.copy()
        frozen.flags.writeable = False
        views |= {
            "numpy": pixels, "torch": torch.from_numpy(pixels), "mirrored": mirrored[..., ::-1], "read-only": frozen,
        }  # fmt: skip
    return views


def _check(model: fluxshard.CompiledModel, reuse: fluxshard.ReuseOptions, stream: Any,
           floats: Callable[[Bytes], Tensor] = _floats) -> float:  # fmt: skip
    """Runs a stream as floats, and as bytes in every order of memory; returns the least work of a frame."""
    (first, *_), ratios = stream, []
    names = tuple(_views(first[0]))
    sessions = [model.session(reuse) for _ in names]
    with model.session(reuse) as expected:
        for pixels, motion in stream:
            proposed = expected.propose(floats(pixels), motion).input_mask()
            wanted = expected.run(floats(pixels), motion)
            for name, session in zip(names, sessions, strict=True):
                given = _views(pixels)[name]
                assert np.array_equal(session.propose(given, motion).input_mask(), proposed), name
                assert_same(session.run(given, motion), wanted, tolerance=0.0)
                assert np.array_equal(session.counted.candidates, expected.counted.candidates), name
                glanced, same = session.glance(given, motion), expected.glance(floats(pixels), motion)
                assert (glanced is None) == (same is None), name
                assert glanced is None or np.array_equal(glanced, same), name
            ratios.append(expected.stats.compute_ratio)
    for session in sessions:
        session.close()
    return min(ratios)


@pytest.mark.parametrize("reuse", REUSE)
@pytest.mark.parametrize(("backend", "dtype"), BACKENDS)
@settings(max_examples=6, deadline=None)
@given(net_seed=st.sampled_from(SEEDS), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_bytes_are_floats(backend: Backend, dtype: DType, reuse: str, net_seed: int, kind: str, seed: int) -> None:
    net, model = _random(net_seed, backend, dtype)
    stream = [
        (
            (image[0].permute(1, 2, 0).nan_to_num(0.0, 1.0, 0.0).clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
            motion,
        )
        for image, motion in frames(kind, net.size, 3, seed)
    ]
    _check(model, REUSE[reuse], stream)


@pytest.mark.parametrize("reuse", REUSE)
@pytest.mark.parametrize(("channels", "size", "everywhere"), [(1, (74, 101), False), (3, (72, 104), True),
                                                              (3, (70, 99), False), (5, (65, 97), True)])  # fmt: skip
@pytest.mark.parametrize(("backend", "dtype"), BACKENDS)
def test_any_channels_and_sizes(
    backend: Backend, dtype: DType, channels: int, size: tuple[int, int], everywhere: bool, reuse: str
) -> None:
    model = _stem(channels, size, everywhere, backend, dtype)
    ratio = _check(model, REUSE[reuse], list(_stream(size, channels, 5, channels)))
    assert 0 < ratio < 1  # frames are incremental, or nothing has been shown


@pytest.mark.parametrize(("backend", "dtype"), BACKENDS)
@pytest.mark.parametrize("fill", [114 / 255, 0.3999])  # a byte, and none
def test_on_a_canvas(backend: Backend, dtype: DType, fill: float) -> None:
    model = _stem(3, (40, 72), False, backend, dtype, canvas_px=8)
    for reuse in (PLANNED, EXACT):
        _check(model, replace(reuse, canvas_fill=fill), list(_stream((40, 72), 3, 4, 0)))


@pytest.mark.parametrize("pixel_range", [(-1.0, 1.0), (-2.5, 70.0), (1e6, 1e6 + 1)])  # in the last, values are equal
@pytest.mark.parametrize(("backend", "dtype"), BACKENDS)
def test_bytes_stand_for_what_the_options_say(backend: Backend, dtype: DType, pixel_range: tuple[float, float]) -> None:
    model = _stem(3, (40, 72), False, backend, dtype)
    low, high = pixel_range

    def floats(pixels: Bytes) -> Tensor:
        values = (low + pixels.transpose(2, 0, 1)[None].astype(np.float64) * (high - low) / 255).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(values))

    for reuse in (PLANNED, EXACT):
        planned = replace(reuse.planned, pixel_range=pixel_range)
        _check(model, replace(reuse, planned=planned), list(_stream((40, 72), 3, 4, 0)), floats)
