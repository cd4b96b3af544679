"""Certificates of two authorities, good and bad, made once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory: ca, server, edge, expired-server, expired-edge, early-edge; other/ holds another authority's."""
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install '.[cloud]'")
    from fluxshard.cloud.security.certificates import issue, make_authority

    directory = tmp_path_factory.mktemp("site")
    hosts = ("localhost", "127.0.0.1", "cloud.example")
    now = datetime.now(UTC)
    long_ago, soon = now - timedelta(days=30), now + timedelta(days=30)
    make_authority(directory, now=long_ago)
    issue(directory, "server", kind="server", hosts=hosts)
    issue(directory, "edge", kind="client")
    issue(directory, "expired-server", kind="server", hosts=hosts, days=1, now=long_ago)
    issue(directory, "expired-edge", kind="client", days=1, now=long_ago)
    issue(directory, "early-edge", kind="client", now=soon)
    other = directory / "other"
    other.mkdir()
    make_authority(other)
    issue(other, "server", kind="server", hosts=hosts)
    issue(other, "edge", kind="client")
    return directory
