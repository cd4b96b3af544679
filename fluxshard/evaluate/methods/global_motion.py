"""One motion for a whole frame, as MotionDeltaCNN takes it: a homography, and the whole-pixel shift nearest to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import MotionField

SAMPLES = 64
INLIER_PX = 2.0


def global_shift(motion: MotionField) -> tuple[int, int]:
    """The whole-pixel shift (dy, dx) that is nearest to the frame's homography over all cells whose motion is known.

    A cache can only move by whole cells, so the homography's median displacement is taken. Where nothing is known, or
    too little for a homography, it is the median of what is known.
    """
    rows, columns = np.nonzero(motion.valid)
    if len(rows) == 0:
        return 0, 0
    targets = (np.stack([columns, rows], -1) * motion.cell_px + motion.cell_px / 2).astype(np.float64)
    moved = motion.displacement[rows, columns][:, ::-1].astype(np.float64)
    matrix = fit_homography(targets - moved, targets)
    displacement = moved
    if matrix is not None:
        inverse = np.asarray(np.linalg.inv(matrix), np.float64)
        displacement = targets - project(inverse, targets)
    dx, dy = np.nanmedian(displacement, axis=0)
    return round(float(dy)), round(float(dx))


def fit_homography(
    sources: NDArray[np.float64], targets: NDArray[np.float64], seed: int = 0
) -> NDArray[np.float64] | None:
    """Robust fit of the homography that takes `sources` to `targets`, both `(N, 2)` x, y.

    Random samples of four pairs (RANSAC), then least squares over the inliers of the best.

    Returns:
      `(3, 3)`; None under four pairs, or where no sample determines one.
    """
    count = len(sources)
    if count < 4:
        return None
    rng = np.random.default_rng(seed)
    best: NDArray[np.bool_] | None = None
    for _ in range(SAMPLES):
        picked = rng.choice(count, 4, replace=False)
        matrix = _least_squares(sources[picked], targets[picked])
        if matrix is None:
            continue
        inside = _inliers(matrix, sources, targets)
        if best is None or inside.sum() > best.sum():
            best = inside
    if best is None or best.sum() < 4:
        return None
    matrix = _least_squares(sources[best], targets[best])
    return matrix if matrix is not None and abs(np.linalg.det(matrix)) > 1e-9 else None


def project(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Applies a homography to `(N, 2)` points; a point at infinity becomes NaN."""
    lifted = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        result: NDArray[np.float64] = lifted[:, :2] / lifted[:, 2:]
    result[~np.isfinite(result).all(1)] = np.nan
    return result


def _inliers(
    matrix: NDArray[np.float64], sources: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.bool_]:
    distance = np.hypot(*(project(matrix, sources) - targets).T)
    return np.asarray(distance < INLIER_PX)  # False for NaN


def _least_squares(sources: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The direct linear transform on normalised points."""
    to_source, to_target = _normaliser(sources), _normaliser(targets)
    if to_source is None or to_target is None:
        return None
    a, b = project(to_source, sources), project(to_target, targets)
    zero, one = np.zeros(len(a)), np.ones(len(a))
    x, y, u, v = a[:, 0], a[:, 1], b[:, 0], b[:, 1]
    rows = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], 1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], 1),
        ]
    )
    values, vectors = np.linalg.eigh(rows.T @ rows)
    if values[1] < 1e-9 * max(values[-1], 1e-30):  # more than one solution: three points on a line
        return None
    matrix = np.linalg.inv(to_target) @ vectors[:, 0].reshape(3, 3) @ to_source
    if abs(matrix[2, 2]) < 1e-12:
        return None
    result: NDArray[np.float64] = matrix / matrix[2, 2]
    return result


def _normaliser(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Moves points to mean zero and mean distance sqrt(2)."""
    middle = points.mean(0)
    distance = float(np.hypot(*(points - middle).T).mean())
    if distance < 1e-9:
        return None
    scale = np.sqrt(2) / distance
    return np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
