"""File names of traces: another one for whatever changes results, the same for whatever does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.method import Coach, Method, Reuse, Skip, SkipMoved, dense_method, dense_on_canvas
from fluxshard.evaluate.traces.trace_store import TraceStore
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.options import PlannedOptions, ReuseOptions

BEAR, COWS = Clip("bear", Path("bear.mp4")), Clip("cows", Path("cows.mp4"))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    weights = tmp_path / "net.pt"
    weights.write_bytes(b"weights")
    return Setup(weights=weights, size="64", max_frames=3)


def test_a_changed_setting_is_another_file(setup: Setup, tmp_path: Path) -> None:
    planned = Reuse(name="planned", family="planned", options=ReuseOptions(policy="planned"))
    methods: list[Method] = [
        dense_method(),
        dense_on_canvas(32),
        dense_on_canvas(64),
        Skip(every=2),
        Skip(every=3),
        SkipMoved(every=2),
        SkipMoved(every=3),
        Coach(similarity=0.9),
        Coach(similarity=0.9, sent="bits"),
        planned,
        replace(planned, canvas_px=32),
        replace(planned, motion="none"),
        replace(planned, regions=True),
        replace(planned, whole=True),
        replace(planned, options=ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.0301))),
        replace(planned, name="other"),
    ]
    other_weights = tmp_path / "other.pt"
    other_weights.write_bytes(b"weightz")
    setups = [
        setup,
        replace(setup, size="96"),
        replace(setup, max_frames=4),
        replace(setup, task="detect"),
        replace(setup, encoded=True),
        replace(setup, backend="reference"),
        replace(setup, weights=other_weights),
    ]
    paths = [
        TraceStore(one, tmp_path).locate(method, clip).path
        for one in setups
        for method in methods
        for clip in (BEAR, COWS)
    ]
    assert len(set(paths)) == len(paths) == 2 * len(methods) * len(setups)


def test_what_does_not_change_results_does_not_change_the_file(setup: Setup, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(setup.weights.read_bytes())
    path = TraceStore(setup, tmp_path).locate(Skip(every=2), BEAR).path
    for same in (replace(setup, threads=4), replace(setup, weights=moved), replace(setup)):
        assert TraceStore(same, tmp_path).locate(Skip(every=2), BEAR).path == path
    assert path.name.startswith("skip-every=2-") and path.name.endswith(".json.gz")


def test_names_of_files_are_safe(setup: Setup, tmp_path: Path) -> None:
    odd = Reuse(name="w/o ../RFAP: τ=0.5 *", family="f", options=ReuseOptions())
    path = TraceStore(setup, tmp_path).locate(odd, BEAR).path
    assert path.parent == tmp_path / "traces" / "bear" and set(path.name) <= set(
        "abcdefghijklmnopqrstuvwxyz0123456789.=-"
    )
