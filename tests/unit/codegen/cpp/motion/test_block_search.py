"""Generated block search: the text has all parameters in it and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from fluxshard.codegen.cpp.motion.block_search import BlockSearchParams, render_block_search
from tests.unit.codegen.targets import AVX512, PORTABLE

PARAMS = BlockSearchParams()


@pytest.mark.parametrize("name", [one.name for one in fields(BlockSearchParams)])
def test_every_parameter_is_in_the_text(name: str) -> None:
    other = replace(PARAMS, **{name: 4 + getattr(PARAMS, name)})
    assert render_block_search(other, AVX512) != render_block_search(PARAMS, AVX512)


def test_the_text_is_pure_and_for_one_kind_of_vector() -> None:
    text = render_block_search(PARAMS, AVX512)
    assert text == render_block_search(replace(PARAMS), AVX512)
    assert text != render_block_search(PARAMS, PORTABLE)
    assert "avx512" in text.splitlines()[0]
    assert "{%" not in text and "}}\n" not in text and "None" not in text
