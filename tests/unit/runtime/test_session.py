"""Sessions: what they check, count and forget."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fluxshard
from fluxshard.errors import OptionError, ShapeError, StateError
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program

SIZE = (32, 48)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1)).eval()


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    return fluxshard.compile(_net(), torch.zeros(1, 3, *SIZE), options=fluxshard.CompileOptions(backend="reference"))


def _image(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_counts_what_is_executed(model: fluxshard.CompiledModel) -> None:
    """One pixel touches known cells: one layer-1 window in four, and what grows out of it."""
    with model.session(fluxshard.ReuseOptions(rfap="per_layer")) as session:
        session.run(_image())
        assert session.stats.keyframe and session.stats.compute_ratio == 1 and session.stats.frame == 0
        changed = _image()
        changed[0, 1, 8, 8] += 0.5  # read by the windows of cell (4, 4) only: 2 p - 1 <= 8 <= 2 p + 1
        session.run(changed)
    stats = session.stats
    assert stats.frame == 1 and not stats.keyframe and stats.layers_executed == 2
    assert stats.recompute_ratio == 1 / (32 * 48)
    macs = (9 * 3 * 8 * 1 + 9 * 8 * 4 * 9) / (16 * 24)
    assert stats.compute_ratio == pytest.approx(macs / (9 * 3 * 8 + 9 * 8 * 4))
    assert stats.latency_ms >= stats.inference_ms > 0
    assert set(stats.as_dict()) >= {"frame", "placement", "motion_source", "bytes_sent", "overhead_ms"}


def test_masks_and_work_map(model: fluxshard.CompiledModel) -> None:
    with model.session(fluxshard.ReuseOptions(rfap="per_layer")) as session:
        session.run(_image())
        assert session.recompute_mask().all() and (session.work_map() == 1).all()
        changed = _image()
        changed[0, :, 8:16, 16:24] += 0.5
        session.run(changed)
        mask = np.zeros(SIZE, np.bool_)
        mask[8:16, 16:24] = True
        assert (session.recompute_mask() == mask).all()
        work = session.work_map()
    assert work.shape == (4, 6) and work[1, 2] == pytest.approx(1) and work[3].max() == 0 and 0 < work[0, 2] < 1


def test_scene_cut_is_a_keyframe(model: fluxshard.CompiledModel) -> None:
    with model.session(fluxshard.ReuseOptions(scene_cut=0.5)) as session:
        session.run(_image(0))
        session.run(_image(1), MotionField.uniform(*SIZE, 3, 5))
        assert session.stats.keyframe and session.stats.compute_ratio == 1
    with model.session(fluxshard.ReuseOptions(scene_cut=1.0)) as session:
        session.run(_image(0))
        session.run(_image(1))
        assert not session.stats.keyframe


def test_thresholds_keep_the_cached_value(model: fluxshard.CompiledModel) -> None:
    """Slow drift is compared with the old value, so it adds up until it is seen."""
    with model.session(fluxshard.ReuseOptions(tau_input=0.05)) as session:
        first = session.run(torch.full((1, 3, *SIZE), 0.5))
        for step in (0.52, 0.54):
            assert torch.equal(session.run(torch.full((1, 3, *SIZE), step)), first)
            assert session.stats.recompute_ratio == 0
        session.run(torch.full((1, 3, *SIZE), 0.56))
        assert session.stats.recompute_ratio == 1


def test_tau_by_layer_name(model: fluxshard.CompiledModel) -> None:
    name = model.plan.layers[0].name
    with model.session(fluxshard.ReuseOptions(tau={name: 100.0}, scene_cut=1.0)) as session:
        first = session.run(_image(0))
        assert torch.equal(session.run(_image(0) * 0.9), first)
        assert session.stats.layers_executed == 1
    with (
        model.session(fluxshard.ReuseOptions(tau={"nobody": 1.0})) as session,
        pytest.raises(OptionError, match="nobody"),
    ):
        session.run(_image())


def test_reset_forgets(model: fluxshard.CompiledModel) -> None:
    with model.session() as session:
        session.run(_image())
        session.reset()
        with pytest.raises(StateError, match="run a frame"):
            _ = session.stats
        session.run(_image())
        assert session.stats.keyframe and session.stats.frame == 0


def test_closed(model: fluxshard.CompiledModel) -> None:
    with model.session() as session:
        session.run(_image())
        assert session.state_bytes > 0
    with pytest.raises(StateError, match="closed"):
        session.run(_image())
    with pytest.raises(StateError, match="closed"):
        session.work_map()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 3, *SIZE), "batch 2"),
        (torch.zeros(3, *SIZE), r"expected \(1, C, H, W\)"),
        (torch.zeros(3, *SIZE, dtype=torch.uint8), r"uint8; expected .* pass planes as image\[None\]"),
        (torch.zeros(1, *SIZE, 3, dtype=torch.uint8), r"expected .*\(H, W, 3\).* pass image\[0\]"),
        (torch.zeros(1, 3, *SIZE, dtype=torch.int32), "int32; expected .* pass image.float()"),
        (torch.zeros(2, 3, *SIZE, dtype=torch.uint8), r"batch 2.* pass image\[:1\]"),
        (torch.zeros(*SIZE, 4, dtype=torch.uint8), r"expected .*\(H, W, 3\)"),
        (torch.zeros(1, *SIZE, 3), r"expected .*, channels first: pass image.permute\(0, 3, 1, 2\)"),
        (np.zeros((*SIZE, 3), np.float32), r"\(32, 48, 3\) torch.float32; .*\(H, W, 3\) of uint8: channels first"),
        (np.zeros(SIZE, np.uint8), r"\(32, 48\) torch.uint8; expected .*\(H, W, 3\) of uint8: pass a grey picture"),
        (np.array([["a"]]), "ndarray; expected"),
        ([[0]], "list; expected"),
    ],
)
def test_wrong_images(model: fluxshard.CompiledModel, image: Tensor, message: str) -> None:
    with model.session() as session:
        expected = session.run(_image())
        with pytest.raises(ShapeError, match=message):
            session.run(image)
        assert torch.equal(session.run(_image()), expected)  # the stream goes on
        assert not session.stats.keyframe


class Taken(NamedTuple):
    """A frame, as far as sessions look at it."""

    pixels: NDArray[np.uint8]
    motion: MotionField | None


@pytest.mark.parametrize(
    "turn",
    [
        lambda planes: planes.numpy(),
        lambda planes: planes[0].permute(1, 2, 0),
        lambda planes: planes[0].permute(1, 2, 0).numpy(),
        lambda planes: planes[0].permute(1, 2, 0).numpy()[..., ::-1].copy()[..., ::-1],
        lambda planes: Taken(planes[0].permute(1, 2, 0).numpy(), None),
        lambda planes: planes.float() / 255,
        lambda planes: planes.numpy().astype(np.float32) / np.float32(255),
        lambda planes: (planes.numpy().astype(np.float32) / np.float32(255)).astype(np.float64),
        lambda planes: np.moveaxis((planes[0].permute(1, 2, 0).numpy() / 255).astype(np.float32), 2, 0)[None],
    ],
)
def test_what_stands_for_an_image(model: fluxshard.CompiledModel, turn: Callable[[Tensor], Any]) -> None:
    planes = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with model.session() as session, model.session() as other:
        assert torch.equal(session.run(turn(planes)), other.run(planes))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted(model: fluxshard.CompiledModel, dtype: torch.dtype) -> None:
    image = _image().to(dtype)
    with model.session() as session, model.session() as other:
        assert torch.equal(session.run(image), other.run(image.float()))


def test_a_frame_brings_its_motion(model: fluxshard.CompiledModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    moved, motion = np.roll(pixels, 8, 1), MotionField.uniform(*SIZE, 0, 8)
    with model.session("exact") as session:
        session.run(Taken(pixels, None))
        session.run(Taken(moved, motion))
        brought = session.stats
        assert brought.motion_source == "given" and session.propose(Taken(moved, None)).motion is None
    with model.session("exact") as session:
        session.run(pixels)
        session.run(moved, motion)
        assert session.stats.recompute_ratio == brought.recompute_ratio < 0.5
        session.run(Taken(pixels, motion), MotionField.uniform(*SIZE, 0, -8))  # what is given goes before
        assert session.stats.recompute_ratio < 0.5


@pytest.mark.parametrize(
    ("image", "pixel_range", "noticed"),
    [
        (255 * _image(), (0, 1), "up to 25[0-9].*, and black and white are said to be 0 and 1: .*image / 255"),
        (255 * _image(), (0, 255), None),
        (255 * _image().half(), (0, 1), "up to 25"),
        ((_image() - 0.45) / 0.22, (0, 1), None),
        (_image() * 0, (0, 1), None),
        (torch.full((1, 3, *SIZE), float("inf")), (0, 1), None),
        (torch.full((1, 3, *SIZE), float("nan")), (0, 1), None),
        ((255 * _image()).byte(), (0, 1), None),
    ],
)
def test_values_of_another_range_are_noticed_once(
    model: fluxshard.CompiledModel, image: Tensor, pixel_range: tuple[float, float], noticed: str | None
) -> None:
    reuse = fluxshard.ReuseOptions(planned=PlannedOptions(pixel_range=pixel_range))
    with warnings.catch_warnings(record=True) as caught, model.session(reuse) as session:
        warnings.simplefilter("always")
        session.run(_image())
        for _ in range(3):
            session.run(image)
    assert len(caught) == (noticed is not None)
    if noticed is not None:
        assert re.search(noticed, str(caught[0].message)) and caught[0].filename == __file__


def test_wrong_motion(model: fluxshard.CompiledModel) -> None:
    with model.session() as session:
        session.run(_image())
        with pytest.raises(ShapeError, match=r"expected \(4, 6\)"):
            session.run(_image(), MotionField.zero(40, 48))


def test_strided_and_tracked_images_are_read_right(model: fluxshard.CompiledModel) -> None:
    image = _image()
    with model.session() as session:
        expected = session.run(image)
        session.reset()
        assert torch.equal(session.run(image.to(memory_format=torch.channels_last)), expected)
        session.reset()
        assert torch.equal(session.run(image.clone().requires_grad_()), expected)
        assert not expected.requires_grad


@pytest.mark.parametrize("policy", ["propagated", "planned"])
def test_proposing_an_image_of_another_size_changes_nothing(policy: str) -> None:
    """A stream goes on where it was, although a frame of another size was proposed in between."""
    net = torch.nn.Conv2d(3, 4, 3, padding=1).eval()
    model = fluxshard.compile(net, options=fluxshard.CompileOptions(backend="reference"))
    small, large = torch.rand(1, 3, 16, 24), torch.rand(1, 3, 24, 32)
    with model.session(fluxshard.ReuseOptions(policy=policy, scene_cut=1.0)) as session:
        assert session.propose(small).keyframe and session.state_bytes == 0
        session.run(small)
        other = session.propose(large)
        assert other.keyframe and other.input_cells == 24 * 32
        again = session.propose(small)
        assert not again.keyframe and again.input_cells == 0
        session.run(small)
        assert not session.stats.keyframe and session.stats.frame == 1


def test_memory_is_taken_before_the_first_frame_where_that_is_wanted(model: fluxshard.CompiledModel) -> None:
    with model.session(fluxshard.ReuseOptions(policy="planned")) as session:
        session.prepare(_image())
        prepared = session.state_bytes
        assert prepared > 0
        with pytest.raises(StateError, match="no frame"):
            session.inspect()
        session.run(_image())
        assert session.state_bytes == prepared and session.stats.keyframe
        with pytest.raises(ShapeError):
            session.prepare(torch.zeros(3, *SIZE))


def test_two_frames_at_once_are_refused_and_nothing_is_lost() -> None:
    """The second frame comes while the first compiles its size; the first goes on."""
    inside, go = threading.Event(), threading.Event()
    model = fluxshard.compile(_net(), options=fluxshard.CompileOptions(backend="reference"))

    def slow(image: Tensor) -> Program:
        inside.set()
        assert go.wait(20)
        return model.specialise(image).program

    with Session(slow, fluxshard.ReuseOptions(policy="planned")) as session, ThreadPoolExecutor(1) as other:
        first = other.submit(session.run, _image())
        assert inside.wait(20)
        with pytest.raises(StateError, match="in another thread"):
            session.run(_image())
        go.set()
        outputs = first.result(20)
        session.reset()
        assert torch.equal(session.run(_image()), outputs)


def test_a_frame_run_whole_reuses_nothing_and_is_reused(model: fluxshard.CompiledModel) -> None:
    options = fluxshard.ReuseOptions(policy="planned", scene_cut=1.0)
    with model.session(options) as session, model.session(options) as fresh:
        session.run(_image(0))
        session.run(_image(1) * 0.01 + _image(0) * 0.99)
        assert not session.stats.keyframe
        whole = session.run_whole(_image(2))
        assert torch.equal(whole, fresh.run(_image(2)))
        assert session.stats.keyframe and session.stats.compute_ratio == 1 and session.stats.frame == 2
        session.run(_image(2))
        assert session.stats.compute_ratio == 0 and session.stats.frame == 3


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_scaled_thresholds_decide_as_if_the_session_had_been_made_with_them(backend: str) -> None:
    model = fluxshard.compile(_net(), options=fluxshard.CompileOptions(backend=backend))
    planned = PlannedOptions(tau=0.04)

    def of(options: PlannedOptions) -> fluxshard.Session:
        return model.session(fluxshard.ReuseOptions(policy="planned", planned=options, scene_cut=1.0))

    changed = _image(0) + 0.15 * (_image(1) - 0.5)
    works = {}
    for scale in (0.25, 1.0, 4.0):
        with of(planned) as session, of(planned.scaled(scale)) as made:
            session.run(_image(0))
            made.run(_image(0))
            session.scale_thresholds(3.0)
            session.scale_thresholds(scale)  # of what it was made with, not of the last
            assert session.reuse.planned == planned.scaled(scale)
            assert torch.equal(session.run(changed), made.run(changed))
            works[scale] = session.stats.compute_ratio
            assert works[scale] == made.stats.compute_ratio
            session.run(_image(2)[:, :, :, :40])  # a new size keeps the scale
            assert session.reuse.planned == planned.scaled(scale)
    assert works[0.25] >= works[1.0] > works[4.0] == 0


def test_what_cannot_be_scaled(model: fluxshard.CompiledModel) -> None:
    with model.session(exact=True) as session, pytest.raises(StateError, match="policy='planned'"):
        session.scale_thresholds(2.0)
    with model.session() as session:
        for scale in (0.0, -1.0, float("inf"), float("nan")):
            with pytest.raises(OptionError, match="scale"):
                session.scale_thresholds(scale)
