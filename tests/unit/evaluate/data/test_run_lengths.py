"""The check of run lengths, against a decoder that reads one character at a time, and against pycocotools' encoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.data.run_lengths import covered_pixels, entries


def slowly(text: str) -> int:
    """Pixels that the run lengths cover; -1 if damaged."""
    runs: list[int] = []
    value = digits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or digits == 7:
            return -1
        value += (code & 31) << 5 * digits
        digits += 1
        if not code & 32:
            value -= (1 << 5 * digits) if code & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = digits = 0
    return -1 if digits or min(runs, default=0) < 0 else sum(runs)


drawn = st.builds(
    lambda height, width, seed, share: np.random.default_rng(seed).random((height, width)) < share,
    st.integers(1, 60), st.integers(1, 60), st.integers(0, 99), st.floats(0, 1),
)  # fmt: skip


@given(st.lists(drawn, max_size=5))
def test_masks_cover_their_pictures(masks: list[NDArray[np.bool_]]) -> None:
    texts = [encode(mask) for mask in masks]
    assert covered_pixels(texts).tolist() == [mask.size for mask in masks] == [slowly(text) for text in texts]


@given(st.lists(st.text(st.characters(min_codepoint=44, max_codepoint=114), max_size=12), max_size=6))
def test_any_text_is_read_as_one_character_at_a_time_reads_it(texts: list[str]) -> None:
    assert covered_pixels(texts).tolist() == [slowly(text) for text in texts]


@given(st.lists(drawn, min_size=1, max_size=3), st.data())
def test_a_damaged_mask_leaves_the_others_alone(masks: list[NDArray[np.bool_]], data: st.DataObject) -> None:
    texts = [encode(mask) for mask in masks]
    at = data.draw(st.integers(0, len(texts)))
    texts.insert(at, data.draw(st.sampled_from(["P", "1 ", "ü4", "\ud800", "o" * 9, "00000O0"])))
    covered = covered_pixels(texts).tolist()
    assert covered[:at] + covered[at + 1 :] == [mask.size for mask in masks]
    assert covered[at] == slowly(texts[at]) == -1


def test_numbers_worked_out() -> None:
    # 3 and 21: "3"; 21 = 0b10101 has the sign's bit, so another digit: 48 + 32 + 21 = "e", then "0"
    assert covered_pixels(["3e0"]).tolist() == [24]
    # 1, 2, 3, then 4 as +2 to the second and 5 as +2 to the third
    assert covered_pixels(["12322", "", "5"]).tolist() == [15, 0, 5]


def test_entries_are_what_pycocotools_takes() -> None:
    assert entries(["3e0"], (4, 6)) == [{"size": [4, 6], "counts": b"3e0"}]
    assert entries([], (4, 6)) == []


@pytest.mark.parametrize("text", ["3e", "3 0", "O", "é", "oooooooo0"])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError, match=r"damaged.*evaluate the clip again"):
        entries(["3e0", text], (4, 6))
