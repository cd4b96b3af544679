"""Digests of kept plans: profiles, caches and traces that name them stay readable."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fluxshard.ir.plan import Plan
from fluxshard.ir.verify import verify

PLANS = Path(__file__).resolve().parents[3] / "benchmarks" / "plans"
DIGESTS = {
    "yolo11m_1024.json.gz": "ee98df3494ba17ca645a0d99fac6081fc47f56c263b35794f31926a31d2fee94",
    "yolo11m_640.json.gz": "031f0e8cf555c02bd036bb0fce10f8b38de4d0c1d265627297cc57285f28c64d",
    "yolo11n_1024.json.gz": "e093da2b43b19cc3cadac9580ed65103cc1d63d1ca79e8d36a0876c676827fc4",
    "yolo11n_640.json.gz": "d2e6779c83d2a2482f81de3ea68dca28ad8fa7a94c442b8e68107dbe9fdd4336",
}


def read(name: str) -> Plan:
    return Plan.from_json(gzip.decompress((PLANS / name).read_bytes()).decode())


@pytest.mark.parametrize("name", DIGESTS)
def test_digest(name: str) -> None:
    plan = read(name)
    assert plan.digest() == DIGESTS[name]
    verify(plan)


def test_every_kept_plan_is_pinned() -> None:
    assert sorted(path.name for path in PLANS.glob("*.json.gz")) == sorted(DIGESTS)
