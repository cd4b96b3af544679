"""Which streams belong to an identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.security.identity import Identity, is_name


@pytest.mark.parametrize(
    ("prefix", "allowed", "refused"),
    [
        ("cam1", ["cam1", "cam1/left", "cam1-b", "cam1.b"], ["cam10", "cam1a", "cam", "", "Cam1", "xcam1"]),
        ("depot7-", ["depot7-", "depot7-cam1"], ["depot7", "depot70-cam1"]),
        ("site/", ["site/a", "site/a/b"], ["site", "sites/a"]),
        ("", ["", "anything", "/"], []),
    ],
)
def test_a_prefix_covers_whole_words(prefix: str, allowed: list[str], refused: list[str]) -> None:
    identity = Identity(name="edge", prefix=prefix)
    assert [identity.may_open(stream) for stream in allowed] == [True] * len(allowed)
    assert [identity.may_open(stream) for stream in refused] == [False] * len(refused)


@given(st.text(max_size=10), st.text(max_size=10))
def test_what_is_covered_begins_with_the_prefix(prefix: str, stream: str) -> None:
    identity = Identity(name="edge", prefix=prefix)
    assert identity.may_open(prefix)
    assert not identity.may_open(stream) or stream.startswith(prefix)


@pytest.mark.parametrize("name", ["edge", "Edge-1", "cam.example", "0_1", "a" * 64])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".", "..", "a/b", "a\n", "a b", "ä", "a" * 65, "a\0"])
def test_texts_that_are_no_names(name: str) -> None:
    assert not is_name(name)
