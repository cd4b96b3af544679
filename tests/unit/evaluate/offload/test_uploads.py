"""The uplink of a replay: one upload at a time, packets of the video whoever answers."""

from __future__ import annotations

import pytest

from fluxshard.evaluate.offload.content.content import SyntheticContent
from fluxshard.evaluate.offload.uploads import Uploads
from tests.unit.evaluate.offload.small_scenarios import OUTAGE, SLOW, own_bytes, scenario

VIDEO = SyntheticContent((0.0,) * 6, lambda _share: 1000.0, packet_bytes=4000.0, key_bytes=20_000.0)


def test_what_a_frame_takes_is_planned() -> None:
    uploads = Uploads(scenario())
    assert uploads.rate is None
    flight = uploads.plan(0, 8.0)
    assert (flight.n_bytes, flight.begin_ms, flight.arrived_ms) == (100_000, 8, 108)
    assert flight.server_ms == 25 and flight.known_ms == 108 + 40 + 25
    uploads.begin(flight)
    assert uploads.backlog_bytes(58.0) == pytest.approx(50_000)
    uploads.settle(172.0)
    assert uploads.flight is flight, "its outcome is not known before"
    uploads.settle(173.0)
    assert uploads.flight is None and uploads.rate == pytest.approx(1000)
    assert uploads.plan(1, 1008.0).n_bytes == 10_000
    assert uploads.sent_bytes == 100_000 and uploads.spare_bytes == 0


def test_a_small_first_frame_says_nothing_about_the_rate() -> None:
    content = SyntheticContent((0.0,) * 6, lambda _share: 10_000.0)
    uploads = Uploads(scenario(content=content))
    uploads.begin(uploads.plan(0, 0.0), spare=True)
    uploads.settle(1000.0)
    assert uploads.spare_bytes == 10_000
    assert uploads.rate == pytest.approx((16 << 10) / 20)


def test_an_upload_that_is_cut_sends_no_more() -> None:
    uploads = Uploads(scenario())
    uploads.begin(uploads.plan(0, 8.0), spare=True)
    uploads.cut(58.0)
    assert uploads.flight is None and uploads.sent_bytes == uploads.spare_bytes == pytest.approx(50_000)
    assert uploads.plan(1, 1008.0).n_bytes == 100_000, "the server has run nothing"
    assert uploads.rate == pytest.approx(1000), "what had gone through until then says how fast the link is"


def test_an_upload_that_has_arrived_is_not_cut() -> None:
    uploads = Uploads(scenario())
    uploads.begin(uploads.plan(0, 8.0), spare=True)
    uploads.cut(120.0)
    assert uploads.flight is None and uploads.sent_bytes == 100_000
    assert uploads.plan(1, 1008.0).n_bytes == 10_000


def test_packets_of_the_video_go_up_whoever_answers() -> None:
    uploads = Uploads(scenario(content=VIDEO))
    assert uploads.plan(0, 0.0).n_bytes == 21_000  # a keyframe
    uploads.forward(0, 0.0)
    uploads.forward(1, 1000.0)
    assert uploads.sent_bytes == uploads.spare_bytes == 24_000
    assert uploads.plan(2, 2000.0).n_bytes == 5000
    assert uploads.plan(3, 3000.0).n_bytes == 9000  # frame 2's packet, too
    assert uploads.plan(9, 9000.0).n_bytes == 21_000  # a keyframe takes less than all that waits


def test_pixels_are_not_forwarded() -> None:
    uploads = Uploads(scenario())
    uploads.forward(0, 0.0)
    assert uploads.sent_bytes == 0


def test_a_video_that_is_too_late_goes_on_with_a_keyframe() -> None:
    """In an outage of 6.25 bytes per ms, 128 kB wait after some packets."""
    content = SyntheticContent((0.0,) * 6, own_bytes, packet_bytes=50_000.0, key_bytes=50_000.0)
    uploads = Uploads(scenario(OUTAGE, content))
    for number in range(4):
        uploads.forward(number, 2000.0 + number)
    assert uploads.sent_bytes == uploads.spare_bytes == pytest.approx(3 * 6.25), "what waited is dropped"
    assert uploads.backlog_bytes(2003.0) == 0
    assert uploads.plan(4, 3000.0).n_bytes == 100_000 + 50_000


def test_a_later_frame_waits_for_packets() -> None:
    content = SyntheticContent((0.0,) * 6, lambda _share: 0.0, packet_bytes=10_000.0, key_bytes=10_000.0)
    uploads = Uploads(scenario(SLOW, content))
    uploads.forward(0, 0.0)
    assert uploads.plan(1, 50.0).begin_ms == pytest.approx(100.0)


def test_forwarding_drops_only_what_is_not_part_of_an_upload() -> None:
    content = SyntheticContent((0.0,) * 6, lambda _share: 0.0, packet_bytes=100_000.0, key_bytes=100_000.0)
    uploads = Uploads(scenario(SLOW, content))
    uploads.begin(uploads.plan(0, 0.0))  # until 1000
    for number in (1, 2):
        uploads.forward(number, 0.0)
    assert uploads.backlog_bytes(0.0) == pytest.approx(100_000) and uploads.sent_bytes == pytest.approx(100_000)
    assert uploads.spare_bytes == pytest.approx(0)
