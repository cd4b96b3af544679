"""The fake session: what it finds is what a decoder reads, and its calls are recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import FluxShardError
from fluxshard.models.detections.postprocess import decode
from fluxshard.motion import MotionField
from fluxshard.runtime.session import Session
from fluxshard.testing import FakeSession
from fluxshard.testing.fake_session import YOLO_LIKE

IMAGE = torch.zeros(1, 3, 64, 96)


def test_it_finds_a_dog_that_wanders_off() -> None:
    session, motion = FakeSession(drift=1.5, step=(2, 3), score=0.6), MotionField.zero(64, 96)
    assert YOLO_LIKE.layout is not None
    for n in range(3):
        found = decode(session.run(IMAGE, motion), YOLO_LIKE.layout, (64, 96), confidence=0.5)
        y, x = 30 + 2 * n, 32 + 4.5 * n
        assert found.boxes.tolist() == [[x - 10, y - 10, x + 10, y + 10]] and session.origin == (2 * n, 3 * n)
        assert [YOLO_LIKE.names[int(index)] for index in found.classes] == ["dog"]
        assert session.stats.frame == n and session.stats.keyframe == (n == 0)
        assert session.stats.compute_ratio == (0.2 if n else 1.0)
    assert session.seen == [motion] * 3


def test_what_it_is_told_is_kept_and_the_frame_it_is_told_fails() -> None:
    session, regions = FakeSession(fail_at=1, size=(60, 96)), np.ones((8, 12), np.uint8)
    session.run(IMAGE)
    session.focus(regions)
    assert session.regions == [regions] and session.seen == [None]
    assert session.work_map().shape == (8, 12) and session.work_map().sum() == 8
    with pytest.raises(FluxShardError, match="fail_at=1"):
        session.run(IMAGE)


def test_it_has_nothing_that_a_session_has_not() -> None:
    # what it is told, and what it records
    known = {"drift", "fail_at", "step", "score", "size", "blind", "seen", "regions", "scales", "wholes"}
    public = {name for name in dir(FakeSession()) if not name.startswith("_")}
    assert public - known <= set(dir(Session))


def test_the_whole_network_sees_what_reuse_does_not() -> None:
    session = FakeSession(drift=2.0, blind=5.0)
    session.run(IMAGE)
    seen, whole = session.run(IMAGE), session.run_whole(IMAGE)
    assert seen[0, 0, 0] == 39 and whole[0, 0, 0] == 34 and session.wholes == 1 and session.stats.keyframe
    session.scale_thresholds(0.5)
    assert session.scales == [0.5]
