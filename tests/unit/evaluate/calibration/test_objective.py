"""What points are measured against, the share of accuracy that is kept, and the log of a search."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.calibration import planned_search
from fluxshard.evaluate.calibration.coordinate_descent import Dimension, Point, Visited
from fluxshard.evaluate.calibration.objective import (
    WORST_CLIP,
    Calibration,
    Objective,
    SearchLog,
    frontier_facts,
    measure_method,
    prepare_ground,
)
from fluxshard.evaluate.calibration.planned_search import dimensions, method_at, question, search_planned
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.methods.method import Reuse, Skip
from fluxshard.evaluate.metrics.search_accuracy import Measure
from fluxshard.evaluate.traces.trace import FoundObject, Trace
from fluxshard.evaluate.traces.workers import Finished, Task, WorkerPool
from fluxshard.options import LevelOptions, PlannedOptions
from fluxshard.runtime.planned.levels import default_gain
from fluxshard.testing.evaluation import PoolOf, found, trace_of, window

SIZE = (8, 16)
LEFT = encode(window(SIZE, (0, 8), (0, 8)))
BEAR, COWS = Clip("bear", Path("bear.mp4")), Clip("cows", Path("cows.mp4"))
REQUEST = Calibration(clips=(BEAR, COWS))
OBJECT = found(0.9, (0, 0, 8, 8), mask=LEFT)
HALF = found(0.9, (0, 0, 4, 8), mask=encode(window(SIZE, (0, 8), (0, 4))))


def pool_of(
    objects: Callable[[Task], list[FoundObject]] = lambda _: [OBJECT],
    frames: dict[str, int] | None = None,
    annotated: tuple[str, ...] = (),
    work: Callable[[Task], list[float]] | None = None,
) -> PoolOf:
    """Finds the same objects in every frame, 5 of each clip; annotations are the left half of the picture."""

    def result(task: Task) -> Finished:
        count = (frames or {}).get(task.clip.name, 5)
        trace = trace_of(
            *[objects(task)] * count, size=SIZE, clip=task.clip.name, method=task.method.name,
            work=0.5 if work is None else work(task),
        )  # fmt: skip
        return Finished(task, trace, (LEFT,) * count if task.clip.name in annotated else None)

    return PoolOf(result)


def ground_of(pool: PoolOf, request: Calibration = REQUEST) -> Objective:
    return prepare_ground(request, cast(WorkerPool, pool))


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.01, math.nan])
def test_alpha_is_above_0_and_at_most_1(alpha: float) -> None:
    with pytest.raises(EvaluationError, match=r"alpha \(=.*\) must be above 0 and at most 1"):
        Calibration(clips=(BEAR,), alpha=alpha)
    assert Calibration(clips=(BEAR,), alpha=1.0).alpha == 1


def test_other_values_that_are_not_allowed() -> None:
    for split in (-0.1, 1.1, math.nan):
        with pytest.raises(EvaluationError, match=r"split \(=.*\) must lie between 0 and 1"):
            Calibration(clips=(BEAR,), split=split)
    with pytest.raises(EvaluationError, match="at least one clip"):
        Calibration(clips=())


def test_the_ground_is_the_dense_network_on_all_clips() -> None:
    pool = pool_of()
    ground = ground_of(pool)
    assert sorted(pool.ran) == [("dense", "bear"), ("dense", "cows")]
    assert ground.measure == "agreement" and ground.annotations == {}
    assert ground.accuracies == {"bear": 1, "cows": 1} and ground.accuracy == 1
    assert {name: len(trace.frames) for name, trace in ground.dense.items()} == {"bear": 5, "cows": 5}


def test_annotations_count_where_all_clips_have_them() -> None:
    """IoU 1/2 on one clip, 1 on the other."""
    pool = pool_of(lambda task: [HALF if task.clip == BEAR else OBJECT], annotated=("bear", "cows"))
    ground = ground_of(pool)
    assert ground.measure == "jaccard" and ground.accuracies == pytest.approx({"bear": 0.5, "cows": 1})
    assert ground.accuracy == pytest.approx(0.75) and set(ground.annotations) == {"bear", "cows"}
    assert ground_of(pool_of(annotated=("bear",))).measure == "agreement"
    chosen = ground_of(pool, replace(REQUEST, measure="agreement"))
    assert chosen.measure == "agreement" and chosen.accuracy == 1 and chosen.annotations == {}


def test_jaccard_without_annotations_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="'jaccard' needs annotations, which cows lacks; use 'agreement'"):
        ground_of(pool_of(annotated=("bear",)), replace(REQUEST, measure="jaccard"))


def test_a_clip_that_is_too_short_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="clip 'cows' has 4 frames; calibration needs at least 5"):
        ground_of(pool_of(frames={"cows": 4}))


@pytest.mark.parametrize("annotated", [(), ("bear", "cows")])
@pytest.mark.parametrize("faint", [[], [replace(OBJECT, score=0.14)]])
def test_clips_in_which_dense_finds_nothing_are_an_error(annotated: tuple[str, ...], faint: list[FoundObject]) -> None:
    """Agreement is then unknown and J is 0: a share of either means nothing."""
    with pytest.raises(EvaluationError, match=r"finds nothing above a confidence of 0\.15 in cows: .*give clips that"):
        ground_of(pool_of(lambda task: faint if task.clip == COWS else [OBJECT], annotated=annotated))
    with pytest.raises(EvaluationError, match="in bear, cows:"):
        ground_of(pool_of(lambda _: faint, annotated=annotated))


def test_a_method_is_measured_over_clips_that_count_the_same() -> None:
    """Work leaves out the first frame: (0.2 + 0.6) / 2; agreement is 1/2 on one clip and whole on the other.

    Of two clips the mean less its standard error is the smaller: 3/4 - 1/4.
    """
    ground = ground_of(pool_of())
    works = {"bear": [1.0] + [0.2] * 4, "cows": [1.0] + [0.6] * 4}
    pool = pool_of(lambda task: [HALF if task.clip == COWS else OBJECT], work=lambda task: works[task.clip.name])
    frames: list[int] = []
    work, kept = measure_method(Skip(every=2), REQUEST, ground, cast(WorkerPool, pool), frames.append)
    assert work == pytest.approx(0.4) and kept == pytest.approx(0.5) and sum(frames) == 10
    assert sorted(pool.ran) == [("skip every=2", "bear"), ("skip every=2", "cows")]


def shares(**kept: float) -> float:
    """Kept of clips whose dense accuracies are 1/2."""
    return Objective("agreement", {}, {}, dict.fromkeys(kept, 0.5)).kept(
        {name: 0.5 * one for name, one in kept.items()}
    )


def test_what_is_kept_by_hand() -> None:
    assert shares(a=1.0, b=1.0) == 1
    assert shares(a=0.9) == pytest.approx(0.9)  # one clip says nothing of others
    # mean 0.9, deviation 0.1 over three clips
    assert shares(a=0.8, b=0.9, c=1.0) == pytest.approx(0.9 - 0.1 / math.sqrt(3))
    assert shares(a=0.8, b=0.9, c=1.5) == pytest.approx(0.9 - 0.1 / math.sqrt(3))  # gains do not pay for losses
    assert WORST_CLIP == 5
    many = {f"c{index:02}": 1.0 for index in range(39)}
    # the mean is 0.99 with an error of 0.01, but one clip loses 0.4: no more than 1/5 of that may seem to be lost
    assert shares(worst=0.6, **many) == pytest.approx(1 - 0.4 / 5)
    assert math.isnan(shares(a=math.nan, b=1.0)) and math.isnan(shares(a=1.0, b=math.nan))


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 2), min_size=1), st.randoms())
def test_keeping_less_is_never_better_and_order_does_not_matter(kept: dict[str, float], random: Any) -> None:
    value = shares(**kept)
    assert value <= 1 and value >= min(*kept.values(), 1.0) - 1e-12
    order = list(kept.items())
    random.shuffle(order)
    assert shares(**dict(order)) == value
    worse = {name: one * random.random() for name, one in kept.items()}
    assert shares(**worse) <= value + 1e-12


def test_accuracy_without_anything_to_measure_is_unknown() -> None:
    ground = Objective("agreement", {"bear": trace_of([], [], size=SIZE)}, {})
    assert math.isnan(ground.accuracy)
    task = Task(Skip(every=2), BEAR)
    assert math.isnan(ground.accuracy_of(Finished(task, trace_of([], [], size=SIZE), None)))
    assert ground.accuracy_of(Finished(task, trace_of([], [OBJECT], size=SIZE), None)) == 0


POINTS = [Visited({"x": 0.1, "y": 2.0}, 0.5, 0.9), Visited({"x": 1 / 3, "y": 0.0}, 0.1, math.nan)]


def log_of(path: Path, *points: Visited, **question: object) -> SearchLog:
    log = SearchLog(path, {"clips": ["bear"], **question})
    for point in points:
        log.add(point)
    return log


def test_a_log_reads_what_was_added(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log")
    assert log.read() == [] and not (tmp_path / "log").exists()
    log_of(tmp_path / "log", *POINTS)
    assert repr(log.read()) == repr(POINTS)  # NaN equals nothing
    log_of(tmp_path / "log", POINTS[0])
    assert repr(log.read()) == repr([*POINTS, POINTS[0]])


def test_points_of_another_question_are_not_used(tmp_path: Path) -> None:
    log_of(tmp_path / "log", POINTS[0], size=[64, 96])
    other = log_of(tmp_path / "log", POINTS[1], size=[64, 128])
    assert repr(other.read()) == repr(POINTS[1:])
    assert log_of(tmp_path / "log", size=[64, 96]).read() == POINTS[:1]
    assert SearchLog(tmp_path / "log", {"size": [64, 96], "clips": ["bear"]}).read() == POINTS[:1]  # in any order


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"question": 1}', b"\n\n", b"7", b'"text"']
)
def test_damaged_lines_are_left_out(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "log"
    log = log_of(path, POINTS[0])
    path.write_bytes(damage + b"\n" + path.read_bytes() + damage + b"\n")
    log.add(POINTS[0])
    assert log.read() == [POINTS[0]] * 2


def test_a_line_without_its_numbers_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = log_of(path, POINTS[0])
    entry = json.loads(path.read_text())
    for name in ("point", "work", "accuracy"):
        with path.open("a") as file:
            file.write(json.dumps({key: value for key, value in entry.items() if key != name}) + "\n")
    with path.open("a") as file:
        file.write(json.dumps({**entry, "work": "much"}) + "\n")
    assert log.read() == POINTS[:1]


def test_half_a_line_costs_one_point_and_no_more(tmp_path: Path) -> None:
    """A search that is stopped while it writes goes on with a line of its own."""
    path = tmp_path / "log"
    log = log_of(path, POINTS[0], POINTS[0])
    path.write_bytes(path.read_bytes()[:-7])
    log.add(Visited({"x": 5.0}, 0.2, 0.8))
    assert log.read() == [POINTS[0], Visited({"x": 5.0}, 0.2, 0.8)]


def test_the_frontier_of_a_search() -> None:
    seen = [Visited({"x": 1.0}, 0.5, 0.9), Visited({"x": 2.0}, 0.6, 0.8), Visited({"x": 3.0}, 0.2, 0.7)]
    assert frontier_facts(seen) == [
        {"work": 0.2, "accuracy": 0.7, "point": {"x": 3.0}},
        {"work": 0.5, "accuracy": 0.9, "point": {"x": 1.0}},
    ]


def start_of(canvas_px: int, measure: Measure = "jaccard") -> Point:
    return {dimension.name: dimension.values[dimension.start] for dimension in dimensions(canvas_px, measure)}


def test_the_search_starts_from_the_shipped_defaults() -> None:
    method, shipped = method_at(start_of(32)), PlannedOptions()
    options = method.options.planned
    assert method.options.policy == "planned" and method.canvas_px == 32 and method.regions
    assert replace(options, levels={}) == replace(shipped, levels={})
    for stride in (1, 2, 4, 8, 16, 32, 64):
        assert options.levels[stride] == LevelOptions(gain=default_gain(stride)), stride
    assert method_at(start_of(0)).canvas_px == 0
    assert start_of(32, "agreement") == {**start_of(32), "canvas_px": 0}


def test_every_dimension_reaches_the_method_and_rises() -> None:
    for canvas_px in (0, 32):
        points = [start_of(canvas_px)]
        for dimension in dimensions(canvas_px, "jaccard"):
            assert len(set(dimension.values)) == len(dimension.values) > dimension.start >= 0
            points += [
                {**points[0], dimension.name: value}
                for value in dimension.values
                if value != dimension.values[dimension.start]
            ]
        described = {repr(method_at(point).facts) for point in points}
        assert len(described) == len(points)


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dimensions instead of all, the others at their starts."""
    wanted = {"tau": ((0.01, 0.02, 0.03, 0.04), 1), "wait_frames": ((2.0, 3.0, 4.0), 0)}
    every = dimensions(0, "jaccard")
    monkeypatch.setattr(
        planned_search,
        "dimensions",
        lambda *_: tuple(Dimension(one.name, *wanted.get(one.name, ((one.values[one.start],), 0))) for one in every),
    )


def test_a_planned_search_finds_the_least_work_within_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Work falls with tau and with waiting; an object is lost in one of two clips from tau = 0.04 on."""
    small(monkeypatch)

    def planned(task: Task) -> PlannedOptions:
        return cast(Reuse, task.method).options.planned

    pool = pool_of(
        lambda task: [HALF] if planned(task).tau > 0.035 and task.clip == COWS else [OBJECT],
        work=lambda task: [1 - 10 * planned(task).tau - 0.1 * planned(task).wait_frames] * 5,
    )
    ground = ground_of(pool_of())
    log = SearchLog(tmp_path / "log", question(REQUEST, ground, 0, {}))
    told: list[tuple[Visited, int]] = []
    best, seen = search_planned(REQUEST, ground, cast(WorkerPool, pool), log, 0, on_point=lambda *one: told.append(one))
    assert best is not None and (best.point["tau"], best.point["wait_frames"]) == (0.03, 4)
    assert best.work == pytest.approx(0.3) and best.accuracy == 1
    assert [visited for visited, _ in told] == seen == log.read() and [n for _, n in told] == list(
        range(1, len(seen) + 1)
    )
    ran = len(pool.ran)
    assert search_planned(REQUEST, ground, cast(WorkerPool, pool), log, 0) == (best, seen)
    assert len(pool.ran) == ran == 2 * len(seen)  # what the log holds is not run again
    # another budget asks the same points: the object is lost, by half, in one clip of two
    cheaper, _ = search_planned(replace(REQUEST, alpha=0.4), ground, cast(WorkerPool, pool), log, 0)
    assert cheaper is not None and cheaper.point["tau"] == 0.04 and cheaper.accuracy == pytest.approx(0.5)


def test_logs_are_told_apart_by_what_results_depend_on(tmp_path: Path) -> None:
    ground = ground_of(pool_of())
    first = question(REQUEST, ground, 32, {"weights": "w"})
    turned = replace(REQUEST, clips=(COWS, BEAR), alpha=0.9, most_points=3)
    assert question(turned, ground, 32, {"weights": "w"}) == first
    longer: dict[str, Trace] = {**ground.dense, "bear": trace_of(*[[OBJECT]] * 6)}
    for other in (
        question(REQUEST, ground, 0, {"weights": "w"}),
        question(REQUEST, ground, 32, {"weights": "v"}),
        question(replace(REQUEST, clips=(BEAR,)), ground, 32, {"weights": "w"}),
        question(REQUEST, Objective("jaccard", ground.dense, {}, ground.accuracies), 32, {"weights": "w"}),
        question(REQUEST, Objective("agreement", longer, {}, ground.accuracies), 32, {"weights": "w"}),
        question(REQUEST, Objective("agreement", ground.dense, {}, {"bear": 1.0, "cows": 0.9}), 32, {"weights": "w"}),
    ):
        assert other != first
        log_of(tmp_path / "log")
        SearchLog(tmp_path / "log", other).add(POINTS[0])
    assert SearchLog(tmp_path / "log", first).read() == []
