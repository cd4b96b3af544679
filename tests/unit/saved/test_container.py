"""Files of a header and parts: what is read back, and that no damage goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import ModelError
from fluxshard.saved import container as module
from fluxshard.saved.container import Container, container_bytes, is_container, read_container

PARTS = [np.arange(5, dtype=np.uint8), np.zeros(0, np.uint8), np.full(200, 7, np.uint8)]
CONTENT = container_bytes(Container({"a": [1, "ü"]}, PARTS))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.fluxshard"
    path.write_bytes(CONTENT)
    return path


def sealed(header: object, body: bytes = b"", *, version: int = 1) -> bytes:
    """A file with a right hash, whatever it holds."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    total = 64 + len(text) + len(body)
    head = module._HEAD.pack(module.MAGIC, version, 0, total, len(text))
    return head + hashlib.sha256(head + text + body).digest() + text + body


def test_what_was_written_is_read(file: Path) -> None:
    found = read_container(file)
    assert found.header["a"] == [1, "ü"] and is_container(file)
    assert [part.tolist() for part in found.parts] == [part.tolist() for part in PARTS]
    assert all(part.ctypes.data % 64 == 0 for part in found.parts)


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_any_altered_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, at: int, change: int) -> None:
    path = tmp_path_factory.getbasetemp() / f"altered-{os.getpid()}.fluxshard"
    altered = bytearray(CONTENT)
    altered[at] ^= change
    path.write_bytes(altered)
    with pytest.raises(ModelError, match="altered-"):
        read_container(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 40, 63, 64, 65, len(CONTENT) - 1])
def test_any_truncation_is_noticed(file: Path, length: int) -> None:
    file.write_bytes(CONTENT[:length])
    with pytest.raises(ModelError, match=r"truncated|not a saved model"):
        read_container(file)


def test_bytes_behind_the_end(file: Path) -> None:
    file.write_bytes(CONTENT + b"\0")
    with pytest.raises(ModelError, match="bytes behind its end"):
        read_container(file)


def test_versions(file: Path) -> None:
    for version, words in ((2, "has format 2, newer than"), (0, "older than")):
        file.write_bytes(sealed({"parts": []}, version=version))
        with pytest.raises(ModelError, match=words):
            read_container(file)


def test_files_that_are_none(tmp_path: Path) -> None:
    missing, foreign = tmp_path / "missing", tmp_path / "foreign.fluxshard"
    with pytest.raises(ModelError, match="does not exist"):
        read_container(missing)
    with pytest.raises(ModelError, match="cannot be read"):
        read_container(tmp_path)
    foreign.write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(ModelError, match="is not a saved model: give a file that"):
        read_container(foreign)
    with pytest.raises(ModelError, match="not a regular file"):
        read_container(Path("/dev/zero"))
    assert not is_container(missing) and not is_container(tmp_path) and not is_container(foreign)


@pytest.mark.parametrize(
    "content",
    [
        sealed(b"{"),
        sealed(b"[" * 100_000),
        sealed(b"\xff\xfe"),
        sealed([]),
        sealed({}),
        sealed({"parts": 3}),
        sealed({"parts": [[64]]}),
        sealed({"parts": [[64, 10**9]]}),
        sealed({"parts": [[0, 8]]}),
        sealed({"parts": [[-1, 1]]}),
        sealed({"parts": [[64, -5]]}),
        sealed({"parts": [["64", 1]]}),
        sealed({"parts": [[10**30, 1]]}),
        sealed({"parts": [[64.0, 1]]}),
    ],
)
def test_headers_that_nobody_wrote(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ModelError, match="is no saved model"):
        read_container(file)


def test_lengths_are_checked_before_memory_is_taken(file: Path) -> None:
    head = module._HEAD.pack(module.MAGIC, 1, 0, 1 << 60, 10)
    file.write_bytes(head + bytes(100))
    with pytest.raises(ModelError, match="is truncated: it has 132 bytes and was written with"):
        read_container(file)
    head = module._HEAD.pack(module.MAGIC, 1, 0, 132, 1 << 40)
    file.write_bytes(head + bytes(100))
    with pytest.raises(ModelError, match="is damaged"):
        read_container(file)
