"""What a replay sees of a clip under every method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluxshard.evaluate.end_to_end.content.material import content_of, repeats_of, work_slope
from fluxshard.evaluate.end_to_end.entrants import CARRIED, H264, OFFLOAD, PAPERS, PLANNED, PLANNED_RAW, entrant
from fluxshard.evaluate.offload.content.content import upload_bytes
from tests.unit.evaluate.end_to_end.materials import material

HEAD = 13  # before the packets of a frame


def sent(name: str, ran: int, frame: int) -> float:
    return upload_bytes(content_of(material(), entrant(name)), ran, ran, frame)


def test_whole_pictures() -> None:
    """Of 192 bytes raw, 70 as JPEG, a quarter for COACH; the video's packets are 10 bytes more each frame."""
    for ran in (-1, 0, 3):
        assert sent(OFFLOAD, ran, 4) == 192
        assert sent("offload JPEG", ran, 4) == 70
    assert sent("COACH", 3, 4) == 48 and sent("COACH", -1, 4) == 192
    assert sent(H264, 3, 4) == HEAD + 90 and sent(H264, 2, 4) == HEAD + 80 + 90 and sent(H264, -1, 4) == 200
    for name in (OFFLOAD, "offload JPEG", H264, "COACH"):
        content = content_of(material(), entrant(name))
        assert content.work(3, 4) == content.work(0, 4) == (1.0,)


def test_planned_reuse_sends_what_was_recorded() -> None:
    """Frame 4 of the replay is 8 of the clip: 108 bytes of head, 10 pixels or 50 bytes packed per frame of age."""
    assert sent(PLANNED_RAW, 3, 4) == 108 + 30 and sent(PLANNED_RAW, 2, 4) == 108 + 60
    assert sent("FluxShard planned, packed", 3, 4) == 108 + 50
    assert sent(PLANNED, 3, 4) == HEAD + 90 == sent(CARRIED, 3, 4), "the server plans: nothing is said of the work"
    assert sent("H.264 up, FluxShard on the server", 3, 4) == HEAD + 90
    assert content_of(material(), entrant("H.264 up, FluxShard on the server")).work(2, 4)[0] == pytest.approx(0.2)


def test_work_of_propagated_reuse_is_as_measured_and_grows_with_the_pixels() -> None:
    clip = material()
    content = content_of(clip, entrant(PAPERS), slope=2.0)
    # pixels that are recomputed: a tenth per frame of age
    assert content.work(3, 4)[0] == pytest.approx(0.5)
    assert content.work(2, 4)[0] == pytest.approx(0.5 + 2 * 0.1)
    assert content.work(0, 4)[0] == 1.0  # 1.1, were there more than everything
    assert content_of(clip, entrant("w/o sparse")).work(3, 4) == (1.0,)


def test_the_slope_is_a_line_through_all_clips() -> None:
    clips = []
    for share in (0.1, 0.3):
        clip = material()
        recorded = clip.recordings["propagated"]
        work = recorded.work * 0 + share
        recordings = {**clip.recordings, "propagated": replace(recorded, work=work)}
        answers = {**clip.answers, "propagated": replace(clip.answers["propagated"], compute=np.full(10, 0.4 + share))}
        clips.append(replace(clip, recordings=recordings, answers=answers))
    assert work_slope(clips, "propagated") == pytest.approx(1.0)
    assert work_slope(clips[:1], "propagated") == 0.0  # nothing to tell it from


def test_what_is_repeated() -> None:
    clip = material()
    for name in (OFFLOAD, PLANNED):
        one = entrant(name)
        assert repeats_of(clip, one, content_of(clip, one), 0.9) is None
    one = entrant(CARRIED)
    carried = repeats_of(clip, one, content_of(clip, one), 0.9)
    assert carried is not None and [carried(0, frame) for frame in range(4)] == [False, True, False, True]
    similarity = clip.similarity.copy()
    similarity[:, 1:] = np.where(np.isfinite(similarity[:, 1:]), 0.9, np.nan)  # for ages of 2 and 4, and 0.5 for 1
    one = entrant("COACH")
    coach = repeats_of(replace(clip, similarity=similarity), one, content_of(clip, one), 0.9)
    assert coach is not None and not coach(3, 4) and coach(2, 4) and coach(0, 4)
