"""Digests of kept plans: profiles, caches and traces that name them stay readable."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fluxshard.ir.plan import Plan
from fluxshard.ir.verify import verify

PLANS = Path(__file__).resolve().parents[3] / "benchmarks" / "plans"
DIGESTS = {
    "yolo11m_1024.json.gz": "cf479157c34bd51cf2e3026cf09454c323e49bc643dd175630ab2c71f5666c19",
    "yolo11m_640.json.gz": "541fd0ac23becece063e0bcf0530dac6b50e8c39d734f3fdffa879d2ac789e31",
    "yolo11n-seg_1024.json.gz": "380eb9b851aa5be08d88eda8324ee7890146b3ad8b42f6a86ad60113d2b08993",
    "yolo11n-seg_640.json.gz": "bd60a52f921409e6b3f8e4e41cf237731f18635649007d618e97110251ae6b32",
    "yolo11n_1024.json.gz": "6adde83369d8f39dba516898d0f2b12658d80f1e9a76bcbb16c9168a7dd1af72",
    "yolo11n_640.json.gz": "029836a60e84eb4c099e84adfb73f74f17ff8dc7293c8e7b056d0e12940af107",
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
