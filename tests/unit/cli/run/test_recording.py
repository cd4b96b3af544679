"""Frames that are written while a live source has none: what fails is said at once."""

from __future__ import annotations

import contextlib

import pytest
from rich.console import Console

from fluxshard.cli.run import recording
from fluxshard.cli.run.recording import Recording, RunFiles, write_frames
from fluxshard.pipeline.overlap.run_overlapped import LIVE
from fluxshard.testing.fake_session import FakeSession
from fluxshard.video import LiveSource
from tests.unit.pipeline.overlap.stages import Gap, Sink, loop_of, threads


class LiveGap(Gap, LiveSource):
    """A live source that breaks off."""


def test_a_full_disk_is_reported_in_a_gap_of_the_source(tmp_path, monkeypatch):
    sink, done = Sink(fail_at=0), Recording()
    sink.gate.clear()
    monkeypatch.setattr(recording, "_sinks", lambda files, frames: [contextlib.nullcontext(sink)])
    files, frames = RunFiles(out=tmp_path, names=(), show_work=False), LiveGap(1, reached=sink.gate.set)
    with pytest.raises(OSError, match="no space left at frame 0"):
        write_frames(files, frames, loop_of(FakeSession()), done, Console(quiet=True), confidence=0.25, overlap=LIVE)
    assert frames.waited and done.records == [] and threads() == []
