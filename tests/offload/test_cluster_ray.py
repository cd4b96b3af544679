"""`fluxshard serve --cluster ray`: what is promised of processes holds where Ray's actors hold them.

Needs Ray, which starts a cluster of its own on this machine: minutes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray is not installed: pip install '.[cluster]'")

from tests.offload.clusters import Cluster, check_one_keyframe, opened, play, resumed, running
from tests.offload.streams import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("ray"), "--cluster", "ray") as found:
        yield found


def parent(pid: int) -> int:
    """The process that has started another one: of a worker, its actor."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("who", ["worker", "actor"])
def test_a_worker_or_an_actor_that_is_killed_costs_one_keyframe(cluster: Cluster, who: str) -> None:
    (stream,) = streams = opened(cluster, [f"killed/{who}"])
    before, epoch, since = cluster.owner(f"killed/{who}"), stream.session.link.epoch, len(stream.outputs)
    pid = cluster.pid(before)
    os.kill(pid if who == "worker" else parent(pid), signal.SIGKILL)
    play(streams, lambda: stream.session.link.epoch > epoch and resumed(stream))
    check_one_keyframe(streams, [since])
    until(lambda: not Path(f"/proc/{pid}").exists())
    cluster.wait_whole()


def test_a_worker_that_is_stopped_is_fenced(cluster: Cluster) -> None:
    (stream,) = streams = opened(cluster, ["frozen"])
    before, epoch, since = cluster.owner("frozen"), stream.session.link.epoch, len(stream.outputs)
    pid = cluster.pid(before)
    os.kill(pid, signal.SIGSTOP)
    try:
        play(streams, lambda: stream.session.link.epoch > epoch and resumed(stream))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert cluster.owner("frozen") != before
    check_one_keyframe(streams, [since])
    assert cluster.events("worker_lost", worker=before)[0]["why"] == "frozen"
    cluster.wait_whole()
