"""Helpers for tests, here and in projects that use FluxShard: checks, fakes, networks and pictures of known motion.

| module | what it has |
|---|---|
| `pass_checks`, `comparisons`, `session_checks` | assertions on passes, results and sessions |
| `fake_engine` | an engine for sessions that runs without a compiler and records what it is asked |
| `fake_session` | a session for pipelines and commands whose detections and statistics are known |
| `networks`, `plan_builder` | small networks; plans without a network |
| `moving_frames` | images with motion fields |
| `pictures`, `clips` | pictures of a moving scene; the same as a video file (writing it needs PyAV) |
| `offload` | edge and server in one process, with the faults of a network (needs `cloud`) |
| `evaluation` | clips, traces and workers for tests of `fluxshard.evaluate` (needs PyAV) |

What is importable from here needs neither PyAV nor matplotlib nor ultralytics.
"""

from __future__ import annotations

from fluxshard.testing.clips import write_clip
from fluxshard.testing.comparisons import assert_same, assert_same_leaves
from fluxshard.testing.fake_engine import EngineCall, FakeEngine
from fluxshard.testing.fake_session import FakeSession
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.pass_checks import assert_pass_preserves, ops
from fluxshard.testing.pictures import panning, quarter_panning
from fluxshard.testing.session_checks import EXACT, assert_same_decisions, check_against_dense

__all__ = [
    "EXACT",
    "EngineCall",
    "FakeEngine",
    "FakeSession",
    "assert_pass_preserves",
    "assert_same",
    "assert_same_decisions",
    "assert_same_leaves",
    "check_against_dense",
    "frames",
    "ops",
    "panning",
    "quarter_panning",
    "write_clip",
]
