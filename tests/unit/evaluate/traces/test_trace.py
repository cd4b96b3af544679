"""Traces on disk: what is saved is what is loaded, and anything else is refused in words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.traces.trace import FoundObject, Trace, TracedFrame
from fluxshard.testing.evaluation import found, trace_of

numbers = st.floats(allow_nan=True, allow_infinity=True)
objects = st.builds(
    FoundObject,
    category=st.integers(0, 999),
    score=st.floats(0, 1),
    box=st.tuples(*[st.floats(-1e6, 1e6)] * 4),
    mask=st.none() | st.text(max_size=20),
    keypoints=st.none() | st.lists(st.floats(-1e6, 1e6), max_size=6).map(tuple),
)
frames = st.builds(
    TracedFrame,
    keyframe=st.booleans(),
    compute_ratio=numbers,
    recompute_ratio=numbers,
    tx_ratio=numbers,
    latency_ms=numbers,
    motion_px=numbers,
    objects=st.lists(objects, max_size=3).map(tuple),
)
plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
traces = st.builds(
    Trace,
    clip=st.text(max_size=9),
    method=st.text(max_size=9),
    picture_size=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    facts=st.dictionaries(st.text(max_size=5), plain, max_size=4),
    frames=st.lists(frames, max_size=3).map(tuple),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


@given(trace=traces)
def test_what_is_saved_is_what_is_loaded(folder: Path, trace: Trace) -> None:
    path = folder / "a.json.gz"
    trace.save(path)
    loaded = Trace.load(path)
    assert repr(loaded) == repr(trace)  # NaN equals nothing; the text shows every bit, and tuples that became lists
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first
    assert [entry.name for entry in folder.iterdir()] == ["a.json.gz"]


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "bear.json.gz"
    trace_of([found(0.5)], [found(0.25, keypoints=(1.0, 2.0, 0.5), mask="x")], size=(4, 6)).save(path)
    return path


def test_every_cut_and_many_flipped_bits_are_refused_in_words(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    expected = repr(Trace.load(path))
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in range(len(whole))]
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            assert repr(Trace.load(path)) == expected  # a few bits of the header mean nothing
        except EvaluationError as error:
            assert "bear.json.gz" in str(error) and "delete it and evaluate again" in str(error)
            refused += 1
    assert refused > 0.95 * len(damaged)


def test_what_has_not_been_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"missing\.json\.gz"):
        Trace.load(tmp_path / "missing.json.gz")
    with pytest.raises(EvaluationError, match="delete it"):
        Trace.load(tmp_path)


def rewritten(path: Path, **changes: Any) -> Path:
    body = json.loads(gzip.decompress(path.read_bytes()))
    for name, value in changes.items():
        if value is None:
            del body[name]
        else:
            body[name] = value
    path.write_bytes(gzip.compress(json.dumps(body).encode()))
    return path


@pytest.mark.parametrize("version", [0, 2, "1"])
def test_another_format_is_refused(tmp_path: Path, version: object) -> None:
    with pytest.raises(EvaluationError, match="has another format; delete it and evaluate again"):
        Trace.load(rewritten(saved(tmp_path), format=version))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None},
        {"frames": None},
        {"clip": None},
        {"picture_size": 3},
        {"frames": [{}]},
        {"frames": [{"objects": [{"box": [1, 2, 3, 4]}]}]},
        {"frames": 7},
        {"extra": 1},
    ],
)
def test_json_that_is_no_trace_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    assert Trace.load(rewritten(saved(tmp_path))).picture_size == (4, 6)
    with pytest.raises(EvaluationError, match=r"bear.json.gz.*cannot be read.*delete it"):
        Trace.load(rewritten(saved(tmp_path), **changes))


@pytest.mark.parametrize("content", [b"[]", b"3", b'"format"', b"\xff\xfe", b"{"])
def test_other_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(EvaluationError, match="cannot be read"):
        Trace.load(path)


def test_a_reader_never_sees_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        trace_of([], []).save(path)
    assert path.read_bytes() == before
