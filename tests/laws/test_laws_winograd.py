"""The laws of reuse where 3x3 convolutions are computed in tiles of 2x2 cells, whose sums depend on a cell's parity."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluxshard
from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp.lowering import describe
from fluxshard.motion import MotionField
from fluxshard.options import DType
from fluxshard.testing.moving_frames import KINDS, frames
from fluxshard.testing.session_checks import EXACT, check_against_dense
from tests.laws import planned
from tests.laws.not_finite import check_nan_and_infinity

pytestmark = pytest.mark.requires_compiler
SIZE = 39, 46  # of the image; grids of 20x23 and 10x12 cells
NEAR = {"float32": 2e-4, "bfloat16": 0.06}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


class Sliding(nn.Module):
    """Bottlenecks of whole vectors of channels at two strides, what is upsampled joined to what is not."""

    def __init__(self) -> None:
        super().__init__()
        self.size = SIZE
        self.stem, self.down = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.high, self.low = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.joined, self.valid = nn.Conv2d(48, 32, 3, padding=1), nn.Conv2d(32, 5, 3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = nn.functional.silu(self.stem(image))
        fine = fine + nn.functional.silu(self.high(fine))
        coarse = nn.functional.silu(self.down(fine))
        coarse = coarse + nn.functional.silu(self.low(coarse))
        wide = nn.functional.interpolate(coarse, scale_factor=2.0)[:, :, :, : fine.shape[3]]
        return {"out": self.valid(nn.functional.silu(self.joined(torch.cat([wide, fine], 1))))}


@cache
def _compiled(dtype: DType) -> tuple[Sliding, fluxshard.CompiledModel]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Sliding().eval()
    options = fluxshard.CompileOptions(backend="cpp", dtype=dtype)
    return net, fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options)


@DTYPES
@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_near_the_network_at_zero_thresholds(dtype: DType, kind: str, seed: int) -> None:
    """Law 1."""
    net, model = _compiled(dtype)
    with model.session(EXACT) as session:
        list(check_against_dense(net, session, frames(kind, SIZE, 4, seed), NEAR[dtype]))


@DTYPES
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_cells_do_not_depend_on_those_they_are_computed_with(dtype: DType, seed: int) -> None:
    """Bits are those of a whole frame, whatever part of a tile is computed."""
    _, model = _compiled(dtype)
    rng = np.random.default_rng(seed)
    with model.session(EXACT) as session, model.session(EXACT) as whole:
        image = torch.from_numpy(rng.random((1, 3, *SIZE), np.float32))
        for _ in range(4):
            y, x = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
            image[:, :, y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = float(rng.random())
            out = session.run(image.clone(), MotionField.zero(*SIZE))
            whole.reset()
            assert torch.equal(out["out"], whole.run(image.clone())["out"])


@DTYPES
def test_what_moves_by_whole_tiles_keeps_its_bits(dtype: DType) -> None:
    """Eight pixels are two cells of the coarsest grid: all parities stay."""
    _, model = _compiled(dtype)
    scene = torch.from_numpy(np.random.default_rng(0).random((1, 3, 64, 80), np.float32))
    with model.session(EXACT) as session, model.session(EXACT) as whole:
        for step in range(3):
            image = scene[:, :, 24 - 8 * step :, 24 - 8 * step :][:, :, : SIZE[0], : SIZE[1]].contiguous()
            motion = MotionField.uniform(*SIZE, 8, 8) if step else None
            out = session.run(image, motion)
            whole.reset()
            assert torch.equal(out["out"], whole.run(image)["out"])
            assert session.stats.compute_ratio < 1 or not step


@DTYPES
@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31), which=st.integers(0, len(planned.SETTINGS) - 1))
def test_predicted_work_is_executed_work(dtype: DType, kind: str, seed: int, which: int) -> None:
    _, model = _compiled(dtype)
    planned.check_predictions(model, model.session, SIZE, kind, seed, which)


@DTYPES
def test_nan_and_infinity_pass_through_and_leave(dtype: DType) -> None:
    net, model = _compiled(dtype)
    check_nan_and_infinity(net, model, 0, NEAR[dtype])


def test_the_network_is_computed_in_tiles() -> None:
    _, model = _compiled("float32")
    families = [getattr(step, "family", "") for step in describe(model.plan, detect_target()).steps]
    assert families.count("winograd") == 4 and families.count("gemm") == 2
