"""The methods of the evaluation: what goes up, who decides, and whose results are scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fluxshard.evaluate.end_to_end.settings import ABLATIONS, Role
from fluxshard.evaluate.offload.replay import Strategy
from fluxshard.evaluate.offload.scenario import Rules
from fluxshard.runtime.offload.dispatch import DispatchOptions

Kind = Literal["baseline", "FluxShard", "ablation", "oracle"]
Sent = Literal["raw", "jpeg", "h264", "camera", "coach", "packed", "bitstream"]
GREEDY, OPTIMUM = "greedy oracle", "optimum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A method of the evaluation.

    Attributes:
      name: in tables.
      kind: what it is there for.
      role: whose results answer, and whose work is done.
      sent: what goes up for a frame of the server.
      strategy: who decides; None for the optimum, which is no dispatcher.
      rules: how dispatch and link behave.
      dense: both endpoints compute everything, whatever the work.
      plans: the edge looks at every frame before it is placed; one that only sends spends no energy on that.
      paper: the paper's name of the same method; None where it has none.
    """

    name: str
    kind: Kind
    role: Role
    sent: Sent
    strategy: Strategy | None
    rules: Rules = field(default_factory=Rules)
    dense: bool = False
    plans: bool = True
    paper: str | None = None


_WAITS = Rules(waits_for_edge=True)  # propagated reuse assembles its input in place
EDGE_ONLY, OFFLOAD, H264 = "edge only", "offload raw", "offload H.264"
PAPERS, PLANNED_RAW, PLANNED = "FluxShard as in the paper", "FluxShard planned, raw", "FluxShard planned, bitstream"
CARRIED, ANYTIME = "planned + carried, bitstream", "carried, 10 ms"
LEAST_ENERGY = "planned, bitstream, least energy"


def _propagated(name: str, kind: Kind, role: Role, paper: str | None, **changes: object) -> Entrant:
    values: dict[str, object] = {"strategy": "paper", "rules": _WAITS, "sent": "raw"}
    return Entrant(name=name, kind=kind, role=role, paper=paper, **(values | changes))  # type: ignore[arg-type]


JUDGED: tuple[Sent, ...] = ("raw", "bitstream")
"""Payloads whose dispatch is compared with oracles."""
_DISPATCHERS: tuple[tuple[str, Strategy | None], ...] = (
    ("always edge", "edge"), ("always cloud", "cloud"), ("Algorithm 1", "paper"), ("hedged, not warm", "hedged"),
    (GREEDY, "oracle"), (OPTIMUM, None),
)  # fmt: skip

ENTRANTS: tuple[Entrant, ...] = (
    Entrant(
        name=EDGE_ONLY, kind="baseline", role="dense", sent="raw", strategy="edge", dense=True, plans=False,
        paper="Edge only",
    ),
    Entrant(
        name=OFFLOAD, kind="baseline", role="dense", sent="raw", strategy="cloud", dense=True, plans=False,
        paper="Offload",
    ),
    Entrant(
        name="offload JPEG", kind="baseline", role="jpeg", sent="jpeg", strategy="cloud", dense=True, plans=False
    ),
    Entrant(name=H264, kind="baseline", role="dense", sent="h264", strategy="cloud", dense=True, plans=False),
    Entrant(
        name="H.264 up, FluxShard on the server", kind="baseline", role="planned", sent="camera", strategy="cloud",
        plans=False,
    ),
    Entrant(
        name="COACH", kind="baseline", role="coach", sent="coach", strategy="paper", dense=True, paper="COACH"
    ),
    _propagated("DeltaCNN, edge only", "baseline", "deltacnn", None, strategy="edge"),
    _propagated("DeltaCNN", "baseline", "deltacnn", "DeltaCNN"),
    _propagated("MotionDeltaCNN, edge only", "baseline", "motion-deltacnn", None, strategy="edge"),
    _propagated("MotionDeltaCNN", "baseline", "motion-deltacnn", "MotionDeltaCNN"),
    _propagated(PAPERS, "FluxShard", "propagated", "FluxShard"),
    Entrant(
        name=PLANNED_RAW, kind="FluxShard", role="planned", sent="raw", strategy="hedged+warm", paper="FluxShard"
    ),
    Entrant(name="FluxShard planned, packed", kind="FluxShard", role="planned", sent="packed", strategy="hedged+warm"),
    Entrant(name=PLANNED, kind="FluxShard", role="planned", sent="bitstream", strategy="hedged+warm"),
    Entrant(name=CARRIED, kind="FluxShard", role="carried", sent="bitstream", strategy="hedged+warm"),
    Entrant(
        name=LEAST_ENERGY, kind="FluxShard", role="planned", sent="bitstream", strategy="hedged",
        rules=Rules(dispatch=DispatchOptions(minimize="energy")),
    ),
    _propagated("w/o RFAP", "ablation", "w/o RFAP", "w/o RFAP"),
    _propagated("RFAP per layer", "ablation", "RFAP per layer", "RFAP per layer"),
    _propagated("w/o offload", "ablation", "propagated", "w/o offload", strategy="edge"),
    _propagated("w/o sparse", "ablation", "w/o sparse", "w/o sparse", dense=True),
    _propagated("w/o remap", "ablation", "w/o remap", "w/o remap"),
    *(
        Entrant(
            name=f"planned, {sent}: {label}", kind="oracle", role="planned", sent=sent, strategy=strategy
        )
        for sent in JUDGED
        for label, strategy in _DISPATCHERS
    ),
)  # fmt: skip
TOGETHER = (OFFLOAD, H264, "DeltaCNN", "MotionDeltaCNN", PAPERS, PLANNED_RAW, PLANNED)
"""Names of those that are replayed with several edges."""


def taking_part(*, ablated: bool) -> tuple[Entrant, ...]:
    """The methods of an evaluation.

    Args:
      ablated: with those whose results are of `settings.ABLATIONS`.
    """
    return tuple(one for one in ENTRANTS if ablated or one.role not in ABLATIONS)


def entrant(name: str) -> Entrant:
    """The entrant of a name."""
    return next(one for one in ENTRANTS if one.name == name)
