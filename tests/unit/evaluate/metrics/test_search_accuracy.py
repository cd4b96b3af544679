"""Accuracy of frames against numbers worked out by hand: floors are 0.15, 0.2, ... 0.5, and scores must be above."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.metrics.search_accuracy import CONFIDENCES, accuracies, similarities
from fluxshard.evaluate.traces.trace import FoundObject
from fluxshard.testing.evaluation import found, trace_of, window

SIZE = (8, 16)
LEFT = encode(window(SIZE, (0, 8), (0, 8)))
NOTHING = encode(window(SIZE, (0, 0), (0, 0)))


def jaccard(objects: list[FoundObject], annotation: str | None = LEFT) -> float:
    """Of the second frame; the first one would be perfect, and does not count."""
    trace = trace_of([found(0.9, mask=LEFT)], objects, size=SIZE)
    (value,) = accuracies(trace, annotations=[LEFT, annotation])
    return float(value)


def agreement(mine: list[FoundObject], theirs: list[FoundObject]) -> float:
    """Of the second frame; in the first there is nothing in common."""
    (value,) = accuracies(trace_of([], mine, size=SIZE), trace_of([found(0.9)], theirs, size=SIZE))
    return float(value)


def mask(columns: tuple[int, int], rows: tuple[int, int] = (0, 8)) -> str:
    return encode(window(SIZE, rows, columns))


def test_the_largest_overlap_above_each_confidence() -> None:
    half = found(0.45, mask=mask((0, 4)))  # 4 of 8 columns: IoU 1/2, above the floors up to 0.4
    whole = found(0.3, mask=LEFT)  # IoU 1, above the floors up to 0.25
    assert len(CONFIDENCES) == 8
    assert jaccard([half]) == pytest.approx(6 * 0.5 / 8)
    assert jaccard([whole]) == pytest.approx(3 / 8)
    assert jaccard([half, whole]) == jaccard([whole, half]) == pytest.approx((3 * 1 + 3 * 0.5) / 8)
    assert jaccard([found(0.9, mask=mask((4, 12)))]) == pytest.approx(4 / 12)
    assert jaccard([found(0.15, mask=LEFT)]) == 0 and jaccard([found(0.51, mask=LEFT)]) == 1


def test_the_class_does_not_matter_to_annotations() -> None:
    assert jaccard([found(0.9, mask=LEFT, category=7)]) == 1


def test_nothing_found_is_zero_and_nothing_annotated_is_unknown() -> None:
    assert jaccard([]) == 0 == jaccard([found(0.9)])  # without a mask
    assert jaccard([found(0.9, mask=mask((8, 16)))]) == 0
    assert math.isnan(jaccard([found(0.9, mask=LEFT)], None))
    assert jaccard([found(0.9, mask=NOTHING)], NOTHING) == 0


def test_frames_in_order_without_the_first() -> None:
    trace = trace_of([], [found(0.9, mask=LEFT)], [], [found(0.9, mask=mask((0, 4)))], size=SIZE)
    values = accuracies(trace, annotations=[LEFT, LEFT, None, LEFT])
    assert values.dtype == np.float64 and np.array_equal(values, [1.0, np.nan, 0.5], equal_nan=True)
    assert accuracies(trace_of([]), annotations=[LEFT]).shape == (0,)


def test_something_to_measure_against_is_needed() -> None:
    with pytest.raises(ValueError, match="annotations or the dense network's trace"):
        accuracies(trace_of([], []))


def test_agreement_integrates_over_confidences() -> None:
    """IoU of the boxes is 1/2: both are there at 4 floors, only mine at 2 more, and at the last 2 neither counts."""
    mine, theirs = found(0.42, (0, 0, 8, 4)), found(0.32, (0, 0, 8, 8))
    assert agreement([mine], [theirs]) == pytest.approx(4 * 0.5 / 6)
    assert agreement([theirs], [mine]) == pytest.approx(4 * 0.5 / 6)


def test_a_wavering_score_costs_a_little_where_one_confidence_would_cost_all_or_nothing() -> None:
    assert agreement([found(0.26)], [found(0.24)]) == pytest.approx(2 / 3)
    assert agreement([found(0.9)], [found(0.9)]) == 1


def test_extra_and_missed_objects_cost_alike() -> None:
    one, other = found(0.9), found(0.9, (8, 0, 16, 8))
    assert agreement([one, other], [one]) == agreement([one], [one, other]) == pytest.approx(2 / 3)
    assert agreement([one], [other]) == 0


def test_no_objects() -> None:
    """Where both find nothing there is nothing to say; where one does, they disagree."""
    assert math.isnan(agreement([], []))
    assert math.isnan(agreement([found(0.1)], [found(0.15)]))
    assert agreement([found(0.9)], []) == agreement([], [found(0.9)]) == 0


def test_objects_of_other_classes_do_not_match() -> None:
    assert agreement([found(0.9, category=1)], [found(0.9, category=2)]) == 0
    values = similarities([found(0.9, category=1), found(0.9)], [found(0.9), found(0.9, category=1)], SIZE)
    assert np.array_equal(values, [[0, 1], [1, 0]])


def test_each_object_is_matched_once_and_the_best_pair_first() -> None:
    """Similarities 1 and 3/4 against 1/2 and 3/4: two on one are not both counted."""
    wide, narrow, half = ((0.0, 0.0, 8.0, height) for height in (8.0, 6.0, 4.0))
    mine, theirs = [found(0.9, wide), found(0.8, narrow)], [found(0.9, wide), found(0.8, half)]
    values = similarities(mine, theirs, SIZE)
    assert np.allclose(values, [[1, 1 / 2], [3 / 4, 2 / 3]])
    assert agreement(mine, theirs) == pytest.approx(2 * (1 + 2 / 3) / 4)
    assert agreement(mine, theirs[:1]) == pytest.approx(2 * 1 / 3)


def test_masks_count_where_all_have_them_and_boxes_otherwise() -> None:
    mine, theirs = found(0.9, (0, 0, 8, 8), mask=mask((0, 4))), found(0.9, (0, 0, 8, 8), mask=LEFT)
    assert np.allclose(similarities([mine], [theirs], SIZE), [[0.5]])
    assert np.allclose(similarities([mine], [found(0.9)], SIZE), [[1]])
    assert similarities([], [theirs], SIZE).shape == (0, 1) and similarities([theirs, mine], [], SIZE).shape == (2, 0)


def test_keypoints_count_before_masks() -> None:
    """Two keypoints, of which COCO knows nothing: sigma is 1/2; the area is 0.53 of an 8x8 box."""
    seen, moved = (2.0, 2.0, 0.9, 6.0, 6.0, 0.9), (2.0, 5.0, 0.9, 6.0, 6.0, 0.9)
    theirs = found(0.9, (0, 0, 8, 8), mask=LEFT, keypoints=seen)
    mine = found(0.9, (0, 0, 1, 1), mask=mask((0, 4)), keypoints=moved)
    oks = (math.exp(-(3**2) / (2 * 0.53 * 64 * (2 * 0.5) ** 2)) + 1) / 2
    assert similarities([mine], [theirs], SIZE)[0, 0] == pytest.approx(oks, abs=1e-6)
    assert agreement([mine], [theirs]) == pytest.approx(oks, abs=1e-6)
    hidden = found(0.9, (0, 0, 8, 8), keypoints=(2.0, 2.0, 0.9, 60.0, 60.0, 0.1))
    assert similarities([found(0.9, keypoints=seen)], [hidden], SIZE)[0, 0] == 1
    unseen = found(0.9, (0, 0, 8, 8), keypoints=(2.0, 2.0, 0.1, 6.0, 6.0, 0.1))
    assert similarities([unseen], [unseen], SIZE)[0, 0] == 1  # by their boxes


@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints"])
def test_a_trace_agrees_with_itself(kind: str) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(4):
        objects = []
        for _ in range(5):
            x, y = int(rng.integers(0, 8)), int(rng.integers(0, 4))
            objects.append(
                found(
                    float(rng.uniform(0, 1)),
                    (x, y, x + 6, y + 4),
                    category=int(rng.integers(0, 2)),
                    mask=mask((x, x + 6), (y, y + 4)) if kind == "masks" else None,
                    keypoints=(x + 1.0, y + 1.0, 0.9, x + 3.0, y + 2.0, 0.2) if kind == "keypoints" else None,
                )
            )
        frames.append(objects)
    trace = trace_of(*frames, size=SIZE)
    assert accuracies(trace, trace) == pytest.approx(np.ones(3))
