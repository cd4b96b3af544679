"""What runs are named after, and what their edges are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.live.methods import METHODS
from fluxshard.evaluate.end_to_end.live.options import LiveOptions
from fluxshard.evaluate.end_to_end.live.runs import Case, Runs, processors
from fluxshard.evaluate.end_to_end.settings import SETTINGS
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.traces.workers import Setup
from tests.unit.evaluate.end_to_end.live.small_runs import answers, row

LINK = LinkTrace("link", (5.0, 6.0, 7.0))


def runs(**changes: Any) -> Runs:
    values: dict[str, Any] = {
        "setup": Setup(weights=Path("net.pt")), "weights": "digest", "settings": SETTINGS["seg"], "size": (32, 48),
        "clips": (Clip("clip", Path("clip")),), "links": {"low": LINK}, "options": LiveOptions(seconds=2),
        "out": Path("out"),
    }  # fmt: skip
    return Runs(**(values | changes))


def folder(
    given: Runs, link: LinkTrace = LINK, slowdown: float = 16, number: int = 1, edges: int | None = None
) -> Path:
    return given._folder(Case(tier="low", trace=link, slowdown=slowdown, method=METHODS[number], edges=edges))


def test_a_run_is_found_again_by_all_that_it_depends_on() -> None:
    same = folder(runs())
    # neither which methods there are besides, nor what of the link is not used, nor its name
    assert folder(runs(options=LiveOptions(seconds=2, methods=METHODS[:2], slowdowns=(1.0,)))) == same
    assert folder(runs(options=LiveOptions(seconds=2, edges=(1, 2), shared_tiers=("low",)))) == same
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
        folder(runs(), edges=1),
        folder(runs(), edges=2),
    ]
    assert len({same, *others}) == len(others) + 1


def test_edges_that_share_a_link_are_told_of_each_other() -> None:
    given = runs(clips=tuple(Clip(name, Path(name)) for name in ("a", "b")))
    case = Case(tier="low", trace=LINK, slowdown=16, method=METHODS[1], edges=3)
    specs = [given._edge(case, edge, f"host:{edge}") for edge in range(3)]
    assert [(one.edge, one.edges, one.server) for one in specs] == [
        (0, 3, "host:0"),
        (1, 3, "host:1"),
        (2, 3, "host:2"),
    ]
    assert len({one.meeting for one in specs}) == 1 and len({one.out for one in specs}) == 3
    # each begins with another clip, and shows all of them
    assert [Path(one.pictures[0]).name[0] for one in specs] == ["a", "b", "a"]
    assert len({frozenset(one.pictures) for one in specs}) == 1


def test_a_run_of_several_edges_is_loaded_by_edge_and_clip(tmp_path: Path) -> None:
    given = runs(out=tmp_path, clips=tuple(Clip(name, Path(name)) for name in ("a", "b")))
    case = Case(tier="low", trace=LINK, slowdown=16, method=METHODS[1], edges=2)
    for edge in range(2):
        folder = given._edge_folder(case, edge)
        folder.mkdir(parents=True)
        for clip in ("a", "b"):
            answers(row(0, sent_bytes=edge), clip=clip).save(folder)
    (given._folder(case) / "run.json").write_text("{}")
    found = given._load("low", case)
    assert [(one.trace.clip, int(one.columns["sent_bytes"][0])) for one in found.answers] == [
        ("a", 0), ("b", 0), ("a", 1), ("b", 1),
    ]  # fmt: skip
    assert found.label == "offload raw, 2 edges" and replace(found, edges=None).label == "offload raw"


def test_both_ends_have_processors() -> None:
    edge, server = processors()
    assert edge and server
    assert not set(edge) & set(server) or edge == server
