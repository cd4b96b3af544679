"""A camera that breaks off and comes back is watched on: its packets are those of one stream."""

from __future__ import annotations

from pathlib import Path

from fluxshard import video
from fluxshard.testing import panning, write_clip
from fluxshard.testing.offload.in_process import InProcessTransport
from fluxshard.video.live.options import LiveOptions
from tests.unit.cloud.edge.camera.test_camera_session import (
    OPTIONS,
    SIZE,
    assert_equals_one_place,
    model,  # noqa: F401
    options,
    play,
    server,  # noqa: F401
)
from tests.unit.video.live.servers import Server

N = 12


def test_a_camera_that_comes_back_is_watched_on(model, server, tmp_path: Path) -> None:  # noqa: F811
    data = write_clip(tmp_path / "a.ts", panning((128, 192), (0, 16), N), options=OPTIONS).read_bytes()
    given = options(answer="outputs")
    live = LiveOptions(frames="every", reconnect="always", first_delay_s=0.01, most_delay_s=0.02)
    with (
        Server(lambda client, number: client.sendall(data)) as camera,
        video.open_live(
            f"tcp://127.0.0.1:{camera.port}", size=SIZE, packets=True, live=live, max_frames=3 * N
        ) as source,
    ):
        played = play(source, InProcessTransport(server), given, model)
    assert played.answered == list(range(3 * N)) and source.stats.gaps >= 2
    assert_equals_one_place(model, played, given)
