"""Median prediction of flagged pixels from flagged neighbours: what is left is small numbers, which compress well.

Pixels become three planes of bytes: G, R - G + 128 and B - G + 128, modulo 256. In each, a pixel is predicted as the
median of its west neighbour w, its north neighbour n and w + n - c, with c the corner between them (the median edge
detector of LOCO-I); the residual is the pixel minus its prediction, modulo 256. Only flagged pixels have residuals and
only they predict others: a missing w is replaced by n, a missing n by w, a missing c by n, and where both w and n are
missing the prediction is 128.

Source: Weinberger, Seroussi and Sapiro, "The LOCO-I lossless image compression algorithm", IEEE Transactions on Image
Processing 9(8), 2000, section III-A; replacing neighbours is ours.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.flagged import put_flagged

Bytes = NDArray[np.uint8]
Indices = NDArray[np.intp]

CENTRE = 128


class MedianPredictor(Protocol):
    """Turns flagged pixels into residuals and back; `ReferenceMedianPredictor` defines what it computes."""

    def residuals(self, pixels: Bytes, mask: Mask) -> Bytes:
        """Residuals of flagged pixels.

        Args:
          pixels: `(H, W, 3)` RGB.
          mask: `(H, W)`, n of them True.

        Returns:
          `(3, n)`, plane by plane, pixels in raster order.
        """
        ...

    def restore(self, residuals: Bytes, mask: Mask, image: Bytes) -> None:
        """Writes the flagged pixels of an image.

        Args:
          residuals: `(3, n)`, from `residuals`.
          mask: `(H, W)`, the same.
          image: `(H, W, 3)`, contiguous, changed in place.
        """
        ...


class ReferenceMedianPredictor:
    """The definition, in numpy; also for machines without a compiler, where it takes tens of milliseconds a frame."""

    def residuals(self, pixels: Bytes, mask: Mask) -> Bytes:
        """See `MedianPredictor.residuals`."""
        values = np.full((mask.size + 1, 3), CENTRE, np.uint8)  # the last one stands for neighbours that are missing
        red, green, blue = (pixels[..., channel].reshape(-1) for channel in range(3))
        values[:-1] = np.stack([green, red - green + np.uint8(CENTRE), blue - green + np.uint8(CENTRE)], 1)
        west, north, corner = _neighbours(mask)
        predicted = _median(values[west], values[north], values[corner])
        return np.ascontiguousarray((values[np.flatnonzero(mask)] - predicted).T)

    def restore(self, residuals: Bytes, mask: Mask, image: Bytes) -> None:
        """See `MedianPredictor.restore`.

        A pixel depends on its west, north and north-west neighbours, so those of one diagonal (x + y) are independent.
        """
        flagged = np.flatnonzero(mask)
        diagonals = flagged // mask.shape[1] + flagged % mask.shape[1]
        order = np.argsort(diagonals, kind="stable")
        ends = np.flatnonzero(np.diff(diagonals[order])) + 1
        west, north, corner = _neighbours(mask)
        values = np.full((mask.size + 1, 3), CENTRE, np.uint8)
        for part in np.split(order, ends):
            predicted = _median(values[west[part]], values[north[part]], values[corner[part]])
            values[flagged[part]] = predicted + residuals.T[part]
        found = values[flagged]
        green = found[:, 0]
        red, blue = (found[:, plane] + green - np.uint8(CENTRE) for plane in (1, 2))
        put_flagged(image, mask, np.stack([red, green, blue], 1))


def _neighbours(mask: Mask) -> tuple[Indices, Indices, Indices]:
    """(west, north, corner) of every flagged pixel as indices into all pixels; `mask.size` where there is none."""
    height, width = mask.shape
    padded = np.zeros((height + 1, width + 1), np.bool_)
    padded[1:, 1:] = mask
    has_west, has_north, has_corner = (part[mask] for part in (padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]))
    at = np.flatnonzero(mask)
    west = np.where(has_west, at - 1, np.where(has_north, at - width, mask.size))
    north = np.where(has_north, at - width, west)
    return west, north, np.where(has_corner, at - width - 1, north)


def _median(west: Bytes, north: Bytes, corner: Bytes) -> Bytes:
    """The median of west, north and west + north - corner; it lies between the first two, so bytes may wrap."""
    low, high = np.minimum(west, north), np.maximum(west, north)
    plane = west + north - corner
    result: Bytes = np.where(corner >= high, low, np.where(corner <= low, high, plane))
    return result
