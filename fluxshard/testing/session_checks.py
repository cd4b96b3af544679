"""Checks of sessions: against the dense network, and of two backends against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fluxshard.ir.plan import Plan
from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.engines.engine import Inspection, StepCounts
from fluxshard.runtime.session import Session
from fluxshard.runtime.stats import FrameStats
from fluxshard.testing.comparisons import assert_same

EXACT = ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0)
"""Zero thresholds and the exact receptive-field check: outputs are those of the dense network."""


@torch.inference_mode()
def check_against_dense(
    net: nn.Module,
    session: Session,
    sequence: Iterable[tuple[Tensor, MotionField | None]],
    tolerance: float = 2e-4,
) -> Iterator[FrameStats]:
    """Runs a session and the network side by side, and asserts that they return the same for every frame.

    A generator: frames run as the statistics are consumed.

    Args:
      net: the network, in eval mode, on the device of the images.
      session: a stream of the compiled network, with settings that promise exactness (`EXACT`).
      sequence: pairs (image `(1, C, H, W)`, motion from the image before), as `frames` makes them.
      tolerance: as for `assert_same`.

    Yields:
      statistics of each frame.

    Raises:
      AssertionError: an output differs.
    """
    for image, motion in sequence:
        assert_same(session.run(image, motion), net(image), tolerance)
        yield session.stats


def assert_same_decisions(a: Session, b: Session, plan: Plan, values: bool) -> None:
    """Asserts that two sessions decided the same on their last frame, bit for bit.

    Args:
      a, b: sessions of the same network on two backends, after the same frames.
      plan: of the network.
      values: also compares candidates, masks, slot maps and features of every layer. Those may differ between backends
        where a feature lies within rounding of its threshold; with small-integer weights and images they do not.

    Raises:
      AssertionError: naming the layer or value that differs.
    """
    assert_same_inspections(a.inspect(), b.inspect(), plan, values)
    assert a.stats.recompute_ratio == b.stats.recompute_ratio and a.stats.keyframe == b.stats.keyframe


def assert_same_inspections(one: Inspection, two: Inspection, plan: Plan, values: bool) -> None:
    """Asserts what `assert_same_decisions` does of masks, maps and features, without sessions.

    Args:
      one, two: of the last frame of two engines.
      plan, values: see there.

    Raises:
      AssertionError: naming the layer or value that differs.
    """
    assert (one.input_mask() == two.input_mask()).all()
    for layer in plan.layers:
        if layer.mode == "view":
            continue
        if layer.mode == "sparse" and values:
            assert _equal(one.candidates(layer.name), two.candidates(layer.name)), layer.name
        for name in layer.outputs if values else ():
            if one.mask(name) is not None:
                assert _equal(one.mask(name), two.mask(name)), name
                assert _same_rows(one, two, name), name
                assert _equal(one.value(name), two.value(name)), name


def _same_rows(one: Inspection, two: Inspection, name: str) -> bool:
    """Whether slot maps are equal; where backends choose rows by different rules, whether the same cells share rows."""
    a, b = one.slots(name), two.slots(name)
    if a is None or b is None or one.rows_in_place == two.rows_in_place:
        return _equal(a, b)
    return _equal(_first_cells(a), _first_cells(b))


def _first_cells(slots: NDArray[np.int32]) -> NDArray[np.int64]:
    """For every cell, the first one that reads the same row."""
    _, first, row = np.unique(slots, return_index=True, return_inverse=True)
    return first[row.ravel()]


def assert_same_counts(one: StepCounts, two: StepCounts) -> None:
    """Asserts that two engines evaluated as many cells in every layer.

    Raises:
      AssertionError: they did not.
    """
    assert (one.keyframe, one.input_cells) == (two.keyframe, two.input_cells)
    assert one.candidates.tolist() == two.candidates.tolist()
    assert one.executed.tolist() == two.executed.tolist()


def _equal(one: Tensor | NDArray[Any] | None, two: Tensor | NDArray[Any] | None) -> bool:
    """Whether both are there and equal."""
    if one is None or two is None or one.shape != two.shape:
        return True
    same: Any = one == two
    return bool(same.all())
