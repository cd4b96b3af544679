"""Relative losses and bootstrap intervals of means over clips.

Source: the percentile bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError

Interval = tuple[float, float]


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean over clips.

    Args:
      values: one value per clip.
      confidence: fraction of resampled means inside the interval.
      resamples: number of resamples with replacement.
      seed: seed of the resamples.

    Returns:
      (low, high); NaN without values.
    """
    sample = np.asarray(values, np.float64)
    if not len(sample):
        return float("nan"), float("nan")
    return _percentiles(sample[_resampled(len(sample), resamples, seed)].mean(1), confidence)


def relative_loss(method: Sequence[float], dense: Sequence[float]) -> float:
    """1 - mean(method) / mean(dense); NaN where the dense mean is 0.

    Args:
      method, dense: one value per clip, in the same order.

    Raises:
      EvaluationError: the numbers of values differ.
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
    """Percentile bootstrap interval of `relative_loss`; pairs are resampled, so the difficulty of clips cancels.

    Args:
      method, dense: one value per clip, in the same order.
      confidence, resamples, seed: as for `bootstrap_interval`.

    Returns:
      (low, high); NaN without values.

    Raises:
      EvaluationError: the numbers of values differ.
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
    """Index and relative loss of the clip that loses most; None where the dense network is at 0 on all clips.

    Raises:
      EvaluationError: the numbers of values differ.
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
    """Indices of clips, `(resamples, count)`."""
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _percentiles(values: NDArray[np.float64], confidence: float) -> Interval:
    """Central interval that holds the given fraction of the values; NaN without values."""
    if not len(values):
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
