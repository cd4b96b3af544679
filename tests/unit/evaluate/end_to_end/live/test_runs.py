"""What runs are named after, and options that are not allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxshard.errors import OptionError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.live.methods import METHODS
from fluxshard.evaluate.end_to_end.live.runs import LiveOptions, Runs, processors
from fluxshard.evaluate.end_to_end.settings import SETTINGS
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.traces.workers import Setup

LINK = LinkTrace("link", (5.0, 6.0, 7.0))


def runs(**changes: Any) -> Runs:
    values: dict[str, Any] = {
        "setup": Setup(weights=Path("net.pt")), "weights": "digest", "settings": SETTINGS["seg"], "size": (32, 48),
        "clips": (Clip("clip", Path("clip")),), "links": {"low": LINK}, "options": LiveOptions(seconds=2),
        "out": Path("out"),
    }  # fmt: skip
    return Runs(**(values | changes))


def folder(given: Runs, link: LinkTrace = LINK, slowdown: float = 16, number: int = 1) -> Path:
    return given._folder("low", link, slowdown, METHODS[number])


def test_a_run_is_found_again_by_all_that_it_depends_on() -> None:
    same = folder(runs())
    # neither which methods there are besides, nor what of the link is not used, nor its name
    assert folder(runs(options=LiveOptions(seconds=2, methods=METHODS[:2], slowdowns=(1.0,)))) == same
    assert folder(runs(), LinkTrace("other", (5.0, 6.0, 99.0))) == same
    others = [
        folder(runs(options=LiveOptions(seconds=3))),
        folder(runs(options=LiveOptions(seconds=2, frames=201))),
        folder(runs(options=LiveOptions(seconds=2, queue_bytes=70_000))),
        folder(runs(options=LiveOptions(seconds=2, congestion_control="bbr"))),
        folder(runs(settings=replace(SETTINGS["seg"], scale=1.0))),
        folder(runs(size=(64, 48))),
        folder(runs(weights="other")),
        folder(runs(clips=(Clip("clip", Path("another")),))),
        folder(runs(setup=Setup(weights=Path("net.pt"), max_frames=9))),
        folder(runs(), LinkTrace("link", (5.0, 6.5))),
        folder(runs(), slowdown=1),
        folder(runs(), number=2),
    ]
    assert len({same, *others}) == len(others) + 1


@pytest.mark.parametrize(
    "changes",
    [{"slowdowns": (0.5,)}, {"slowdowns": ()}, {"methods": ()}, {"frames": 0}, {"seconds": 0}, {"warm_s": -1}],
)
def test_options_that_are_not_allowed(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="must be"):
        LiveOptions(**changes)


def test_both_ends_have_processors() -> None:
    edge, server = processors()
    assert edge and server
    assert not set(edge) & set(server) or edge == server
