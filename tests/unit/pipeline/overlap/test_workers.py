"""Threads end with what they do, whoever interrupts."""

from __future__ import annotations

import threading

import pytest

from fluxshard.pipeline.overlap.workers import end, worker
from tests.unit.pipeline.overlap.stages import DEADLINE_S, threads


def test_what_runs_is_finished_and_what_waits_is_dropped():
    one, gate, started, done = worker("one"), threading.Event(), threading.Event(), []

    def work(name):
        started.set()
        assert gate.wait(DEADLINE_S)
        done.append(name)

    running, waiting = one.submit(work, "running"), one.submit(work, "waiting")
    assert started.wait(DEADLINE_S)
    threading.Timer(0.05, gate.set).start()
    end((one,))
    assert done == ["running"] and running.done() and waiting.cancelled() and threads() == []


def test_an_interrupt_is_raised_when_the_threads_have_ended():
    class Interrupted:
        """A worker that is interrupted twice while it is waited for."""

        asked = 0

        def shutdown(self, *, wait, cancel_futures):
            self.asked += 1
            if self.asked < 3:
                raise KeyboardInterrupt

    first, last = Interrupted(), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        end((first, last))
    assert first.asked == last.asked == 3
