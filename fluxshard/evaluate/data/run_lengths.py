"""COCO's compressed run lengths, checked before pycocotools reads them.

Its C code trusts them: masks of two sizes make the overlap loop for ever, and a text that stops within a number is read
past its end.

The text is a list of numbers, each of base-32 digits, least first, as characters from "0" on; bit 5 says that another
digit follows, and bit 4 of the last one is the sign. From the fourth number on it is the difference to the number two
before.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError

MORE, SIGN, DIGIT = 32, 16, 31
MOST_DIGITS = 7  # of a 32-bit number


def coco_module(name: str) -> Any:
    """A module of pycocotools, which is an extra.

    Raises:
      EvaluationError: it is not installed.
    """
    try:
        return importlib.import_module(f"pycocotools.{name}")
    except ImportError as error:
        raise EvaluationError(
            "evaluation needs pycocotools, which is not installed; run: pip install 'fluxshard[evaluate]'"
        ) from error


def entries(masks: Sequence[str], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Masks in the form that pycocotools takes.

    Args:
      masks: run lengths (`counts`).
      shape: (h, w) of the picture that they are of.

    Raises:
      EvaluationError: damaged run lengths, or of another number of pixels. A transposed size goes unseen.
    """
    expected = shape[0] * shape[1]
    for covered in covered_pixels(masks).tolist():
        if covered < 0:
            raise EvaluationError(
                "a mask is damaged: its text is not COCO's compressed run lengths; evaluate the clip again"
            )
        if covered != expected:
            raise EvaluationError(
                f"a mask's run lengths cover {covered} pixels and the picture {shape} (h, w) has {expected}; "
                "masks must be of the whole picture: encode them at its size"
            )
    return [{"size": list(shape), "counts": counts.encode("ascii")} for counts in masks]


def covered_pixels(masks: Sequence[str]) -> NDArray[np.int64]:
    """Sum of the run lengths of each mask: `(len(masks),)`, -1 where the text is damaged."""
    sizes = np.asarray([len(counts) for counts in masks], np.int64)
    owner = np.repeat(np.arange(len(masks)), sizes)  # mask of each character
    codes = np.frombuffer("".join(masks).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) - ord("0")
    damaged = np.zeros(len(masks), np.bool_)
    damaged[owner[(codes < 0) | (codes >= 2 * MORE)]] = True
    last = np.cumsum(sizes)[sizes > 0] - 1
    damaged[owner[last[codes[last] & MORE != 0]]] = True

    final = codes & MORE == 0
    final[last] = True  # keeps the numbers of a damaged mask from running into the next
    ends = np.flatnonzero(final)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    digits = ends - starts + 1
    damaged[owner[ends[digits > MOST_DIGITS]]] = True
    place = np.minimum(np.arange(len(codes)) - np.repeat(starts, digits), MOST_DIGITS)
    values = np.add.reduceat((codes & DIGIT) << 5 * place, starts) if len(starts) else starts
    values = values - np.where(codes[ends] & SIGN, 1 << 5 * np.minimum(digits, MOST_DIGITS), 0)

    # numbers add up along chains of every second one; the first of a mask is a chain of its own
    owner = owner[ends]
    index = np.arange(len(ends)) - _group_starts(owner)
    chain = 3 * owner + np.where(index == 0, 0, 1 + index % 2)
    order = np.argsort(chain, kind="stable")
    chain, sums = chain[order], np.cumsum(values[order])
    first = _group_starts(chain)
    runs = sums - (sums[first] - values[order][first])
    damaged[chain[runs < 0] // 3] = True
    covered = np.zeros(len(masks), np.int64)
    np.add.at(covered, chain // 3, runs)
    return np.where(damaged, -1, covered)


def _group_starts(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of the sorted keys, where those equal to it begin."""
    sizes = np.bincount(keys)
    return np.repeat(np.cumsum(sizes) - sizes, sizes)
