"""Recorded rates of links, and how long an upload takes over them."""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.link_emulation.bottleneck import BYTES_PER_MS, arrival_ms, sent_bytes
from fluxshard.cloud.link_emulation.options import LEAST_MBPS
from fluxshard.errors import EvaluationError

N_MEDIUM = 60  # of the 5G traces, by rising median; the others are the high tier. Source: the paper's section V-A

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LinkTrace:
    """The rate of a link, one value a second, from the start again at its end.

    Attributes:
      name: of the recording.
      mbps: megabits per second.

    Raises:
      EvaluationError: nothing, or a rate that is not a number of at least 0.
    """

    name: str
    mbps: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mbps or not all(math.isfinite(rate) and rate >= 0 for rate in self.mbps):
            raise EvaluationError(f"link trace {self.name!r} must have rates of at least 0 Mbit/s")

    def arrival_ms(self, start_ms: float, n_bytes: float) -> float:
        """When the last byte has gone through, for an upload that begins at a time and has the link to itself."""
        return arrival_ms(self._rate, start_ms, n_bytes)

    def sent_bytes(self, start_ms: float, until_ms: float) -> float:
        """How many bytes go through between two times."""
        return sent_bytes(self._rate, start_ms, until_ms)

    def _rate(self, at_ms: float) -> float:
        return max(LEAST_MBPS, self.mbps[int(at_ms // 1000) % len(self.mbps)]) * BYTES_PER_MS


class LinkTable:
    """Arrivals over a link for whole arrays at once.

    Args:
      link: the link.
      until_ms: later arrivals are not told apart: they are infinite.
    """

    def __init__(self, link: LinkTrace, until_ms: float) -> None:
        seconds = math.ceil(until_ms / 1000) + 1
        rates = np.maximum(LEAST_MBPS, np.resize(np.array(link.mbps), seconds)) * BYTES_PER_MS
        self._at_ms = np.arange(seconds + 1) * 1000.0
        self._through = np.concatenate(([0.0], np.cumsum(rates * 1000.0)))  # bytes that could have gone through

    def arrivals_ms(self, starts_ms: Floats, n_bytes: Floats) -> Floats:
        """See `LinkTrace.arrival_ms`; of arrays that broadcast."""
        through = np.interp(starts_ms, self._at_ms, self._through) + n_bytes
        arrivals: Floats = np.interp(through, self._through, self._at_ms, right=np.inf)
        return arrivals


def read_trace(path: Path) -> LinkTrace:
    """Reads `t Mbps` lines, or CSV with the columns `t_s,uplink_mbps`.

    Raises:
      EvaluationError: missing or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.suffix == ".csv":
            rates = [float(row["uplink_mbps"]) for row in csv.DictReader(lines)]
        else:
            rates = [float(line.split()[1]) for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, IndexError) as error:
        seen = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise EvaluationError(f"link trace {str(path)!r} cannot be read: {seen}") from error
    return LinkTrace(path.name, tuple(rates))


def tiers(root: Path) -> dict[str, list[LinkTrace]]:
    """The paper's three tiers, which are downlinks, and true uplinks: "low", "medium", "high", "uplink".

    Args:
      root: directory with `sigcomm21_lumos5g` and `sigcomm21_uplink`.

    Raises:
      EvaluationError: there are no traces.
    """
    mobile = root / "sigcomm21_lumos5g"
    low, fast = _all(mobile / "4G", "*"), _all(mobile / "5G", "*")
    fast = sorted(fast, key=lambda trace: statistics.median(trace.mbps))
    uplink = _all(root / "sigcomm21_uplink", "*run*.csv")
    return {"low": low, "medium": fast[:N_MEDIUM], "high": fast[N_MEDIUM:], "uplink": uplink}


def _all(folder: Path, pattern: str) -> list[LinkTrace]:
    found = [read_trace(path) for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not found:
        raise EvaluationError(f"there are no link traces in {str(folder)!r}")
    return found
