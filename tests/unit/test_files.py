"""Writing files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxshard.files import write_whole


def test_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.b.json"
    for content in (b"first, and longer", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")

    def full(part: Path, content: bytes) -> None:
        with part.open("wb") as file:
            file.write(content[:2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_whole(path, b"new")  # what was left does not hinder the next
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
