"""What a stream learns of an endpoint's latency while it runs: drift of a profile, and quantiles of its errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fluxshard.runtime.offload.latency_model import MIN_SAMPLES, LatencyModel, Sample, fit

_WINDOW = 64  # samples that are kept without a profile
_REFIT = 16  # frames between fits
_AS_MUCH = 0.9  # of the most work that is kept: a newer frame with so much takes its place
_DRIFT = 0.1  # weight of the newest frame in the mean ratio
_STEP = 0.05  # of the quantiles, in units of the logarithm


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Running quantiles of measured over predicted time.

    Each rises by `step * target` where a ratio is above it, and falls by `step * (1 - target)` otherwise: in the long
    run a share of `target` lies below, whatever the distribution does.
    Source: adaptive conformal inference, Gibbs and Candes 2021, with ratios in logarithms.

    Attributes:
      log_median, log_q95: logarithms of the ratios.
    """

    log_median: float = 0.0
    log_q95: float = 0.3

    @property
    def median(self) -> float:
        """Half of all frames take at most so many times what was predicted."""
        return math.exp(self.log_median)

    @property
    def q95(self) -> float:
        """19 of 20 frames take at most so many times what was predicted."""
        return math.exp(max(self.log_q95, self.log_median))

    def after(self, ratio: float) -> Quantiles:
        """With one more ratio; those that are not finite or not above 0 say nothing."""
        if not (math.isfinite(ratio) and ratio > 0):
            return self
        seen = math.log(ratio)
        return Quantiles(_moved(self.log_median, seen, 0.5), _moved(self.log_q95, seen, 0.95))


def _moved(quantile: float, seen: float, target: float) -> float:
    return quantile + _STEP * (target if seen > quantile else target - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineLatency:
    """An endpoint's latency as a stream knows it. Immutable: `after` gives the next one.

    Attributes:
      model: of a profile, or fitted to the first frames; None while there are too few of them.
      profiled: the model came from a profile.
      drift: mean ratio of measured over the model's time: a machine that got slower, say.
      quantiles: of measured over predicted time.
      recent: the last frames, where there is no profile, and the one with the most work: frames of a calm video are all
        alike, and a line through them says nothing of a whole one.
      frames: measured by this stream.
    """

    model: LatencyModel | None = None
    profiled: bool = False
    drift: float = 1.0
    quantiles: Quantiles = Quantiles()
    recent: tuple[Sample, ...] = field(default=(), repr=False)
    frames: int = 0

    @classmethod
    def from_profile(cls, model: LatencyModel) -> OnlineLatency:
        """Starts from a profile."""
        return cls(model=model, profiled=True)

    def predict_ms(self, work: Sequence[float]) -> float | None:
        """Expected time of a frame; None while nothing is known: then the frame is worth running to measure it.

        Raises:
          ProfileError: another number of kinds of work than was fitted.
        """
        return None if self.model is None else self.drift * self.model.predict_ms(work)

    def after(self, work: Sequence[float], ms: float) -> OnlineLatency:
        """With one more measured frame; a time that is not finite or not above 0 says nothing.

        Args:
          work: as predicted before the frame ran.
          ms: that it took.
        """
        if not (math.isfinite(ms) and ms > 0):
            return self
        frames, quantiles, drift, model = self.frames + 1, self.quantiles, self.drift, self.model
        predicted = self.predict_ms(work)
        if predicted:
            quantiles = quantiles.after(ms / predicted)
            drift *= (1 - _DRIFT) + _DRIFT * ms / predicted
        if self.profiled:
            return replace(self, drift=drift, quantiles=quantiles, frames=frames)
        recent = _kept((*self.recent, Sample(work=tuple(map(float, work)), ms=ms)))
        if len(recent) >= MIN_SAMPLES and (model is None or frames % _REFIT == 0):
            model, drift = fit(recent), 1.0
        return replace(self, model=model, drift=drift, quantiles=quantiles, recent=recent, frames=frames)


def _kept(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Without the oldest of too many, but for the newest of those with about the most work."""
    if len(samples) <= _WINDOW:
        return samples
    sums = [sum(sample.work) for sample in samples]
    widest = max(index for index, each in enumerate(sums) if each >= _AS_MUCH * max(sums))
    return samples[1:] if widest else (samples[0], *samples[2:])
