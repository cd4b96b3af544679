"""Figures that are the same whether streams were replayed or ran: loss of accuracy, and the age of answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def loss_of(accuracy: float | None, dense: float | None) -> float | None:
    """Loss of a mean accuracy relative to the dense network's on the same frames; None where there is none."""
    return None if accuracy is None or not dense else 1 - accuracy / dense


def age_area(done_ms: Floats, captured_ms: Floats) -> tuple[float, float]:
    """Integral over time of the age of the newest answer's frame, between the first answer and the last; that time.

    Args:
      done_ms: when answers were there, in order.
      captured_ms: when their frames were captured.
    """
    lasts = np.diff(done_ms)
    return float(np.sum(lasts * (done_ms[:-1] + lasts / 2 - captured_ms[:-1]))), float(done_ms[-1] - done_ms[0])
