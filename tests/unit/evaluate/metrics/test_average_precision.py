"""Average precision against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fluxshard.evaluate.metrics.average_precision import average_precision
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import FoundObject
from tests.unit.evaluate.metrics.squares import found, trace


def test_poses_of_which_the_dense_network_sees_nothing_do_not_count() -> None:
    unseen = FoundObject(category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=(9.0, 9.0, 0.4) * 17)
    dense = trace((), (unseen,))
    assert average_precision(dense, dense, 0.25) is None
    assert average_precision(trace((), ()), dense, 0.25) is None


def test_average_precision_of_poses_follows_the_similarity() -> None:
    """All keypoints off by as much as makes an OKS of 0.72: right at the 5 thresholds 0.50, 0.55 ... 0.70 of 10."""
    points = 4  # not COCO's 17: all sigmas are 1 / 4
    area = 30 * 30 * 0.53
    off = float(np.sqrt(-np.log(0.72) * 2 * area * (2 / points) ** 2))
    poses = [
        FoundObject(
            category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=tuple([10 + x, 12.0, 0.9] * points)
        )
        for x in (0, off)
    ]  # fmt: skip
    dense, mine = (trace((), (pose,)) for pose in poses)
    assert average_precision(mine, dense, 0.25) == pytest.approx(5 / 10)
    oks = score(mine, dense, None).oks
    assert oks == pytest.approx(0.72, abs=1e-4)


@pytest.mark.parametrize("masked", [True, False])
def test_average_precision_leaves_out_the_first_frame(masked: bool) -> None:
    one = found(0, masked=masked)
    assert average_precision(trace((), (one,)), trace((one,), (one,)), 0.25) == pytest.approx(1)
    assert average_precision(trace((one,), (one,)), trace((), (one,)), 0.25) == pytest.approx(1)
    assert average_precision(trace((one,), (one,)), trace((one,), ()), 0.25) is None


def test_keypoints_that_the_dense_network_does_not_see_are_not_compared() -> None:
    def pose(last: float) -> FoundObject:
        points = (10.0, 12.0, 0.9) * 3 + (last, 12.0, 0.4)
        return FoundObject(category=0, score=0.9, box=(5.0, 5.0, 35.0, 35.0), keypoints=points)

    assert average_precision(trace((), (pose(500),)), trace((), (pose(10),)), 0.25) == pytest.approx(1)


@pytest.mark.parametrize("masked", [True, False])
def test_average_precision_follows_the_overlap(masked: bool) -> None:
    """8 columns of 12: an IoU of 2/3 is right at the thresholds 0.50, 0.55, 0.60 and 0.65 of 10."""
    dense, mine = (trace((), (found(x, masked=masked),)) for x in (0, 2))
    assert average_precision(mine, dense, 0.25) == pytest.approx(4 / 10)


def test_all_objects_are_predictions_and_only_confident_ones_are_the_truth() -> None:
    unsure, sure = (trace((), (found(0, score=value),)) for value in (0.1, 0.9))
    assert average_precision(unsure, sure, 0.25) == pytest.approx(1)
    assert average_precision(sure, unsure, 0.25) is None
    assert score(unsure, sure, None).miou == 0  # which only confident ones count for


def test_the_evaluation_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    one = trace((), (found(0),))
    assert average_precision(one, one, 0.25) == pytest.approx(1)
    assert capsys.readouterr() == ("", "")


def test_what_is_missed_lowers_the_average_precision() -> None:
    dense = trace((), *[(found(0), found(30))] * 4)
    half = trace((), *[(found(0),)] * 4)
    assert average_precision(dense, dense, 0.25) == pytest.approx(1)
    # one of two objects, always right: precision 1 up to a recall of 0.5, and 0 behind; 51 of COCO's 101 points
    assert average_precision(half, dense, 0.25) == pytest.approx(51 / 101)
    assert average_precision(trace((), (), (), (), ()), dense, 0.25) == 0
    assert average_precision(dense, trace((), (), (), (), ()), 0.25) is None
