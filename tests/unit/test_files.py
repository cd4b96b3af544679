"""Replacing files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxshard.files import write_whole

WRITER = """
import sys
from pathlib import Path
from fluxshard.files import write_whole
path, letter, times = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
sys.stdin.readline()  # all begin together
for _ in range(times):
    write_whole(path, letter * 300_000)
"""


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.b.json"
    for content in (b"first, and longer", b"second", b""):
        write_whole(path, content)
        assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace"])
def test_a_failure_leaves_the_old_content_and_no_other_file(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2  # the content is beside it by now
        raise OSError("no space left on device")

    monkeypatch.setattr(failing, full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "a.json", b"new")


def test_processes_that_write_one_path_leave_one_whole_file(tmp_path: Path) -> None:
    path, letters, times = tmp_path / "a.json", "abcd", 25
    write_whole(path, b"e" * 300_000)
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, letter, str(times)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for letter in letters
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert len(content) == 300_000 and len(set(content)) == 1, "a reader saw a part"
        seen.add(content[:1])
    errors = [writer.communicate()[1] for writer in writers]
    assert [(writer.returncode, error) for writer, error in zip(writers, errors, strict=True)] == [(0, b"")] * 4
    assert path.read_bytes()[:1].decode() in letters and seen
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_path_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    failures: list[BaseException] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                write_whole(path, content)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter * 50_000,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    content = path.read_bytes()
    assert len(content) == 50_000 and len(set(content)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_a_plain_open(tmp_path: Path, umask: None) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    write_whole(tmp_path / "whole", b"x")
    assert mode(tmp_path / "whole") == mode(tmp_path / "plain") == 0o640


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, umask: None) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"x")
    path.chmod(0o604)
    write_whole(path, b"y")
    assert mode(path) == 0o604 and path.read_bytes() == b"y"


def test_a_link_keeps_pointing_where_it_does(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    link = tmp_path / "latest.json"
    link.symlink_to(tmp_path / "kept" / "1.json")
    write_whole(link, b"x")
    assert link.is_symlink() and (tmp_path / "kept" / "1.json").read_bytes() == b"x"


def test_names_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".json")  # 255 bytes
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_mode_is_given_before_there_is_content(umask: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other user can open a secret at any moment, also where the file was open to all before."""
    path, seen = tmp_path / "key", []
    path.write_bytes(b"old")
    path.chmod(0o644)
    sync, change = os.fsync, os.fchmod

    def note(kind: str, descriptor: int) -> None:
        found = os.fstat(descriptor)
        seen.append((kind, stat.S_IMODE(found.st_mode)))

    monkeypatch.setattr(os, "fsync", lambda descriptor: (note("written", descriptor), sync(descriptor)))
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: (note("made", descriptor), change(descriptor, mode)))
    write_whole(path, b"secret", mode=0o600)
    assert path.read_bytes() == b"secret" and mode(path) == 0o600
    write_whole(path, b"open", mode=0o644)
    assert mode(path) == 0o644  # whatever the umask
    assert seen == [("made", 0o600), ("written", 0o600), ("made", 0o600), ("written", 0o644)]
