"""What moved results have been wrong by, frame after frame, and what the next one is expected to be."""

from __future__ import annotations

from collections import deque

_REMEMBERED = 8  # frames that were computed; scenes change
_LEAST = 2
_QUANTILE = 0.75  # means would trust scenes in which some frames are much worse than others


class ErrorHistory:
    """Predicts what grows with the number of frames since the last computed one, from what it has grown to before.

    Growth is taken as linear in the number of frames: objects leave their motion vectors at a rate.
    """

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, value: float, age: int) -> None:
        """Takes what was measured `age` frames, at least 1, after a computed one."""
        self._rates.append(value / age)

    def predict(self, age: int) -> float | None:
        """What to expect `age` frames after a computed one; None while too little is known."""
        if len(self._rates) < _LEAST:
            return None
        rates, at = sorted(self._rates), _QUANTILE * (len(self._rates) - 1)
        below = int(at)
        above = min(below + 1, len(rates) - 1)
        return (rates[below] + (rates[above] - rates[below]) * (at - below)) * age

    def clear(self) -> None:
        """Forgets everything: what comes is another scene."""
        self._rates.clear()
