"""Global motion of a frame as MotionDeltaCNN uses it: a homography and its nearest whole-pixel shift.

Source: Parger et al., MotionDeltaCNN, ICCV 2023; RANSAC: Fischler and Bolles, CACM 1981; normalised direct linear
transform: Hartley and Zisserman, Multiple View Geometry, algorithm 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluxshard.motion import MotionField

SAMPLES = 64  # RANSAC iterations
INLIER_PX = 2.0  # largest reprojection error of an inlier


def global_shift(motion: MotionField) -> tuple[int, int]:
    """Whole-pixel shift (dy, dx) of the current frame relative to the previous one.

    The median displacement of a homography fitted to all valid cells, since a cache moves only by whole pixels. Without
    a homography, the median of the valid vectors; (0, 0) without valid vectors.
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
    """Fits the homography that maps `sources` to `targets` by RANSAC, then by least squares over the inliers.

    Args:
      sources, targets: `(N, 2)` float64 points (x, y).
      seed: seed of the random samples.

    Returns:
      `(3, 3)` float64; None for fewer than four pairs, or where no sample determines a homography.
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
    """Applies a `(3, 3)` homography to `(N, 2)` points (x, y); points at infinity become NaN."""
    lifted = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        result: NDArray[np.float64] = lifted[:, :2] / lifted[:, 2:]
    result[~np.isfinite(result).all(1)] = np.nan
    return result


def _inliers(
    matrix: NDArray[np.float64], sources: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Pairs with a reprojection error below `INLIER_PX`: `(N,)` bool."""
    distance = np.hypot(*(project(matrix, sources) - targets).T)
    return np.asarray(distance < INLIER_PX)  # NaN compares as False


def _least_squares(sources: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Homography by the direct linear transform on normalised points; None where the points do not determine one."""
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
    if values[1] < 1e-9 * max(values[-1], 1e-30):  # the null space has more than one dimension: three points on a line
        return None
    matrix = np.linalg.inv(to_target) @ vectors[:, 0].reshape(3, 3) @ to_source
    if abs(matrix[2, 2]) < 1e-12:
        return None
    result: NDArray[np.float64] = matrix / matrix[2, 2]
    return result


def _normaliser(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Similarity that moves points to mean zero and mean distance sqrt(2); None where all points coincide."""
    middle = points.mean(0)
    distance = float(np.hypot(*(points - middle).T).mean())
    if distance < 1e-9:
        return None
    scale = np.sqrt(2) / distance
    return np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
