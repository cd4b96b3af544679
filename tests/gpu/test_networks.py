"""Whole detectors on a GPU, in float16, against their definition in float32."""

from __future__ import annotations

import json

import pytest

from benchmarks.plans import load_plan, seeded_weights
from fluxshard.options import DType
from tests.gpu import networks
from tests.gpu.place import Place


@pytest.mark.parametrize(
    ("name", "size", "dtype"),
    [
        ("yolo11n", 640, "float16"),
        ("yolo11n", 640, "float32"),
        ("yolo11n", 640, "bfloat16"),
        ("yolo11m", 1024, "float16"),
    ],
)
def test_detectors_are_their_definition(place: Place, name: str, size: int, dtype: DType) -> None:
    plan = load_plan(name, size)
    found = networks.run(place, plan, seeded_weights(plan), dtype)
    print(json.dumps(found, indent=1))
    networks.check(found, dtype)
    assert max(found["images"]["boxes_99"], found["images"]["scores_99"]) > 4e-2  # else anything would be near
    assert found["ratio 0"]["compute_ratio"] == pytest.approx(1.0)
    assert found["ratio of 0.0"]["compute_ratio"] == 0 and found["ratio of 0.05"]["compute_ratio"] < 0.2
