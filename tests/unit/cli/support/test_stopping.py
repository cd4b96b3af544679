"""Signals end a run between two frames."""

from __future__ import annotations

import os
import signal
import time

import pytest

from fluxshard.cli.support.stopping import Stopping, undone_on_sigterm
from fluxshard.testing.fake_session import FakeSession
from tests.unit.pipeline.frame_loop import run_loop


def test_signals_end_a_run_between_frames(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with Stopping() as stopping:
        records = []
        for record in run_loop(tmp_path, FakeSession(), n=100):
            records.append(record)
            if len(records) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            if stopping.signal is not None:
                break
        assert stopping.exit_code == 143 and 4 <= len(records) <= 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_was_made_is_undone_and_a_second_signal_does_not_stop_that() -> None:
    before, undone = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as ended, undone_on_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            undone.append(True)
    assert ended.value.code == 143 and undone
    assert signal.getsignal(signal.SIGTERM) is before
