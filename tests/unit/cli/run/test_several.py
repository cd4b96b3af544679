"""Names of directories of several sources, and who ends them."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from fluxshard.cli.run.several import _Desk, names_of
from fluxshard.cli.support.stopping import Stopping


@pytest.mark.parametrize(
    ("videos", "names"),
    [
        (["a.mp4", "b/a.mp4"], ["1-a", "2-a"]),
        (["0", "/dev/video1"], ["1-0", "2-video1"]),
        (["rtsp://me:secret@cam.local:554/stream/1?k=v", "x"], ["1-cam.local_stream_1", "2-x"]),
        (["..", "/", "東京 1.mp4"], ["1-source", "2-source", "3-東京_1"]),
        ([f"{'long' * 40}.mp4"] * 10, [f"{number:02}-{'long' * 10}" for number in range(1, 11)]),
    ],
)
def test_directories_are_told_apart_and_tell_no_secrets(videos: list[str], names: list[str]) -> None:
    assert names_of(videos) == names


def test_runs_in_threads_end_with_their_leader() -> None:
    with Stopping() as leader:
        seen = []

        def run() -> None:
            with Stopping(leader) as follower:
                seen.append(follower.signal)
                os.kill(os.getpid(), signal.SIGTERM)
                asked.wait(5)
                seen.append(follower.exit_code)

        asked = threading.Event()
        thread = threading.Thread(target=run)
        thread.start()
        while leader.signal is None:
            pass
        asked.set()
        thread.join()
    assert seen == [None, 143]


def test_what_is_asked_for_is_done_in_the_main_thread() -> None:
    desk, found = _Desk(), []

    def ask() -> None:
        found.append(desk.finish(lambda: {"thread": threading.get_ident()}))
        with pytest.raises(ZeroDivisionError):
            desk.finish(lambda: {"never": 1 // 0})
        found.append({})

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        desk.work(0.05)
    assert found == [{"thread": threading.get_ident()}, {}]
