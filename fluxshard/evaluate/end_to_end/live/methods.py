"""The methods that run over an emulated link: where frames go, what is sent, and what is reused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fluxshard.cloud.edge.options import PayloadName
from fluxshard.errors import OptionError
from fluxshard.evaluate.end_to_end.entrants import (
    ANYTIME,
    CARRIED,
    EDGE_ONLY,
    H264,
    OFFLOAD,
    PAPERS,
    PLANNED,
    PLANNED_RAW,
)
from fluxshard.runtime.offload.dispatch import Policy

Role = Literal["whole", "planned", "carried", "propagated", "deltacnn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMethod:
    """A method over a link.

    Attributes:
      name: in tables.
      place: "edge": no server; "camera": only packets go up, and the server answers; "both": a session in two places.
      reuse: "whole": the network computes every frame whole, wherever it runs; otherwise a role of `settings`.
      payload: what goes up in two places.
      dispatch: who decides in two places.
      keep_warm: see `OffloadOptions`.
      prefers_server: the edge answers only what the server cannot.
      moves: motion is used.
      within_ms: every captured frame is answered within this time, with the newest result moved to it where its own is
        not there; None waits for each.
    """

    name: str
    place: Literal["edge", "camera", "both"]
    reuse: Role
    payload: PayloadName = "raw"
    dispatch: Policy = "hedged"
    keep_warm: bool = True
    prefers_server: bool = False
    moves: bool = True
    within_ms: float | None = None

    @property
    def slug(self) -> str:
        """For names of files."""
        return "-".join("".join(one if one.isalnum() else " " for one in self.name.lower()).split())

    @property
    def policy(self) -> Literal["planned", "propagated"]:
        """Of its `ReuseOptions`."""
        return "propagated" if self.reuse in ("propagated", "deltacnn") else "planned"


def _offload(name: str, payload: PayloadName) -> LiveMethod:
    return LiveMethod(
        name=name, place="both", reuse="whole", payload=payload, dispatch="paper", keep_warm=False, prefers_server=True
    )


def _papers(name: str, reuse: Role, *, moves: bool = True) -> LiveMethod:
    return LiveMethod(name=name, place="both", reuse=reuse, dispatch="paper", keep_warm=False, moves=moves)


def _planned(name: str, payload: PayloadName) -> LiveMethod:
    return LiveMethod(name=name, place="both", reuse="planned", payload=payload)


METHODS: tuple[LiveMethod, ...] = (
    LiveMethod(name=EDGE_ONLY, place="edge", reuse="whole"),
    _offload(OFFLOAD, "raw"),
    _offload("offload JPEG", "jpeg"),
    LiveMethod(name=H264, place="camera", reuse="whole"),
    LiveMethod(name="H.264 up, FluxShard on the server", place="camera", reuse="planned"),
    _papers("DeltaCNN", "deltacnn", moves=False),
    _papers(PAPERS, "propagated"),
    _planned(PLANNED_RAW, "raw"),
    _planned("FluxShard planned, packed", "packed"),
    _planned(PLANNED, "bitstream"),
    replace(_planned(CARRIED, "bitstream"), reuse="carried"),
    replace(_planned(ANYTIME, "bitstream"), within_ms=10.0),
)

SHARED = (H264, PLANNED_RAW, PLANNED)
"""Names of those that several edges run."""


def live_methods(names: Sequence[str] | None) -> tuple[LiveMethod, ...]:
    """Methods by name or slug, in the order of `METHODS`; all for None.

    Raises:
      OptionError: there is none of a name.
    """
    if names is None:
        return METHODS
    unknown = sorted(set(names) - {name for one in METHODS for name in (one.name, one.slug)})
    if unknown or not names:
        there = ", ".join(one.slug for one in METHODS)
        raise OptionError(f"methods: {', '.join(unknown) or 'none'} is not known; there are {there}")
    return tuple(one for one in METHODS if one.name in names or one.slug in names)
