"""What a frame takes from the edge's battery, wherever it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fluxshard.runtime.offload.latency_model import LatencyModel

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeEnergy:
    """Energy of the edge for a frame that it runs, and for one that it waits for.

    Both include what the device uses at rest during the frame. A radio is counted only where its energy is given: no
    meter of a board tells it apart, and some keep it powered for seconds after a transfer.
    Source: the FluxShard paper measures the board's power over each frame interval; its figures fit a power at rest
    times the frame's time, plus a constant power while the edge computes.

    Attributes:
      frame_mj: energy of a frame that the edge runs, against its work; millijoules where the model says milliseconds.
      rest_mw: power of the device at rest, in milliwatts.
      radio_mj_per_mib: energy to send a MiB.
    """

    frame_mj: LatencyModel
    rest_mw: float
    radio_mj_per_mib: float = 0.0

    def edge_mj(self, work: Sequence[float]) -> float:
        """Energy of a frame that the edge runs.

        Raises:
          ProfileError: another number of kinds of work than was fitted.
        """
        return self.frame_mj.predict_ms(work)

    def cloud_mj(self, cloud_ms: float, upload_bytes: int) -> float:
        """Energy of the edge for a frame that the server answers after so long."""
        return self.rest_mw * cloud_ms / 1e3 + self.radio_mj_per_mib * upload_bytes / _MIB
