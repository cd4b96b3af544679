"""What a stream learns of both endpoints and the link while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from fluxshard.cloud.wire.proto import offload_pb2 as pb
from fluxshard.runtime.offload.energy import EdgeEnergy
from fluxshard.runtime.offload.hedge import HedgeBudget
from fluxshard.runtime.offload.online_latency import OnlineLatency, Quantiles
from fluxshard.runtime.offload.pacing import chunk_bytes
from fluxshard.runtime.offload.prospects import SHARES, may_answer
from fluxshard.runtime.offload.uplink import Uplink
from fluxshard.runtime.offload.work_trend import WorkTrend

Work = tuple[float, ...]

_WEIGHT = 0.2  # of the newest frame in running means


@dataclass(slots=True, kw_only=True)
class Estimates:
    """State of the dispatcher.

    Attributes:
      edge, cloud: latency against work; the cloud's is decoding, inference and encoding the answer.
      uplink: its rate and propagation.
      trend: of the video's work, for caches that are not tested.
      energy: of the edge; None where nothing is known.
      budget: of frames that run twice.
      edge_quantiles, cloud_quantiles: of measured over predicted time, from call to answer.
      test_ms: mean time of the edge's own image test.
      encode_ms: mean time to encode a payload.
      rest_ms: mean of what the cloud's answers took beyond what was predicted: the way down, above all.
    """

    edge: OnlineLatency = field(default_factory=OnlineLatency)
    cloud: OnlineLatency = field(default_factory=OnlineLatency)
    uplink: Uplink = field(default_factory=Uplink)
    trend: WorkTrend = field(default_factory=WorkTrend)
    energy: EdgeEnergy | None = None
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    edge_quantiles: Quantiles = field(default_factory=Quantiles)
    cloud_quantiles: Quantiles = field(default_factory=Quantiles)
    test_ms: float = 0.0
    encode_ms: float = 0.0
    rest_ms: float = 0.0

    @property
    def bytes_per_ms(self) -> float | None:
        """The uplink's rate, as far as anything is known."""
        return self.uplink.bytes_per_ms(1e3 * self.uplink.propagation_s or None)

    def cloud_ms(self, work: Work) -> float | None:
        """Expected time in the cloud; None while nothing is known.

        A profile of other kinds of work, of a server that was profiled under another policy, is worth nothing.
        """
        model = self.cloud.model
        if model is not None and len(model.slopes_ms) != len(work):
            self.cloud = OnlineLatency()
        return self.cloud.predict_ms(work)

    def server_may_answer(self, kinds: int, margin_ms: float) -> bool:
        """See `may_answer`; also where either end was not measured yet.

        Args:
          kinds: of work, that latency is predicted from.
          margin_ms: by which the edge must be faster.
        """
        times = []
        for share in SHARES:
            work = (share,) * kinds
            edge_ms, cloud_ms = self.edge.predict_ms(work), self.cloud_ms(work)
            if edge_ms is None or cloud_ms is None:
                return True
            times.append((edge_ms + self.test_ms, cloud_ms))
        return may_answer(times, 1e3 * self.uplink.propagation_s, margin_ms)

    def edge_mj(self, work: Work) -> float | None:
        """Expected energy of a frame that the edge runs; None while nothing is known."""
        return None if self.energy is None else self.energy.edge_mj(work)

    def cloud_mj(self, cloud_ms: float | None, upload_bytes: int) -> float | None:
        """Expected energy of the edge for a frame that the server answers; None while nothing is known."""
        return None if self.energy is None or cloud_ms is None else self.energy.cloud_mj(cloud_ms, upload_bytes)

    @property
    def chunk_bytes(self) -> int:
        """Of messages with pixels."""
        return chunk_bytes(self.bytes_per_ms)

    def edge_ran(self, work: Work, ms: float, expected_ms: float | None) -> None:
        """The edge has run a frame."""
        self.edge = self.edge.after(work, ms)
        if expected_ms:
            self.edge_quantiles = self.edge_quantiles.after(ms / expected_ms)

    def edge_tested(self, ms: float) -> None:
        """The image test of the edge's own cache was run."""
        self.test_ms = _mean(self.test_ms, ms)

    def encoded(self, ms: float) -> None:
        """A payload was encoded."""
        self.encode_ms = _mean(self.encode_ms, ms)

    def cloud_ran(self, work: Work, result: pb.Result, now_s: float, head_round_trip_s: float | None) -> None:
        """The server has run a frame.

        Args:
          work: as predicted.
          result: the server's figures.
          now_s: on the monotonic clock.
          head_round_trip_s: of the frame's head, which nothing waited before.
        """
        self.cloud = self.cloud.after(work, result.decode_ms + result.inference_ms + result.answer_ms)
        self.uplink = self.uplink.after(result.upload_bytes, result.upload_ms / 1e3, now_s)
        if head_round_trip_s is not None:
            self.uplink = self.uplink.after_round_trip(head_round_trip_s)

    def cloud_answered(self, ms: float, expected_ms: float | None, upload_late_ms: float = 0.0) -> None:
        """The server's answer was there after so long.

        Args:
          ms: from placing the frame to the answer.
          expected_ms: the same, as expected; None where nothing was known.
          upload_late_ms: by which the upload took longer than expected. The uplink's rate learns that, and forgets it
            when the link is back; `rest_ms` must not learn it a second time, as it learns only from answers, of which
            there are none while it keeps frames on the edge.
        """
        if expected_ms:
            self.rest_ms = max(0.0, self.rest_ms + _WEIGHT * (ms - expected_ms - upload_late_ms))
            self.cloud_quantiles = self.cloud_quantiles.after(ms / expected_ms)


def _mean(before: float, newest: float) -> float:
    """A running mean; 0 stands for none."""
    return newest if not before else before + _WEIGHT * (newest - before)
