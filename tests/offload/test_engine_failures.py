"""An engine fails in the middle of a stream: the other endpoint answers, and the stream goes on with a keyframe."""

from __future__ import annotations

import threading
import time

import pytest

from fluxshard.errors import FluxShardError, KernelError
from fluxshard.testing.offload.hooked_engine import hooked
from fluxshard.testing.offload.in_process import InProcessTransport
from tests.offload.streams import CLOUD_FIRST, EDGE_FIRST, MODEL, REUSES, Stream, serving


class Fault:
    """Fails the next frame of an engine when it is armed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.armed = False
        self._error = error or KernelError("the engine fails, as the test asks")

    def __call__(self, _: int) -> None:
        if self.armed:
            self.armed = False
            raise self._error


@pytest.mark.parametrize("reuse", REUSES)
def test_on_the_server(reuse: str) -> None:
    """NEED_KEY, the edge answers, one keyframe resumes."""
    fault = Fault()
    with serving(hooked(MODEL, fault)) as server:
        stream = Stream(InProcessTransport(server), reuse=REUSES[reuse])
        stream.warm()
        stream.run_until(lambda record: record.answered_by == "cloud" and not record.cloud_keyframe)
        epoch = stream.session.link.epoch
        fault.armed = True
        after = stream.resumed(stream.run_until(lambda record: not fault.armed))
        assert after.cloud_keyframe and after.epoch == epoch, "the stream has survived"
        (failed,) = (record for record in stream.records if record.cloud_reason == "the frame failed")
        assert failed.cloud_outcome == "key needed" and failed.answered_by == "edge"
        stream.check()


def test_on_the_server_with_an_error_that_nobody_expected() -> None:
    """The stream is ended, and a new connection resumes it."""
    fault = Fault(RuntimeError("of a library"))
    with serving(hooked(MODEL, fault)) as server:
        stream = Stream(InProcessTransport(server))
        stream.warm()
        epoch = stream.session.link.epoch
        fault.armed = True
        after = stream.resumed(stream.run_until(lambda record: not fault.armed))
        assert after.cloud_keyframe and after.epoch > epoch
        (failed,) = (record for record in stream.records if record.cloud_reason == "the server failed")
        assert failed.cloud_outcome == "lost" and failed.answered_by == "edge"
        stream.check()


@pytest.mark.parametrize("reuse", REUSES)
def test_on_the_edge(reuse: str) -> None:
    """The error is raised, the next frame of the edge is a keyframe, and the cloud is used as before."""
    fault = Fault()
    with serving(hooked(MODEL, lambda _: time.sleep(0.05))) as server:  # so that the edge is the faster one
        stream = Stream(InProcessTransport(server), hooked(MODEL, fault), REUSES[reuse], dispatch=EDGE_FIRST)
        stream.run(12)
        stream.wait_open()
        stream.run_until(lambda record: record.answered_by == "edge" and not record.edge_keyframe)
        while stream.outputs[-1][0] is not None:
            fault.armed = True  # again, where it hit a hedge that the cloud's answer overtook
            stream.run()
        fault.armed = False
        error = stream.outputs[-1][1]
        assert isinstance(error, KernelError) and "as the test asks" in str(error)
        n = len(stream.outputs) - 1
        after = stream.run_until(lambda record: record.edge_ran)
        assert after.edge_keyframe
        stream.run(5)
        stream.check()
        failed = stream.settled[n]
        assert not failed.edge_ran and failed.is_settled


def test_on_the_edge_while_the_cloud_is_late() -> None:
    """Symptom: the frame was given up, though the cloud's answer was on its way."""
    failed, release = threading.Event(), threading.Event()
    late = False

    def on_the_edge(_: int) -> None:
        if late:
            failed.set()
            raise KernelError("the engine fails, as the test asks")

    def on_the_server(_: int) -> None:
        if late:
            assert failed.wait(20)
            release.wait(0.05)

    with serving(hooked(MODEL, on_the_server)) as server:
        stream = Stream(InProcessTransport(server), hooked(MODEL, on_the_edge), dispatch=CLOUD_FIRST)
        stream.warm()
        late = True
        record = stream.run()
        late = False
        assert record.hedged and record.answered_by == "cloud" and stream.outputs[-1][0] is record
        stream.run(3)
        assert not record.edge_ran
        stream.run_until(lambda record: record.answered_by == "cloud")
        stream.check()


def test_on_both() -> None:
    """Nobody answers: the error of the edge is raised, and both begin anew."""
    on_the_edge, on_the_server = Fault(), Fault()
    with serving(hooked(MODEL, on_the_server)) as server:
        stream = Stream(InProcessTransport(server), hooked(MODEL, on_the_edge))
        stream.warm()
        on_the_edge.armed = on_the_server.armed = True
        stream.run()
        assert isinstance(stream.outputs[-1][1], FluxShardError)
        stream.run_until(lambda record: record.answered_by == "cloud" and not record.cloud_keyframe)
        stream.check()
        assert sum(record.cloud_outcome == "key needed" for record in stream.settled) == 1
