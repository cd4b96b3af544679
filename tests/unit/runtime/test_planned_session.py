"""Sessions of planned reuse: what they compute, forget and refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fluxshard
from fluxshard.errors import ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.engines.engine import StepResult
from fluxshard.runtime.planned.policy import PlannedProposal
from fluxshard.testing.networks import TwoStrides

SIZE = (32, 48)


@pytest.fixture(scope="module")
def net() -> TwoStrides:
    torch.manual_seed(0)
    return TwoStrides().eval()


@pytest.fixture(scope="module")
def model(net: TwoStrides) -> fluxshard.CompiledModel:
    return fluxshard.compile(net, options=fluxshard.CompileOptions(backend="reference"))


def _image(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def _planned(scene_cut: float = 1.0, **given: Any) -> fluxshard.ReuseOptions:
    options = {"tau": 0.02, "wait_frames": 0, "margin_px": 0, "hold_frames": 3, **given}
    return fluxshard.ReuseOptions(policy="planned", scene_cut=scene_cut, planned=PlannedOptions(**options))


def _run(session: fluxshard.Session, image: Tensor, motion: MotionField | None = None) -> list[Tensor]:
    return list(session.run(image, motion))


def _same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def _patch(image: Tensor, value: float = 1.0) -> Tensor:
    """The image with the 8-px shard at (8, 16) painted over."""
    changed = image.clone()
    changed[..., 8:16, 16:24] = value
    return changed


def _pan(n: int, step: tuple[int, int], seed: int = 0) -> list[tuple[Tensor, MotionField]]:
    """A camera over a large picture whose content moves by `step`."""
    scene = _image(seed, (SIZE[0] + 128, SIZE[1] + 128))
    frames = []
    for index in range(n):
        y, x = 64 - index * step[0], 64 - index * step[1]
        frames.append((scene[..., y : y + SIZE[0], x : x + SIZE[1]], MotionField.uniform(*SIZE, *step)))
    return frames


def test_before_the_first_frame(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        assert session.planned is None and session.origin == (0, 0)
        with pytest.raises(StateError, match="run a frame first"):
            _ = session.counted
        with pytest.raises(StateError, match="no frame"):
            session.focus(np.zeros((4, 6), np.bool_))


def test_what_is_recomputed_is_right_and_the_rest_stays(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    """One patch changes by much, and everything by less than is seen."""
    image = _image()
    changed = _patch(image + 0.005)
    with model.session(_planned()) as session, torch.inference_mode():
        before = _run(session, image)
        after = _run(session, changed)
        assert not session.stats.keyframe and session.planned is not None and session.planned.work is not None
        assert session.stats.recompute_ratio == 64 / (32 * 48)
        macs = (16 * 27 * 8 + 4 * 72 * 4) / (384 * 27 * 8 + 96 * 72 * 4)
        assert session.stats.compute_ratio == pytest.approx(macs)
        expected = before[1].clone()
        expected[..., 4:8, 8:12] = torch.relu(net.first(changed))[..., 4:8, 8:12]
        torch.testing.assert_close(after[1], expected)
        second = before[2].clone()
        second[..., 2:4, 4:6] = net.second(expected)[..., 2:4, 4:6]
        torch.testing.assert_close(after[2], second)
        assert torch.equal(after[0], changed)  # fresh: the whole new frame is fed


def test_assembled_input_keeps_old_pixels(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    image = _image()
    reuse = fluxshard.ReuseOptions(policy="planned", scene_cut=1.0, input="assembled", planned=_planned().planned)
    with model.session(reuse) as session, torch.inference_mode():
        _run(session, image)
        fed, first, _ = _run(session, _patch(image + 0.005))
        expected = image.clone()
        expected[..., 8:16, 16:24] = 1.0
        assert torch.equal(fed, expected)
        right = torch.relu(net.first(expected))
        torch.testing.assert_close(first[..., 4:8, 8:12], right[..., 4:8, 8:12])


def test_large_changes_are_cuts(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    for scene_cut, keyframe in ((0.5, True), (1.0, False)):
        with model.session(_planned(scene_cut)) as session, torch.inference_mode():
            _run(session, _image(0))
            found = _run(session, _image(1))
            assert session.stats.keyframe == keyframe and session.planned is not None
            assert (session.planned.work is None) == keyframe and session.stats.compute_ratio == 1
            for one, other in zip(found, net(_image(1)), strict=True):
                torch.testing.assert_close(one, other)
            _run(session, _image(1))
            assert session.stats.compute_ratio == 0  # a cut is what later frames are compared with


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (np.zeros((4, 5), np.bool_), r"regions are \(4, 5\) bool; expected \(4, 6\) .*32x48 px"),
        (np.zeros((6, 4), np.uint8), r"\(6, 4\) uint8"),
        (np.zeros((4, 6, 1), np.bool_), r"\(4, 6, 1\)"),
        (np.zeros((4, 6), np.float32), "float32"),
        (np.zeros((4, 6), np.int64), "int64"),
    ],
)
def test_regions_of_another_kind(
    model: fluxshard.CompiledModel, regions: np.ndarray[Any, np.dtype[Any]], message: str
) -> None:
    for reuse in (_planned(), fluxshard.ReuseOptions()):
        with model.session(reuse) as session:
            _run(session, _image())
            with pytest.raises(ShapeError, match=message):
                session.focus(regions)
            _run(session, _image())
            assert session.stats.compute_ratio == 0  # the stream goes on


def test_focus(model: fluxshard.CompiledModel) -> None:
    regions = np.zeros((4, 6), np.bool_)
    regions[1, 2] = True
    with model.session(_planned(tau_background=0.9)) as session:
        _run(session, torch.full((1, 3, *SIZE), 0.2))
        session.focus(regions)
        regions[:] = False  # what was given is kept
        _run(session, torch.full((1, 3, *SIZE), 0.4))
        expected = np.zeros(SIZE, np.bool_)
        expected[8:16, 16:24] = True
        assert (session.recompute_mask() == expected).all()


def test_other_policies_ignore_focus(model: fluxshard.CompiledModel) -> None:
    with model.session(exact=True) as session:
        _run(session, _image())
        session.focus(np.zeros((4, 6), np.bool_))
        _run(session, _patch(_image()))
        assert session.planned is None and session.stats.recompute_ratio == 64 / (32 * 48)


def test_given_work_makes_the_next_frame_whole(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    """What features stand for is known of planned work only."""
    nothing = {index: np.zeros((32 >> index, 48 >> index), np.bool_) for index in range(3)}
    with model.session(_planned()) as session, torch.inference_mode():
        first = _run(session, _image())
        kept = list(session.run_with_work(_patch(_image()), None, nothing))
        assert _same(kept[1:], first[1:]) and session.stats.compute_ratio == 0
        found = _run(session, _patch(_image()))
        assert session.stats.keyframe
        for one, other in zip(found, net(_patch(_image())), strict=True):
            torch.testing.assert_close(one, other)
        _run(session, _patch(_image()))
        assert session.stats.compute_ratio == 0
    with model.session(_planned()) as session:
        session.run_with_work(_image(), None, nothing)
        assert session.stats.keyframe and session.planned is None  # the first frame is whole in any case


def test_a_frame_that_failed_is_not_reused(model: fluxshard.CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with model.session(_planned()) as session:
        _run(session, _image())
        engine = model.specialise(_image()).program.engine
        with monkeypatch.context() as patch:

            def fails(*_: object) -> StepResult:
                raise RuntimeError("no")

            patch.setattr(engine, "step", fails)
            with pytest.raises(RuntimeError, match="no"):
                session.run(_patch(_image()))
            with pytest.raises(StateError):
                _ = session.counted
        _run(session, _patch(_image()))
        assert session.stats.keyframe


def test_not_finite_pixels_are_never_reused(model: fluxshard.CompiledModel) -> None:
    broken = _image()
    broken[0, 0, 3, 3] = float("nan")
    with model.session(_planned()) as session:
        found = []
        for image in (broken, _image(), _image(), broken, broken, _image(), _image()):
            _run(session, image)
            found.append(session.stats.compute_ratio)
    assert found == [1, 1, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("tau_input", [0.0, 0.1])
def test_dense_execution_is_the_net_itself(net: TwoStrides, model: fluxshard.CompiledModel, tau_input: float) -> None:
    """The "w/o sparse" ablation: everything is computed, and S_0 is that of sparse execution."""
    frames = [(_image(), None), (_patch(_image() * 0.97), None), *_pan(3, (2, -3)), (_pan(3, (2, -3))[2][0], None)]
    options = {"input": "fresh", "tau_input": tau_input, "scene_cut": 1.0}
    sparse = fluxshard.ReuseOptions(**options)  # type: ignore[arg-type]
    dense = fluxshard.ReuseOptions(execution="dense", **options)  # type: ignore[arg-type]
    with model.session(dense) as one, model.session(sparse) as two, torch.inference_mode():
        shares = []
        for image, motion in frames:
            for found, expected in zip(one.run(image, motion), net(image), strict=True):
                torch.testing.assert_close(found, expected)
            two.run(image, motion)
            assert (one.recompute_mask() == two.recompute_mask()).all()
            assert one.stats.recompute_ratio == two.stats.recompute_ratio
            assert one.stats.compute_ratio == 1
            shares.append(one.stats.recompute_ratio)
        assert shares[0] == 1 and shares[-1] == 0 and 0 < shares[-2] < 1
        assert one.stats.layers_executed > 0 == two.stats.layers_executed


def test_reset_forgets_regions_and_plans(model: fluxshard.CompiledModel) -> None:
    frames = [torch.full((1, 3, *SIZE), value) for value in (0.2, 0.4, 0.6)]
    with model.session(_planned(tau_background=0.9)) as session:
        _run(session, frames[0])
        session.focus(np.zeros((4, 6), np.bool_))
        _run(session, frames[1])
        assert session.stats.compute_ratio == 0  # away from all regions
        session.reset()
        assert session.planned is None
        with pytest.raises(StateError):
            _ = session.counted
        _run(session, frames[1])
        assert session.stats.keyframe and session.stats.frame == 0
        _run(session, frames[2])
        assert session.stats.compute_ratio == 1  # no regions are known: all of the image is near


def test_another_size_starts_anew(model: fluxshard.CompiledModel) -> None:
    sizes = ((32, 48), (48, 32), (32, 48))
    with model.session(_planned(tau_background=0.9)) as session:
        for height, width in sizes:
            image = torch.full((1, 3, height, width), 0.2)
            _run(session, image, MotionField.uniform(height, width, 3, 3))
            assert session.stats.keyframe and session.stats.motion_source == "none"
            _run(session, image + 0.2)
            assert session.planned is not None and session.stats.recompute_ratio == 1  # regions are gone
            assert session.planned.shards[0].shape == (height // 8, width // 8)
            session.focus(np.zeros((height // 8, width // 8), np.bool_))


def test_streams_do_not_see_each_other(model: fluxshard.CompiledModel) -> None:
    streams = [_pan(5, (4, 0), 1), _pan(5, (0, -3), 2)]
    alone = []
    for frames in streams:
        with model.session(_planned()) as session:
            alone.append([(_run(session, *frame), session.counted.candidates.tolist()) for frame in frames])
    with model.session(_planned()) as one, model.session(_planned()) as two:
        for index in range(5):
            for session, frames, expected in zip((one, two), streams, alone, strict=True):
                found = _run(session, *frames[index])
                assert _same(found, expected[index][0])
                assert session.counted.candidates.tolist() == expected[index][1]


def test_what_is_given_and_returned_is_the_callers(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        image = _image()
        first = _run(session, image)
        kept = [one.clone() for one in first]
        image.zero_()  # the stream has its own copy of what it compares with
        second = _run(session, _image())
        assert session.stats.compute_ratio == 0 and _same(second, kept)
        for one in second:
            one.fill_(7.0)
        assert _same(first, kept) and _same(_run(session, _image()), kept)


def test_a_glance_is_what_the_proposal_says_of_the_coarsest_level(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session, model.session(_planned()) as other:
        assert session.glance(_image()) is None  # the first frame is a keyframe
        for number, (image, motion) in enumerate(_pan(4, (2, 0))):
            image = _patch(image) if number else image
            if number:
                found, proposal = session.glance(image, motion), other.propose(image, motion)
                assert isinstance(proposal, PlannedProposal) and found is not None
                assert np.array_equal(found, proposal.frame.shards[-1])
                session.glance(_image(number), None)
            assert _same(_run(session, image, motion), _run(other, image, motion))
        assert session.glance(_image(size=(48, 48))) is None
        assert session.glance(image * float("nan")) is None
    with pytest.raises(StateError, match="closed"):
        session.glance(image)


def test_only_planned_reuse_glances(model: fluxshard.CompiledModel) -> None:
    with model.session(fluxshard.ReuseOptions(policy="propagated")) as session:
        session.run(_image())
        assert session.glance(_image()) is None
