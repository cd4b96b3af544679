"""Generated median prediction: the text has all parameters in it and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

from fluxshard.codegen.cpp.wire.median_predictor import MedianPredictorParams, render_median_predictor
from tests.unit.codegen.targets import AVX512, PORTABLE

PARAMS = MedianPredictorParams(most_columns=640)


def test_every_parameter_is_in_the_text() -> None:
    assert [one.name for one in fields(MedianPredictorParams)] == ["most_columns"]
    assert render_median_predictor(replace(PARAMS, most_columns=641), AVX512) != render_median_predictor(PARAMS, AVX512)


def test_the_text_is_pure_and_for_one_kind_of_vector() -> None:
    text = render_median_predictor(PARAMS, AVX512)
    assert text == render_median_predictor(replace(PARAMS), AVX512)
    assert text != render_median_predictor(PARAMS, PORTABLE)
    assert "640 px" in text.splitlines()[0] and "avx512" in text.splitlines()[0]
    assert "{%" not in text and "}}\n" not in text and "None" not in text
