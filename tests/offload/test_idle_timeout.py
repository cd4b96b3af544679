"""A paused stream loses its cache and nothing else: one keyframe resumes it, and nobody sees an error.

Symptom elsewhere: after an idle timeout a running sequence errors ("must specify the START flag") and its queue is
dropped; triton-inference-server/server 3577, 4178, 4628.
"""

from __future__ import annotations

import time

import pytest

from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.testing.offload.in_process import InProcessTransport
from tests.offload.streams import REUSES, Stream, serving, until


@pytest.mark.parametrize("reuse", REUSES)
def test_the_cache_is_freed_after_a_pause(reuse: str) -> None:
    with serving(limits=ServerLimits(lease_s=0.2)) as server:
        stream = Stream(InProcessTransport(server), reuse=REUSES[reuse])
        stream.warm()
        stream.run_until(lambda record: record.answered_by == "cloud" and not record.cloud_keyframe)
        epoch = stream.session.link.epoch
        for _ in range(2):
            time.sleep(0.3)
            until(lambda: server.cached_bytes == 0)
            paused = stream.run()
            assert (paused.cloud_outcome, paused.cloud_reason) == ("key needed", "nothing is cached")
            assert paused.answered_by == "edge" and paused.hedged and not paused.cloud_keyframe
            resumed = stream.resumed(paused)
            assert resumed.cloud_keyframe and resumed.cloud_lost
        assert stream.session.link.epoch == epoch, "the stream is the same"
        assert all(record is not None for record in stream.records), "no frame has failed"
        stream.check()


def test_a_stream_that_was_ended_for_its_silence_comes_back() -> None:
    with serving(limits=ServerLimits(idle_s=0.2)) as server:
        stream = Stream(InProcessTransport(server))
        stream.warm()
        epoch = stream.session.link.epoch
        until(lambda: stream.session.link.is_open and stream.session.link.epoch > epoch)
        resumed = stream.resumed(stream.records[-1])
        assert resumed.cloud_keyframe and resumed.epoch > epoch
        stream.check()
