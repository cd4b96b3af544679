"""Models of a server: found by digests, never by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fluxshard.cloud.compute import Compute
from fluxshard.cloud.server.served_model import Catalogue, ServedModel
from fluxshard.cloud.wire.answer_codec import OutputsCodec
from fluxshard.errors import RefusedError, WireError
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions
from fluxshard.runtime.stream import Program
from fluxshard.testing import FakeEngine

COMPUTE = Compute(backend="fake", dtype="float32", isa="torch", device="", version="1")


def served(size: tuple[int, int] = (16, 24), weights: str = "w", **given: Any) -> ServedModel:
    program = Program(FakeEngine(size), lambda leaves: leaves[0])
    return ServedModel(program=program, weights=weights, compute=COMPUTE, **given)


def test_found_by_both_digests() -> None:
    one, other, third = served(), served(weights="v"), served((24, 24))
    catalogue = Catalogue([one, other, third])
    assert set(catalogue.models) == {one, other, third}
    for model in (one, other, third):
        assert catalogue.find(model.plan.digest(), model.weights) is model


@pytest.mark.parametrize(
    ("plan", "weights", "message"), [("other", "w", "does not run this model at this size"), ("", "", "does not run")]
)
def test_another_plan(plan: str, weights: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        Catalogue([served()]).find(plan, weights)
    assert refused.value.reason == "model" and refused.value.retry_after_s is None


def test_other_weights() -> None:
    model = served()
    with pytest.raises(RefusedError, match="with other weights") as refused:
        Catalogue([model]).find(model.plan.digest(), "secret of the edge")
    assert refused.value.reason == "model" and "secret" not in str(refused.value)


def test_outputs_are_encoded_as_the_plan_says() -> None:
    model = served()
    outputs = torch.rand(1, 3, 2, 3)
    assert model.encoder("outputs", 0.0, 0.0)(outputs) == OutputsCodec(model.plan).encode(outputs)


@pytest.mark.parametrize("answer", ["detections", "", "weights"])
def test_answers_that_a_model_does_not_give(answer: str) -> None:
    with pytest.raises(RefusedError, match="does not give such answers") as refused:
        served().encoder(answer, 0.5, 0.5)
    assert refused.value.reason == "model"


@pytest.mark.parametrize(("confidence", "iou"), [(math.nan, 0.5), (0.5, math.nan), (-0.1, 0.5), (0.5, 1.1)])
def test_thresholds_of_detections(confidence: float, iou: float) -> None:
    model = served(detect=lambda *_: pytest.fail("made for thresholds that are not allowed"))
    with pytest.raises(WireError, match="between 0 and 1"):
        model.encoder("detections", confidence, iou)


def test_orders_fit_the_model() -> None:
    assert served().orders(ReuseOptions()).shapes == ((8, 12),)
    assert served().orders(ReuseOptions(policy="planned", tau={"not read": 1.0})).shapes == ((2, 3),)


@pytest.mark.parametrize(
    "reuse",
    [
        ReuseOptions(tau={"secret": 1.0}),
        ReuseOptions(policy="planned", planned=PlannedOptions(levels={8: LevelOptions(shard_px=8 * 10**30)})),
    ],
)
def test_options_that_do_not_fit_the_model(reuse: ReuseOptions) -> None:
    with pytest.raises(WireError, match=r"^options of reuse do not fit the model$"):
        served().orders(reuse)
