"""Latency of an endpoint as a function of a frame's predicted work; it never falls where work grows."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import ProfileError

MIN_SAMPLES = 8
_KNOTS = 12
_FOLDS = 5
_FAR = 2.0
_SWEEPS, _STILL = 400, 1e-9  # a stream fits while its frames wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measured frame.

    Attributes:
      work: what the frame's proposal predicts, 0..1 each: (rho,) under propagated reuse; under planned reuse the share
        of multiply-accumulates, then the share of cells per level.
      ms: time that the endpoint took.
    """

    work: tuple[float, ...]
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """A linear sum of work with weights of at least 0, bent by a rising curve.

    Attributes:
      base_ms: without work.
      slopes_ms: per unit of each kind of work, at least 0.
      knots: (linear sum, latency) in milliseconds, both rising; latency in between is interpolated.
      error: median of |predicted - measured| / measured on frames that were not fitted, by cross-validation.
      samples: frames that were fitted.
    """

    base_ms: float
    slopes_ms: tuple[float, ...]
    knots: tuple[tuple[float, float], ...]
    error: float
    samples: int

    def predict_ms(self, work: Sequence[float]) -> float:
        """Latency of a frame with this predicted work.

        Raises:
          ProfileError: another number of kinds of work than was fitted.
        """
        if len(work) != len(self.slopes_ms):
            raise ProfileError(
                f"a frame has {len(work)} kinds of predicted work, and the latency profile was fitted to "
                f"{len(self.slopes_ms)}: profile this model under the same policy (fluxshard profile)"
            )
        linear = self.base_ms + sum(slope * share for slope, share in zip(self.slopes_ms, work, strict=True))
        return _bent(self.knots, linear)


def fit(samples: Sequence[Sample]) -> LatencyModel:
    """Fits a model, and its error on frames that are left out in turn.

    Args:
      samples: at least `MIN_SAMPLES`, with equal kinds of work.

    Raises:
      ProfileError: too few samples, unequal kinds of work, or a measured time that is not above 0.
    """
    if len(samples) < MIN_SAMPLES:
        raise ProfileError(f"{len(samples)} frames were measured; a latency profile needs at least {MIN_SAMPLES}")
    kinds = {len(sample.work) for sample in samples}
    if len(kinds) > 1:
        raise ProfileError(f"samples have {sorted(kinds)} kinds of work: measure all frames under one policy")
    work = np.array([sample.work for sample in samples], np.float64)
    ms = np.array([sample.ms for sample in samples], np.float64)
    if not (np.isfinite(work).all() and np.isfinite(ms).all() and (ms > 0).all()):
        raise ProfileError("samples must have finite work and times above 0 ms")
    folds = np.arange(len(ms)) % min(_FOLDS, len(ms))
    errors = np.zeros(len(ms))
    for fold in range(folds.max() + 1):
        kept = folds != fold
        base, slopes, knots = _fit(work[kept], ms[kept])
        found = np.array([_bent(knots, base + float(one @ slopes)) for one in work[~kept]])
        errors[~kept] = np.abs(found - ms[~kept]) / ms[~kept]
    base, slopes, knots = _fit(work, ms)
    return LatencyModel(
        base_ms=base, slopes_ms=tuple(map(float, slopes)), knots=knots, error=float(np.median(errors)), samples=len(ms)
    )


def _fit(
    work: NDArray[np.float64], ms: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], tuple[tuple[float, float], ...]]:
    weights = _non_negative(np.column_stack([np.ones(len(ms)), work]), ms)
    base, slopes = float(weights[0]), weights[1:]
    linear = base + work @ slopes
    return base, slopes, _knots(linear, ms)


def _non_negative(columns: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of at least 0 with the least squared relative error, by coordinate descent."""
    scaled = columns / target[:, None]  # relative errors: a frame of 5 ms counts as much as one of 50
    gram, ones = scaled.T @ scaled, scaled.T @ np.ones(len(target))
    gram[np.diag_indices_from(gram)] += 1e-9 * max(float(np.trace(gram)), 1e-12)  # kinds of work that are the same
    rows, right, weights = gram.tolist(), ones.tolist(), [0.0] * columns.shape[1]
    for _ in range(_SWEEPS):
        moved = 0.0
        for k, row in enumerate(rows):
            before = weights[k]
            rest = right[k] - sum(map(operator.mul, row, weights)) + row[k] * before
            weights[k] = max(0.0, rest / row[k])
            moved = max(moved, abs(weights[k] - before))
        if moved <= _STILL * max(weights):
            break
    return np.array(weights)


def _knots(linear: NDArray[np.float64], ms: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Medians of groups of neighbouring samples, made rising by pooling neighbours that fall.

    A frame that is expected to take twice as long as the next shorter one is no neighbour of it: in a calm video, whole
    frames are few.

    Source: pool-adjacent-violators, Ayer et al. 1955.
    """
    order = np.argsort(linear, kind="stable")
    apart = np.flatnonzero(linear[order[1:]] > _FAR * linear[order[:-1]]) + 1
    even = np.cumsum([len(group) for group in np.array_split(order, max(1, min(_KNOTS, len(ms) // 4)))])[:-1]
    groups = np.split(order, np.union1d(even, apart).astype(int))
    blocks = [[float(np.mean(linear[group])), float(np.median(ms[group])), float(len(group))] for group in groups]
    pooled: list[list[float]] = []
    for block in blocks:
        pooled.append(block)
        while len(pooled) > 1 and (pooled[-2][1] >= pooled[-1][1] or pooled[-2][0] >= pooled[-1][0]):
            x, y, n = pooled.pop()
            last = pooled[-1]
            total = last[2] + n
            pooled[-1] = [(last[0] * last[2] + x * n) / total, (last[1] * last[2] + y * n) / total, total]
    return tuple((x, y) for x, y, _ in pooled)


def _bent(knots: Sequence[tuple[float, float]], linear: float) -> float:
    """The curve at a linear sum; its first and last piece go on beyond its ends.

    The first piece may be steep by chance: below it, the latency falls by no larger share than the linear sum does.
    """
    if len(knots) == 1:
        ((x, y),) = knots
        return y * linear / x if x > 0 else y
    pieces = list(itertools.pairwise(knots))
    (x0, y0), (x1, y1) = next((piece for piece in pieces if linear <= piece[1][0]), pieces[-1])
    found = y0 + (y1 - y0) * (linear - x0) / (x1 - x0)
    return max(found, y0 * linear / x0) if x0 > 0 and linear < x0 else found
