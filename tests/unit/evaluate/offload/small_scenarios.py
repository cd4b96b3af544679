"""Scenarios that can be computed by hand: a frame a second, ticks of a millisecond, a link of 1 kB per millisecond."""

from __future__ import annotations

from fluxshard.evaluate.offload.content.content import SyntheticContent
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.offload.scenario import LinearCurve, Scenario

STEADY = LinkTrace("steady", (8.0,))
SLOW = LinkTrace("slow", (0.8,))  # 100 bytes per ms
OUTAGE = LinkTrace("outage", (8.0, 8.0, 0.0, 8.0, 8.0, 8.0))  # from 2 to 3 s, 6.25 bytes per ms


def own_bytes(share: float) -> float:
    """10 kB without work, 100 kB for a whole frame."""
    return 10_000 + 90_000 * share


# nothing changes: all work is that of the first frame
STILL = SyntheticContent((0.0,) * 6, own_bytes)


def scenario(link: LinkTrace = STEADY, content: SyntheticContent = STILL, **changes: float) -> Scenario:
    """The edge takes 62 ms and 100 more for a whole frame, the cloud 5 and 20 more, either way 20, deciding 8."""
    values = {"frames": 6, "period_ms": 1000.0, "ticks": 1000} | changes
    return Scenario(
        link=link, content=content, edge_ms=LinearCurve(62, 100), cloud_ms=LinearCurve(5, 20),
        frames=int(values["frames"]), period_ms=values["period_ms"], ticks=int(values["ticks"]),
    )  # fmt: skip
