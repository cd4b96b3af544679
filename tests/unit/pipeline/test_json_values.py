"""Values that JSON holds."""

from __future__ import annotations

import json

import numpy as np

from fluxshard.pipeline.json_values import plain, run_lengths


def test_run_lengths_are_cocos():
    rng = np.random.default_rng(0)
    for rows, columns in ((range(2, 5), range(1, 4)), (range(0, 7), range(0, 9)), (range(3, 3), range(2, 6))):
        window = rng.random((len(rows), len(columns))) > 0.4
        whole = np.zeros((7, 9), bool)
        whole[rows.start : rows.stop, columns.start : columns.stop] = window
        counts = run_lengths(rows, columns, window, (7, 9))
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        assert np.array_equal(flat.reshape(9, 7).T, whole)


def test_json_has_no_nan():
    text = json.dumps(plain({"a": float("nan"), "b": [np.float32(1.5), np.int64(2), np.inf]}), allow_nan=False)
    assert json.loads(text) == {"a": None, "b": [1.5, 2, None]}
