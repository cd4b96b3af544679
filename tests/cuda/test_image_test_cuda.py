"""The image test of planned reuse as emulated kernels against its definition in numpy, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import fluxshard
from fluxshard.codegen.cpp.image_test import image_test_params
from fluxshard.codegen.cuda.emulate.loader import EmulatedLoader
from fluxshard.codegen.cuda.image_test import CudaImageTestProgram, fits_device
from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.options import OBJECT, PlannedOptions
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.runtime.engines.cuda_proposal import DeviceMotion, DeviceWork
from fluxshard.runtime.planned.cuda_image_test import CudaImageTest
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.planner import ImageTest
from fluxshard.testing.moving_frames import frames as moving_frames
from tests.cuda.small_net import SIZE, small_model
from tests.host.shard_streams import CASES, Case, assert_same, chosen, decided, frames, run_alike

pytestmark = pytest.mark.requires_compiler
TINY = torch.zeros(1, 2, 5, 19)


def new_program(case: Case) -> CudaImageTestProgram:
    levels = case.thresholds(PlannedOptions())
    params = image_test_params(case.grids[0], case.channels, levels, case.grids)
    return CudaImageTestProgram(params, len(case.grids), EmulatedLoader())


program = cache(new_program)


def both(case: Case, options: PlannedOptions) -> tuple[ReferenceImageTest, CudaImageTest]:
    levels = case.thresholds(options)
    defined = ReferenceImageTest(case.grids[0], levels, case.grids, options)
    return defined, CudaImageTest(program(case), EmulatedDevice(), levels, options)


def varied(seed: int) -> PlannedOptions:
    return PlannedOptions(
        tau=[0.0, 0.01, 0.03, 0.06][seed % 4], tau_background=[None, 0.1][seed % 2],
        tau_small=[None, 0.015][seed // 2 % 2], tau_stray=[0.02, 0.1][seed % 2], wait_frames=seed % 3,
        refresh_frames=[0, 5][seed % 2], hold_frames=seed % 4, margin_px=[0, 8, 20, 300][seed % 4],
        candidates=seed != 5, pixel_range=[(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.118, 2.64)][seed % 4],
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(6))
def test_masks_motion_and_cells_are_those_of_the_definition(name: str, seed: int) -> None:
    run_alike(CASES[name], varied(seed), seed, both(CASES[name], varied(seed)), n=5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_of_many_more_streams(name: str) -> None:
    for seed in range(100, 140):
        run_alike(CASES[name], varied(seed), seed, both(CASES[name], varied(seed)), n=6)


def test_the_streams_of_these_tests_have_masks_of_all_kinds() -> None:
    options = PlannedOptions(tau=0.05)
    shares = [
        float(mask.mean())
        for seed in range(4)
        for masks in run_alike(CASES["large"], options, seed, both(CASES["large"], options))
        for mask in masks
    ]
    assert np.mean([0.02 < share < 0.98 for share in shares]) > 0.3
    assert min(shares) < 0.02 and max(shares) > 0.9


@pytest.mark.parametrize("order", ["reverse", "alternate"])
def test_the_order_of_threads_changes_nothing(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUXSHARD_EMULATOR_ORDER", order)
    for name in ("odd", "lagging"):
        case, options = CASES[name], varied(1)
        levels = case.thresholds(options)
        test = CudaImageTest(new_program(case), EmulatedDevice(), levels, options)
        run_alike(case, options, 7, (ReferenceImageTest(case.grids[0], levels, case.grids, options), test), n=4)


@pytest.mark.parametrize("low_high", [(0.0, 1.0), (1e6, 1e6 + 1)])
def test_bytes_are_the_floats_that_they_stand_for(low_high: tuple[float, float]) -> None:
    """Where values are so far from zero that several bytes stand for one, as well; whatever the strides are."""
    options, rng = PlannedOptions(tau=0.02, pixel_range=low_high), np.random.default_rng(0)
    tests: tuple[ImageTest, ImageTest] = both(CASES["odd"], options)
    pixels = torch.from_numpy(rng.integers(0, 256, (1, 61, 83, 3), np.uint8)).permute(0, 3, 1, 2)
    assert not pixels.is_contiguous()
    assert [test.keyframe(pixels) for test in tests] == [True, True]
    for image in (pixels + (torch.rand(1, 3, 61, 83) > 0.99), pixels.contiguous(), pixels.flip(3)):
        assert_same(*(decided(test, image, None) or () for test in tests))


# ---- what stays on the device


def planned_session(fetched: list[int], monkeypatch: pytest.MonkeyPatch) -> fluxshard.Session:
    """A session on a device that notes the bytes that are fetched from it."""
    fetch: Callable[[EmulatedDevice, Tensor], NDArray[Any]] = EmulatedDevice.fetch

    def noted(self: EmulatedDevice, source: Tensor) -> NDArray[Any]:
        fetched.append(source.nbytes)
        return fetch(self, source)

    monkeypatch.setattr(EmulatedDevice, "fetch", noted)
    return small_model().session(fluxshard.ReuseOptions(policy="planned", scene_cut=1.0))


def test_a_planned_frame_fetches_shards_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the picture nor masks of cells nor motion: those are read where they are."""
    fetched: list[int] = []
    pixels = 3 * SIZE[0] * SIZE[1]
    with planned_session(fetched, monkeypatch) as session:
        for number, (image, motion) in enumerate(moving_frames("garbage", SIZE, 5, 3)):
            fetched.clear()
            session.run(image, motion)
            assert len(fetched) == 1 and fetched[0] < pixels / 8, number
        assert session.stats.compute_ratio > 0


def test_a_proposal_is_read_where_it_is_until_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []
    with planned_session(fetched, monkeypatch) as session:
        strayed = 0
        for number, (image, motion) in enumerate(moving_frames("garbage", SIZE, 6, 3)):
            if number:
                stream = session._stream
                assert stream is not None
                proposal = stream.policy.propose(image, motion)
                fetched.clear()
                work = proposal.control.work
                assert isinstance(work, DeviceWork) and len(work) == len(list(work)) and 0 in work
                assert not fetched
                assert np.array_equal(proposal.input_mask(), work[0]) and fetched == [SIZE[0] * SIZE[1]]
                if isinstance(proposal.motion, DeviceMotion):
                    strayed += 1
                    assert proposal.motion.image.valid.shape == proposal.motion.levels[0].valid.shape
                    assert len(fetched) == 3  # displacements, and where they are known
            session.run(image, motion)
        assert strayed


def test_memory_of_the_test_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with planned_session([], monkeypatch) as session:
        session.run(torch.zeros(1, 3, *SIZE))
        stream = session._stream
        assert stream is not None and stream.policy.n_bytes > 8 * 3 * SIZE[0] * SIZE[1]


# ---- what is refused


def test_only_the_last_proposal_can_be_committed() -> None:
    _, test = both(CASES["tiny"], PlannedOptions())
    test.keyframe(TINY)
    first, second = test.propose(TINY, None), test.propose(TINY, None)
    assert first is not None and second is not None
    for stale in (first, second):
        with pytest.raises(StateError, match="not the last one"):
            test.commit(stale)
    regions = np.full((1, 3), OBJECT, np.uint8)
    for change in (partial(test.glance, TINY, None), partial(test.keyframe, TINY), partial(test.focus, regions)):
        late = test.propose(TINY, None)
        assert late is not None
        change()
        with pytest.raises(StateError, match="not the last one"):
            test.commit(late)


def test_two_streams_share_kernels_and_nothing_else() -> None:
    case = CASES["tiny"]
    pairs = [both(case, PlannedOptions(tau=0.02)) for _ in range(2)]
    streams = [list(frames(case, PlannedOptions(), 5, np.random.default_rng(seed))) for seed in range(2)]
    for number in range(5):
        for pair, stream in zip(pairs, streams, strict=True):
            image, motion = stream[number]
            if number == 0:
                assert [test.keyframe(image) for test in pair] == [True, True]
            else:
                expected, found = (chosen(test, image, motion) for test in pair)
                assert expected is not None and found is not None
                assert_same(expected.shards, found.shards)


def test_what_does_not_fit_the_program_is_refused() -> None:
    case, other = CASES["odd"], CASES["tiny"]
    _, test = both(case, PlannedOptions())
    black = torch.zeros(1, 3, 61, 83)
    with pytest.raises(StateError, match="keyframe"):
        test.propose(black, None)
    for image in (black[:, :2], black[..., :-1], black.double()):
        with pytest.raises(ShapeError, match=r"expected \(1, 3, 61, 83\)"):
            test.keyframe(image)
    with pytest.raises(ShapeError, match="image is on meta; expected cpu"):
        test.keyframe(black.to("meta"))
    test.keyframe(black)
    with pytest.raises(ShapeError, match="do not cover"):
        test.propose(black, MotionField.zero(61, 75))
    with pytest.raises(ValueError, match="masks of"):
        CudaImageTest(program(case), EmulatedDevice(), other.thresholds(PlannedOptions()), PlannedOptions())


@pytest.mark.parametrize(
    ("case", "fits"),
    [
        (CASES["fractions"], True),
        (Case((16, 16), 3, ()), False),  # no level
        (Case((16, 16), 3, tuple((2, 2, 8, 1, 0) for _ in range(40))), False),  # more than arguments hold
    ],
)
def test_what_kernels_do_not_hold_is_for_the_processor(case: Case, fits: bool) -> None:
    levels = case.thresholds(PlannedOptions())
    assert fits_device(image_test_params(case.grids[0], case.channels, levels, case.grids)) == fits
