"""Workers of Ray: what is said without it. With it: tests/offload/test_cluster_ray.py."""

from __future__ import annotations

import sys

import pytest

from fluxshard.cloud.cluster.pool.ray_pool import RayPool
from fluxshard.errors import MissingExtraError


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(MissingExtraError, match=r"pip install 'fluxshard\[cluster\]'"):
        RayPool(lambda name, node: [], lease_s=1.0)
