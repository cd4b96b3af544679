"""Files of secrets are read whole, and not without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.cloud.security.bounded_file import MAX_BYTES, read_bounded
from fluxshard.errors import SecurityError


def test_the_largest_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MAX_BYTES)
    assert len(read_bounded(path)) == MAX_BYTES


def test_a_file_without_end() -> None:
    with pytest.raises(SecurityError, match="more than 1048576 bytes"):
        read_bounded(Path("/dev/zero"))


def test_a_name_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="File name too long"):
        read_bounded(tmp_path / ("a" * 300))
