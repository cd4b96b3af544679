"""Sessions on a canvas: where outputs lie, and what work is counted against."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fluxshard
from fluxshard.errors import ShapeError
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.testing.networks import TwoStrides
from fluxshard.testing.session_checks import EXACT

SIZE = (32, 48)
CANVAS_PX = 8
FILL = 0.25


@pytest.fixture(scope="module")
def net() -> TwoStrides:
    torch.manual_seed(0)
    return TwoStrides().eval()


def _compiled(net: TwoStrides, canvas_px: int) -> fluxshard.CompiledModel:
    options = fluxshard.CompileOptions(backend="reference", canvas_px=canvas_px)
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options)


@pytest.fixture(scope="module")
def model(net: TwoStrides) -> fluxshard.CompiledModel:
    return _compiled(net, CANVAS_PX)


def _planned(scene_cut: float = 1.0) -> fluxshard.ReuseOptions:
    planned = PlannedOptions(tau=0.02, wait_frames=0)
    return fluxshard.ReuseOptions(policy="planned", scene_cut=scene_cut, planned=planned, canvas_fill=FILL)


def _image(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def _on_canvas(image: Tensor, origin: tuple[int, int]) -> Tensor:
    y, x = origin
    return F.pad(image, (x, CANVAS_PX - x, y, CANVAS_PX - y), value=FILL)


def _pan(n: int, step: tuple[int, int], size: tuple[int, int] = SIZE) -> list[tuple[Tensor, MotionField | None]]:
    """A camera over a large picture whose content moves by `step`."""
    scene = _image(3, (size[0] + 128, size[1] + 128))
    frames: list[tuple[Tensor, MotionField | None]] = []
    for index in range(n):
        y, x = 64 - index * step[0], 64 - index * step[1]
        motion = MotionField.uniform(*size, *step) if index else None
        frames.append((scene[..., y : y + size[0], x : x + size[1]], motion))
    return frames


def _close(found: object, expected: object) -> None:
    assert isinstance(found, tuple) and isinstance(expected, tuple)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_whole_frames_are_the_net_on_the_padded_image(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    with model.session(_planned(scene_cut=1e-9)) as session, torch.inference_mode():
        for index, (image, motion) in enumerate(_pan(4, (3, -5))):
            found = session.run(image, motion)
            assert session.origin == (-3 * index % 8, 5 * index % 8)
            assert session.stats.keyframe
            _close(found, net(_on_canvas(image, session.origin)))
            assert found[1].shape == (1, 8, 20, 28) and found[2].shape == (1, 4, 10, 14)


@pytest.mark.parametrize("step", [(0, 0), (1, -2), (-7, 3)])
def test_propagated_reuse_is_exact_on_a_canvas(
    net: TwoStrides, model: fluxshard.CompiledModel, step: tuple[int, int]
) -> None:
    reuse = fluxshard.ReuseOptions(rfap=EXACT.rfap, input=EXACT.input, scene_cut=1.0, canvas_fill=FILL)
    with model.session(reuse) as session, torch.inference_mode():
        for image, motion in _pan(4, step):
            _close(session.run(image, motion), net(_on_canvas(image, session.origin)))
            assert session.stats.frame == 0 or not session.stats.keyframe


def test_work_is_counted_against_the_net_on_the_image(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    canvas, image = (40 // 2) * (56 // 2), (32 // 2) * (48 // 2)
    assert model.plan.image_size == (40, 56)
    assert model.plan.macs == canvas * 27 * 8 + canvas // 4 * 72 * 4
    with model.session(_planned()) as session:
        session.run(_image())
        stats = session.stats
        assert stats.keyframe and stats.compute_ratio == pytest.approx(canvas / image) and stats.compute_ratio > 1
        assert stats.recompute_ratio == 1  # of the pixels of the image, at most all
        changed = _image()
        changed[..., 8:16, 16:24] = 1.0
        session.run(changed)
        macs = 16 * 27 * 8 + 4 * 72 * 4
        assert session.stats.compute_ratio == pytest.approx(macs / (image * 27 * 8 + image // 4 * 72 * 4))
        assert session.stats.recompute_ratio == 64 / (32 * 48)
    with _compiled(net, 0).session(_planned()) as session:
        session.run(_image())
        assert session.stats.compute_ratio == 1 and session.origin == (0, 0)


@pytest.mark.parametrize("step", [(0, 3), (-1, 0), (2, -3), (1, 1)])
def test_a_pan_costs_less_on_a_canvas(net: TwoStrides, model: fluxshard.CompiledModel, step: tuple[int, int]) -> None:
    """On the image, features of stride 4 move by 4 or not at all, and the picture does not fit."""
    work = {}
    for canvas_px, compiled in ((CANVAS_PX, model), (0, _compiled(net, 0))):
        with compiled.session(_planned()) as session:
            ratios = []
            for image, motion in _pan(7, step, (64, 96)):  # small images are mostly borders
                session.run(image, motion)
                ratios.append(session.stats.compute_ratio)
            work[canvas_px] = ratios[1:]
    assert np.mean(work[CANVAS_PX]) < 0.6 * np.mean(work[0])
    assert min(work[0]) > 0.5


def test_regions_and_masks_are_those_of_the_canvas(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        session.run(_image())
        session.focus(np.zeros((5, 7), np.bool_))
        with pytest.raises(ShapeError, match=r"expected \(5, 7\) .*40x56 px"):
            session.focus(np.zeros((4, 6), np.bool_))
        assert session.recompute_mask().shape == (40, 56) and session.work_map().shape == (5, 7)
        assert session.planned is not None and session.planned.counts.input_cells == 40 * 56


def test_motion_is_given_for_the_image(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        session.run(_image())
        with pytest.raises(ShapeError, match=r"expected \(4, 6\)"):
            session.run(_image(), MotionField.zero(40, 56))
        session.run(_image(), MotionField.zero(32, 48, 16))
        assert session.stats.compute_ratio == 0 and session.stats.motion_source == "given"


def test_planned_is_counted_on_a_canvas(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        for image, motion in _pan(6, (3, -2)):
            session.run(image, motion)
            planned, found = session.planned, session.counted
            assert planned is not None and planned.counts.keyframe == found.keyframe
            assert planned.counts.input_cells == found.input_cells
            assert planned.counts.candidates.tolist() == found.candidates.tolist()


def test_a_stream_begins_in_the_corner_again(net: TwoStrides, model: fluxshard.CompiledModel) -> None:
    frames = _pan(3, (3, -5))
    with model.session(_planned()) as session, torch.inference_mode():
        expected: list[tuple[Tensor, ...]] = []
        for restart in (False, True):
            if restart:
                assert session.origin == (2, 2)
                session.reset()
                assert session.origin == (0, 0)
            for index, (image, motion) in enumerate(frames):
                found = session.run(image, motion)
                if restart:
                    assert all(torch.equal(one, two) for one, two in zip(found, expected[index], strict=True))
                else:
                    expected.append(found)
        other = _pan(2, (1, 1), (48, 32))
        session.run(*other[0])
        assert session.origin == (0, 0) and session.stats.keyframe
        session.run(*other[1])
        assert session.origin == (7, 7)
        _close(session.run(*frames[0]), net(_on_canvas(frames[0][0], (0, 0))))


def test_streams_have_a_canvas_each(model: fluxshard.CompiledModel) -> None:
    streams = [_pan(4, (3, 0)), _pan(4, (0, -2))]
    alone = []
    for frames in streams:
        with model.session(_planned()) as session:
            alone.append([(session.run(*frame), session.origin) for frame in frames])
    with model.session(_planned()) as one, model.session(_planned()) as two:
        for index in range(4):
            for session, frames, expected in zip((one, two), streams, alone, strict=True):
                outputs, origin = expected[index]
                found = session.run(*frames[index])
                assert session.origin == origin
                assert all(torch.equal(a, b) for a, b in zip(found, outputs, strict=True))


def test_outputs_are_the_callers(model: fluxshard.CompiledModel) -> None:
    """The net gives back its own input: that must not be the buffer that the next frame is drawn on."""
    frames = _pan(4, (3, -5))
    with model.session(_planned()) as clean, model.session(_planned()) as session:
        for image, motion in frames:
            given = image.clone()
            found = list(session.run(given, motion))
            expected = list(clean.run(image, motion))
            assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
            assert torch.equal(given, image)
            given.fill_(9.0)  # neither is the image kept
            for one in found:
                one.fill_(7.0)


def test_outputs_stay_as_they_are(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        found = [session.run(*frame) for frame in _pan(2, (3, -5))]
        kept = [[one.clone() for one in outputs] for outputs in found]
        for frame in _pan(4, (-2, 1)):
            session.run(*frame)
        for outputs, copies in zip(found, kept, strict=True):
            assert all(torch.equal(one, two) for one, two in zip(outputs, copies, strict=True))


def test_there_is_no_glance_at_a_canvas(model: fluxshard.CompiledModel) -> None:
    with model.session(_planned()) as session:
        session.run(_image())
        assert session.glance(_image()) is None
