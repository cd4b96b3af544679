"""Validation of COCO's compressed run lengths before they reach pycocotools.

The C code of pycocotools does not validate: masks of different sizes make its overlap loop endless, and text that ends
inside a number is read out of bounds.

A mask is a list of run lengths in column-major order, starting with the run of zeros. Each number is written as base-32
digits, least significant first, one character from "0" on per digit: bit 5 marks that another digit follows, and bit 4
of the last digit is the sign. From the fourth number on, the difference to the number two places before is written.

Source: `rleToString` and `rleFrString` in cocoapi's common/maskApi.c.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import EvaluationError

MORE, SIGN, DIGIT = 32, 16, 31
MOST_DIGITS = 7  # base-32 digits of a 32-bit number


def coco_module(name: str) -> Any:
    """Imports a submodule of pycocotools, an optional dependency.

    Raises:
      EvaluationError: pycocotools is not installed.
    """
    try:
        return importlib.import_module(f"pycocotools.{name}")
    except ImportError as error:
        raise EvaluationError(
            "evaluation needs pycocotools, which is not installed; run: pip install 'fluxshard[evaluate]'"
        ) from error


def entries(masks: Sequence[str], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Converts masks to the dictionaries that pycocotools takes, after validating them.

    Args:
      masks: run lengths (`counts`).
      shape: (h, w) of the picture.

    Raises:
      EvaluationError: run lengths are damaged or cover another number of pixels. A transposed size is not detected.
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
    """Sum of the run lengths of each of N masks: `(N,)` int64, -1 where the text is damaged."""
    sizes = np.asarray([len(counts) for counts in masks], np.int64)
    owner = np.repeat(np.arange(len(masks)), sizes)  # index of the mask that each character belongs to
    codes = np.frombuffer("".join(masks).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) - ord("0")
    damaged = np.zeros(len(masks), np.bool_)
    damaged[owner[(codes < 0) | (codes >= 2 * MORE)]] = True
    last = np.cumsum(sizes)[sizes > 0] - 1
    damaged[owner[last[codes[last] & MORE != 0]]] = True

    final = codes & MORE == 0
    final[last] = True  # keeps the last number of a damaged mask from continuing into the next mask
    ends = np.flatnonzero(final)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    digits = ends - starts + 1
    damaged[owner[ends[digits > MOST_DIGITS]]] = True
    place = np.minimum(np.arange(len(codes)) - np.repeat(starts, digits), MOST_DIGITS)
    values = np.add.reduceat((codes & DIGIT) << 5 * place, starts) if len(starts) else starts
    values = values - np.where(codes[ends] & SIGN, 1 << 5 * np.minimum(digits, MOST_DIGITS), 0)

    # differences accumulate along chains of every second number; the first number of a mask is a chain of its own
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
    """Index of the first equal element for each element of a sorted array."""
    sizes = np.bincount(keys)
    return np.repeat(np.cumsum(sizes) - sizes, sizes)
