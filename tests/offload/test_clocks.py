"""The wall clock may say what it likes: only differences on one monotonic clock count.

Symptom elsewhere: negative delays after a clock was set; NXP/isochron 19, StanfordSNR/pantheon 71.
"""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest

import fluxshard
from fluxshard.cloud.server.limits import ServerLimits
from fluxshard.testing.offload.in_process import Faults, InProcessTransport
from tests.offload.streams import Stream, serving

PACKAGE = Path(fluxshard.__file__).parent
WALL = re.compile(r"\btime\.time(_ns)?\(|datetime\.(now|utcnow|today)\(|\bfrom time import")


def test_jumps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = itertools.cycle((0.0, 4e9, -4e9, 1e12, 1.0))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(jumps) * 1e9))
    with serving(limits=ServerLimits(lease_s=60.0, idle_s=60.0)) as server:
        faults = Faults()
        stream = Stream(InProcessTransport(server, faults=faults))
        stream.warm()
        epoch = stream.session.link.epoch
        stream.run(20)
        assert stream.session.link.epoch == epoch and server.cached_bytes > 0
        assert not any(record.cloud_outcome not in ("answered", "") for record in stream.settled)
        for record in stream.records:
            assert 0 < record.latency_ms < 20_000 and (record.cloud_ms is None or record.cloud_ms > 0)
            assert record.server is None or all(0 <= ms < 20_000 for ms in record.server.values())
        faults.lost = True
        stream.run(2)
        faults.lost = False
        stream.run_until(lambda record: record.answered_by == "cloud")
        stream.check()


def test_nobody_asks_the_wall_clock() -> None:
    """Certificates and tokens do: they say until when they are good."""
    folders = [PACKAGE / "runtime" / "offload", PACKAGE / "runtime" / "endpoints"]
    folders += [PACKAGE / "cloud" / name for name in ("edge", "server", "wire", "decoding")]
    found = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for folder in folders
        for path in folder.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if WALL.search(line)
    ]
    assert found == []
