"""Means over clips, with how sure they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError

Interval = tuple[float, float]


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the mean over clips.

    Args:
      values: one per clip; none gives NaN.
      confidence: share of resampled means inside the interval.
      resamples: drawn with replacement.
      seed: equal seeds give equal intervals.
    """
    sample = np.asarray(values, np.float64)
    if not len(sample):
        return float("nan"), float("nan")
    return _percentiles(sample[_resampled(len(sample), resamples, seed)].mean(1), confidence)


def relative_loss(method: Sequence[float], dense: Sequence[float]) -> float:
    """1 - mean(method) / mean(dense); NaN where the dense network has nothing.

    Args:
      method, dense: one per clip, in the same order.

    Raises:
      EvaluationError: not as many values of one as of the other.
    """
    _check_paired(method, dense)
    reference = float(np.mean(dense)) if len(dense) else 0.0
    return 1 - float(np.mean(method)) / reference if reference else float("nan")


def loss_interval(
    method: Sequence[float],
    dense: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of `relative_loss`: clips are drawn in pairs, so what both find hard cancels.

    Args:
      method, dense: one per clip, in the same order.
      confidence, resamples, seed: as for `bootstrap_interval`.

    Raises:
      EvaluationError: not as many values of one as of the other.
    """
    _check_paired(method, dense)
    mine, theirs = np.asarray(method, np.float64), np.asarray(dense, np.float64)
    if not len(mine):
        return float("nan"), float("nan")
    index = _resampled(len(mine), resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = 1 - mine[index].mean(1) / theirs[index].mean(1)
    return _percentiles(losses[np.isfinite(losses)], confidence)


def worst(method: Sequence[float], dense: Sequence[float]) -> tuple[int, float] | None:
    """Index of the clip that loses most against the dense network, and its loss; None where no clip has a reference.

    Raises:
      EvaluationError: not as many values of one as of the other.
    """
    _check_paired(method, dense)
    losses = {i: 1 - a / b for i, (a, b) in enumerate(zip(method, dense, strict=True)) if b}
    if not losses:
        return None
    index = max(losses, key=lambda i: losses[i])
    return index, losses[index]


def _check_paired(method: Sequence[float], dense: Sequence[float]) -> None:
    if len(method) != len(dense):
        raise EvaluationError(
            f"the method has values of {len(method)} clips and the dense network of {len(dense)}; "
            "expected one of each per clip: evaluate the missing clips"
        )


def _resampled(count: int, resamples: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    if not len(values):
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
