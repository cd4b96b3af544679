"""What all runs of an evaluation over links have in common."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.errors import OptionError
from fluxshard.evaluate.end_to_end.live.methods import METHODS, SHARED, LiveMethod
from fluxshard.evaluate.offload.link_trace import LinkTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What all runs have in common.

    Attributes:
      methods: that run.
      slowdowns: of the edge, see `slowed`.
      frames: that are counted per method and tier, at least; clips have equal shares.
      seconds: of every link, which repeats after them.
      warm_s: of every stream before frames are counted.
      most_s: after which a stream is over, whatever was counted.
      one_way_ms: propagation.
      link: see `open_link`.
      queue_bytes, congestion_control, initcwnd: see `LinkOptions`.
      edges: numbers of edges that share a link, rising; none runs no shared link.
      shared_tiers: whose links are shared.

    Raises:
      OptionError: a value that is not allowed.
    """

    methods: tuple[LiveMethod, ...] = METHODS
    slowdowns: tuple[float, ...] = (16.0, 1.0)
    frames: int = 200
    seconds: int = 10
    warm_s: float = 4.0
    most_s: float = 300.0
    one_way_ms: float = 20.0
    link: Literal["auto", "packets", "shaper"] = "auto"
    queue_bytes: int | None = None
    congestion_control: str | None = None
    initcwnd: int | None = None
    edges: tuple[int, ...] = ()
    shared_tiers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.methods or not self.slowdowns or not all(math.isfinite(one) and one >= 1 for one in self.slowdowns):
            raise OptionError(f"slowdowns (={self.slowdowns}) must be numbers of at least 1, and methods at least one")
        if self.frames < 1 or self.seconds < 1 or not 0 <= self.warm_s < self.most_s:
            raise OptionError("frames and seconds must be at least 1, and warm_s at least 0 and below most_s")
        if self.edges and not self.shared_methods:
            raise OptionError(f"several edges run {', '.join(SHARED)}: none of them is among the methods")

    @property
    def shared_methods(self) -> tuple[LiveMethod, ...]:
        """Those of the methods that several edges run."""
        return tuple(one for one in self.methods if one.name in SHARED)

    @property
    def of_a_run(self) -> dict[str, Any]:
        """What a run depends on, beside its own method and slowdown."""
        others = ("edges", "shared_tiers")
        values = {name: value for name, value in asdict(self).items() if name not in others}
        return values | {"methods": None, "slowdowns": None}

    def link_options(self, trace: LinkTrace, edges: int = 1) -> LinkOptions:
        """The link of a trace's first seconds, again and again, shared by so many edges."""
        return LinkOptions(
            edges=edges, up_mbps=trace.mbps[: self.seconds], delay_up_ms=self.one_way_ms, delay_down_ms=self.one_way_ms,
            queue_bytes=self.queue_bytes, congestion_control=self.congestion_control, initcwnd=self.initcwnd,
        )  # fmt: skip
