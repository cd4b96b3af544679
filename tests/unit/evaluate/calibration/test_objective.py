"""The reference of a search, and the fraction of dense accuracy that is retained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.calibration.objective import WORST_CLIP, Calibration, Objective, measure_method
from fluxshard.evaluate.methods.method import Skip
from fluxshard.evaluate.traces.trace import FoundObject
from fluxshard.evaluate.traces.workers import FinishedTask, Task, WorkerPool
from fluxshard.testing.evaluation import trace_of
from tests.unit.evaluate.calibration.pools import BEAR, COWS, HALF, OBJECT, REQUEST, SIZE, objective_of, pool_of


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


def test_the_objective_is_the_dense_network_on_all_clips() -> None:
    pool = pool_of()
    objective = objective_of(pool)
    assert sorted(pool.ran) == [("dense", "bear"), ("dense", "cows")]
    assert objective.measure == "agreement" and objective.annotations == {}
    assert objective.accuracies == {"bear": 1, "cows": 1} and objective.accuracy == 1
    assert {name: len(trace.frames) for name, trace in objective.dense.items()} == {"bear": 5, "cows": 5}


def test_annotations_count_where_all_clips_have_them() -> None:
    """IoU 1/2 on one clip, 1 on the other."""
    pool = pool_of(lambda task: [HALF if task.clip == BEAR else OBJECT], annotated=("bear", "cows"))
    objective = objective_of(pool)
    assert objective.measure == "jaccard" and objective.accuracies == pytest.approx({"bear": 0.5, "cows": 1})
    assert objective.accuracy == pytest.approx(0.75) and set(objective.annotations) == {"bear", "cows"}
    assert objective_of(pool_of(annotated=("bear",))).measure == "agreement"
    chosen = objective_of(pool, replace(REQUEST, measure="agreement"))
    assert chosen.measure == "agreement" and chosen.accuracy == 1 and chosen.annotations == {}


def test_jaccard_without_annotations_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="'jaccard' needs annotations, which cows lacks; use 'agreement'"):
        objective_of(pool_of(annotated=("bear",)), replace(REQUEST, measure="jaccard"))


def test_a_clip_that_is_too_short_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="clip 'cows' has 4 frames; calibration needs at least 5"):
        objective_of(pool_of(frames={"cows": 4}))


@pytest.mark.parametrize("annotated", [(), ("bear", "cows")])
@pytest.mark.parametrize("faint", [[], [replace(OBJECT, score=0.14)]])
def test_clips_in_which_dense_finds_nothing_are_an_error(annotated: tuple[str, ...], faint: list[FoundObject]) -> None:
    """Agreement is then unknown and J is 0: a share of either means nothing."""
    with pytest.raises(EvaluationError, match=r"finds nothing above a confidence of 0\.15 in cows: .*give clips that"):
        objective_of(pool_of(lambda task: faint if task.clip == COWS else [OBJECT], annotated=annotated))
    with pytest.raises(EvaluationError, match="in bear, cows:"):
        objective_of(pool_of(lambda _: faint, annotated=annotated))


def test_a_method_is_measured_over_clips_that_count_the_same() -> None:
    """Work leaves out the first frame: (0.2 + 0.6) / 2; agreement is 1/2 on one clip and whole on the other.

    Of two clips the mean less its standard error is the smaller: 3/4 - 1/4.
    """
    objective = objective_of(pool_of())
    works = {"bear": [1.0] + [0.2] * 4, "cows": [1.0] + [0.6] * 4}
    pool = pool_of(lambda task: [HALF if task.clip == COWS else OBJECT], work=lambda task: works[task.clip.name])
    frames: list[int] = []
    work, retained = measure_method(Skip(every=2), REQUEST, objective, cast(WorkerPool, pool), frames.append)
    assert work == pytest.approx(0.4) and retained == pytest.approx(0.5) and sum(frames) == 10
    assert sorted(pool.ran) == [("skip every=2", "bear"), ("skip every=2", "cows")]


def retained(**fractions: float) -> float:
    """Fraction retained over clips whose dense accuracies are 1/2."""
    return Objective("agreement", {}, {}, dict.fromkeys(fractions, 0.5)).retained(
        {name: 0.5 * one for name, one in fractions.items()}
    )


def test_the_retained_fraction_by_hand() -> None:
    assert retained(a=1.0, b=1.0) == 1
    assert retained(a=0.9) == pytest.approx(0.9)  # one clip says nothing of others
    # mean 0.9, deviation 0.1 over three clips
    assert retained(a=0.8, b=0.9, c=1.0) == pytest.approx(0.9 - 0.1 / math.sqrt(3))
    assert retained(a=0.8, b=0.9, c=1.5) == pytest.approx(0.9 - 0.1 / math.sqrt(3))  # gains do not pay for losses
    assert WORST_CLIP == 5
    many = {f"c{index:02}": 1.0 for index in range(39)}
    # the mean is 0.99 with an error of 0.01, but one clip loses 0.4: no more than 1/5 of that may seem to be lost
    assert retained(worst=0.6, **many) == pytest.approx(1 - 0.4 / 5)
    assert math.isnan(retained(a=math.nan, b=1.0)) and math.isnan(retained(a=1.0, b=math.nan))


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 2), min_size=1), st.randoms())
def test_retaining_less_is_never_better_and_order_does_not_matter(fractions: dict[str, float], random: Any) -> None:
    value = retained(**fractions)
    assert value <= 1 and value >= min(*fractions.values(), 1.0) - 1e-12
    order = list(fractions.items())
    random.shuffle(order)
    assert retained(**dict(order)) == value
    worse = {name: one * random.random() for name, one in fractions.items()}
    assert retained(**worse) <= value + 1e-12


def test_accuracy_without_anything_to_measure_is_unknown() -> None:
    objective = Objective("agreement", {"bear": trace_of([], [], size=SIZE)}, {})
    assert math.isnan(objective.accuracy)
    task = Task(Skip(every=2), BEAR)
    assert math.isnan(objective.accuracy_of(FinishedTask(task, trace_of([], [], size=SIZE), None)))
    assert objective.accuracy_of(FinishedTask(task, trace_of([], [OBJECT], size=SIZE), None)) == 0
