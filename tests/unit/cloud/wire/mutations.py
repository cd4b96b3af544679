"""Damaged payloads, for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluxshard.errors import WireError

EXAMPLES = int(os.environ.get("FLUXSHARD_MUTATIONS", "500"))
many = settings(max_examples=EXAMPLES, deadline=None)

Mutation = tuple[str, float, bytes]
Image = NDArray[np.uint8]

_KINDS = ("change", "insert", "cut", "remove", "append", "repeat")
MUTATIONS: st.SearchStrategy[list[Mutation]] = st.lists(
    st.tuples(st.sampled_from(_KINDS), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, mutations: list[Mutation]) -> bytes:
    """Damages data; a third of the positions are within its first bytes, where headers are."""
    for kind, where, some in mutations:
        position = int(3 * where * min(len(data), 48)) if where < 1 / 3 else int(where * len(data))
        before, after = data[:position], data[position:]
        if kind == "change":
            data = before + some + after[len(some) :]
        elif kind == "insert":
            data = before + some + after
        elif kind == "cut":
            data = before
        elif kind == "remove":
            data = before + after[len(some) :]
        elif kind == "append":
            data = data + some
        else:
            data = before + after + after
    return data


def check_refused_or_harmless(decode: Callable[[bytes], Image], data: bytes, mask: Image, cached: Image) -> None:
    """Whatever data says: an error of ours, or an image that differs where the mask is set only."""
    try:
        found = decode(data)
    except WireError:
        return
    assert found.shape == cached.shape and found.dtype == np.uint8
    assert (found[~mask] == cached[~mask]).all()
