"""Methods on a detector whose results are known by hand, and what they pass to a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.global_motion import global_shift
from fluxshard.evaluate.methods.method import (
    Coach,
    Method,
    Outcome,
    Reuse,
    Skip,
    SkipMoved,
    delta_cnn,
    dense_method,
    dense_on_canvas,
    motion_delta_cnn,
)
from fluxshard.evaluate.methods.ssim import quarter_area, quarter_bits, ssim
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.motion import MotionField
from fluxshard.options import SMALL_OBJECT, PlannedOptions, ReuseOptions
from fluxshard.runtime.stats import FrameStats
from fluxshard.testing.evaluation import SIZE, bright_network
from fluxshard.testing.networks import box_at, square


@pytest.fixture(scope="module")
def network() -> CompiledNetwork:
    return bright_network()


def run(
    method: Method, network: CompiledNetwork, images: Sequence[Tensor], motion: MotionField | None = None
) -> list[Outcome]:
    stream = method.start(network)
    return [stream(image, motion if index else None) for index, image in enumerate(images)]


def boxes(outcome: Outcome) -> list[list[float]]:
    return cast("list[list[float]]", outcome.found.boxes.tolist())


WALK = [square(8, 8 * index) for index in (0, 1, 2, 3, 4)]


def test_dense_computes_every_frame_whole(network: CompiledNetwork) -> None:
    for motion in (None, MotionField.zero(*SIZE), MotionField.uniform(*SIZE, 0, 8)):
        outcomes = run(dense_method(), network, [WALK[0], *WALK], motion)
        for outcome, left in zip(outcomes, (0, 0, 8, 16, 24, 32), strict=True):
            assert outcome.keyframe and outcome.compute_ratio == outcome.recompute_ratio == 1
            assert boxes(outcome) == [box_at(8, left)] and outcome.origin == (0, 0)
            assert outcome.found.scores[0] == pytest.approx(1, abs=1e-5) and outcome.latency_ms > 0


def test_faint_objects_are_in_traces_and_fainter_ones_are_not(network: CompiledNetwork) -> None:
    images = [square(8, 8, value=value) for value in (0.54, 0.56)]  # scores 0.08 and 0.12; traces begin at 0.1
    assert [len(outcome.found) for outcome in run(dense_method(), network, images)] == [0, 1]


def test_dense_on_canvas_computes_every_frame_whole_and_moves_its_origin(network: CompiledNetwork) -> None:
    """What moves stands still on the canvas, up to whole cells: so it is found where it is, whichever way it moves."""
    images = [square(8 + 2 * index, 16 - 3 * index) for index in range(5)]
    outcomes = run(dense_on_canvas(8), network, images, MotionField.uniform(*SIZE, 2, -3))
    assert [outcome.origin for outcome in outcomes] == [(0, 0), (6, 3), (4, 6), (2, 1), (0, 4)]
    whole = (32 + 8) * (48 + 8) / (32 * 48)
    for index, outcome in enumerate(outcomes):
        assert outcome.keyframe and outcome.recompute_ratio == 1
        assert outcome.compute_ratio == pytest.approx(whole)
        (top, left), (box,) = outcome.origin, boxes(outcome)
        assert [box[0] - left, box[1] - top] == [16 - 3 * index, 8 + 2 * index]
        assert outcome.found.shape == (40, 56)


def test_dense_on_canvas_stays_whole_where_nothing_moves(network: CompiledNetwork) -> None:
    for motion in (None, MotionField.zero(*SIZE)):
        assert all(outcome.keyframe for outcome in run(dense_on_canvas(8), network, [WALK[0]] * 4, motion))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_skip_computes_every_nth_frame(network: CompiledNetwork, every: int) -> None:
    outcomes = run(Skip(every=every), network, WALK)
    for index, outcome in enumerate(outcomes):
        computed = index - index % every
        assert boxes(outcome) == [box_at(8, 8 * computed)]
        if index == computed:
            assert outcome.keyframe and outcome.compute_ratio == 1
        else:
            assert outcome.found is outcomes[computed].found and not outcome.keyframe
            assert outcome.compute_ratio == outcome.recompute_ratio == outcome.latency_ms == 0


@pytest.mark.parametrize("every", [1, 2, 3])
def test_skip_moved_computes_every_nth_frame_and_moves_its_result_to_the_others(
    network: CompiledNetwork, every: int
) -> None:
    """With the motion that there is, what is moved lies where the network would find it."""
    outcomes = run(SkipMoved(every=every), network, WALK, MotionField.uniform(*SIZE, 0, 8))
    for index, outcome in enumerate(outcomes):
        computed = index - index % every
        assert boxes(outcome) == [box_at(8, 8 * index)] and outcome.origin == (0, 0)
        assert (outcome.found.scores == outcomes[computed].found.scores).all()
        if index == computed:
            assert outcome.keyframe and outcome.compute_ratio == 1
        else:
            assert (outcome.compute_ratio, outcome.recompute_ratio, outcome.keyframe) == (0, 0, False)
            assert 0 < outcome.latency_ms < 1e3


def test_skip_moved_holds_where_the_motion_is_not_known(network: CompiledNetwork) -> None:
    held, moved = (run(method, network, WALK) for method in (Skip(every=3), SkipMoved(every=3)))
    for outcome, other in zip(moved, held, strict=True):
        assert boxes(outcome) == boxes(other)


def test_streams_of_one_method_do_not_see_each_other(network: CompiledNetwork) -> None:
    for method in (Skip(every=3), SkipMoved(every=3), Coach(similarity=-1.0)):
        first, second = method.start(network), method.start(network)
        first(WALK[0], None)
        assert boxes(second(WALK[2], None)) == [box_at(8, 16)]
        assert boxes(first(WALK[1], None)) == [box_at(8, 0)]


def fading() -> list[Tensor]:
    """A square that fades slowly over texture: each frame resembles the one before more than the first."""
    texture = 0.4 * torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    return [texture + (0.6 - 0.05 * index) * square(8, 8) for index in range(12)]


def test_coach_holds_above_its_similarity_to_the_last_frame_that_was_computed(network: CompiledNetwork) -> None:
    images = fading()
    threshold = (ssim(images[0], images[3]) + ssim(images[0], images[4])) / 2
    outcomes = run(Coach(similarity=threshold, sent="whole"), network, images)
    last, computed = 0, [0]
    for index in range(1, len(images)):
        assert ssim(images[index - 1], images[index]) > threshold  # it would never compute again
        if ssim(images[last], images[index]) < threshold:
            last = index
            computed.append(index)
    assert computed[:2] == [0, 4] and 2 < len(computed) < len(images)
    assert [index for index, outcome in enumerate(outcomes) if outcome.compute_ratio == 1] == computed
    for index, outcome in enumerate(outcomes):
        assert outcome.latency_ms > 0
        if index not in computed:
            assert outcome.found is outcomes[max(one for one in computed if one < index)].found
            assert (outcome.compute_ratio, outcome.recompute_ratio, outcome.keyframe) == (0, 0, False)


def test_coach_at_its_similarity_holds(network: CompiledNetwork) -> None:
    image = square(8, 8)
    assert [outcome.compute_ratio for outcome in run(Coach(similarity=1.0), network, [image, image])] == [1, 0]


@pytest.mark.parametrize("sent", ["area", "bits", "whole"])
def test_coach_computes_what_arrives(network: CompiledNetwork, sent: str) -> None:
    """The first frame is sent as it is; of the others the network sees a quarter."""
    images = [square(8, 9), square(8, 21), square(8, 33, value=0.8)]
    method = Coach(similarity=2.0, sent=cast(Any, sent))
    arrives: Callable[[Tensor], Tensor] = {"area": quarter_area, "bits": quarter_bits}.get(sent, torch.clone)
    expected = run(dense_method(), network, [images[0], arrives(images[1]), arrives(images[2])])
    for outcome, other in zip(run(method, network, images), expected, strict=True):
        assert boxes(outcome) == boxes(other) and (outcome.found.scores == other.found.scores).all()
    if sent != "whole":
        plain = run(dense_method(), network, images[2:])[0].found
        assert not np.array_equal(expected[2].found.scores, plain.scores)


def test_propagated_baselines_find_what_dense_finds_at_small_thresholds(network: CompiledNetwork) -> None:
    images = [square(8, 8 + 8 * index) for index in range(3)]
    motion = MotionField.uniform(*SIZE, 0, 8)
    for method in (delta_cnn(0.01), motion_delta_cnn(0.01, 8), Reuse(name="p", family="p", options=ReuseOptions())):
        for index, outcome in enumerate(run(method, network, images, motion)):
            top, left = outcome.origin
            found = [[x1 - left, y1 - top] for x1, y1, _, _ in boxes(outcome)]
            assert [8 + 8 * index, 8] in found
            assert outcome.keyframe == (index == 0)


@dataclass
class CallLog:
    """A session that logs its calls; finds a small object at (16, 8) and a large one."""

    options: ReuseOptions
    canvas_px: int
    calls: list[tuple[str, Any]] = field(default_factory=list)
    origin: tuple[int, int] = (3, 4)
    planned: None = None

    def run(self, image: Tensor, motion: MotionField | None) -> Tensor:
        self.calls.append(("run", motion))
        return torch.tensor([[[20.0, 24.0], [12.0, 16.0], [8.0, 40.0], [8.0, 30.0], [0.5, 0.07]]])

    def reset(self) -> None:
        self.calls.append(("reset", None))

    def focus(self, regions: NDArray[np.uint8]) -> None:
        self.calls.append(("focus", regions))

    @property
    def stats(self) -> FrameStats:
        return cast(FrameStats, _Stats())


@dataclass
class _Stats:
    compute_ratio: float = 0.25
    recompute_ratio: float = 0.125
    keyframe: bool = False


class LoggedNetwork(CompiledNetwork):
    """A network whose sessions log their calls."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__(loaded, SIZE)
        self.sessions: list[CallLog] = []

    def model(self, canvas_px: int = 0) -> Any:
        return self._Model(self, canvas_px)

    @dataclass
    class _Model:
        owner: LoggedNetwork
        canvas_px: int

        def session(self, options: ReuseOptions) -> CallLog:
            self.owner.sessions.append(CallLog(options, self.canvas_px))
            return self.owner.sessions[-1]


def run_logged(method: Reuse, motion: MotionField | None) -> tuple[CallLog, Outcome, Outcome]:
    network = LoggedNetwork(bright_network().loaded)
    first, second = run(method, network, [square(0, 0)] * 2, motion)
    (session,) = network.sessions
    assert session.options is method.options and session.canvas_px == method.canvas_px
    return session, first, second


def some_motion() -> MotionField:
    values = np.random.default_rng(0).integers(-3, 9, (4, 6, 2))
    return MotionField(values, values[..., 0] > -2)


PLAIN = Reuse(name="a", family="a", options=ReuseOptions())


def test_the_videos_own_motion_is_passed_on() -> None:
    motion = some_motion()
    session, _, outcome = run_logged(PLAIN, motion)
    assert session.calls == [("run", None), ("run", motion)]
    assert (outcome.origin, outcome.compute_ratio, outcome.recompute_ratio) == ((3, 4), 0.25, 0.125)
    assert not outcome.keyframe and outcome.latency_ms > 0


def test_no_motion_is_passed_on() -> None:
    assert run_logged(replace(PLAIN, motion="none"), some_motion())[0].calls == [("run", None)] * 2


def test_global_motion_is_one_shift_everywhere() -> None:
    motion = some_motion()
    first, second = run_logged(replace(PLAIN, motion="global"), motion)[0].calls
    assert first == ("run", None) and isinstance(second[1], MotionField)
    assert second[1].valid.all() and second[1].valid.shape == (4, 6)
    shift = global_shift(motion)
    assert shift != (0, 0) and (second[1].displacement == shift).all()
    assert run_logged(replace(PLAIN, motion="global"), None)[0].calls == [("run", None)] * 2


def test_dense_forgets_the_stream_before_each_frame() -> None:
    assert [name for name, _ in run_logged(dense_method(), None)[0].calls] == ["reset", "run"] * 2
    assert [name for name, _ in run_logged(dense_on_canvas(8), None)[0].calls] == ["run"] * 2  # its canvas must move


def test_regions_are_where_objects_are() -> None:
    """The box covers columns 16 to 24 and rows 8 to 16. The other object is too faint, until the floor falls."""
    session, _, outcome = run_logged(replace(PLAIN, regions=True), None)
    assert [name for name, _ in session.calls] == ["run", "focus"] * 2 and len(outcome.found) == 1
    expected = np.zeros((4, 6), np.uint8)
    expected[1, 2] = SMALL_OBJECT
    assert (session.calls[1][1] == expected).all()
    options = ReuseOptions(planned=PlannedOptions(region_confidence=0.05, small_px=0))
    session, _, outcome = run_logged(replace(PLAIN, regions=True, options=options), None)
    assert len(outcome.found) == 2 and session.calls[1][1].max() == 1
    options = ReuseOptions(planned=PlannedOptions(region_confidence=0.9))
    session, _, outcome = run_logged(replace(PLAIN, regions=True, options=options), None)
    assert len(outcome.found) == 1 and not session.calls[1][1].any()
