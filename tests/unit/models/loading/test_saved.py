"""What a saved model says of its outputs: values that mean nothing are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import fluxshard
from fluxshard.errors import ModelError
from fluxshard.models.loading.saved import described
from fluxshard.saved.saved_model import SavedModel, read_saved
from fluxshard.testing.networks import bright_model, square


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    bright, path = bright_model(), tmp_path_factory.mktemp("saved") / "m.fluxshard"
    options = fluxshard.CompileOptions(backend="reference")
    fluxshard.compile(bright.net, square(8, 16), options=options).save(path, loaded=bright)
    return read_saved(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stride_px", float("inf")),
        ("stride_px", float("nan")),
        ("stride_px", None),
        ("keypoint_shape", [17]),
        ("keypoint_shape", []),
        ("keypoint_shape", {}),
        ("keypoint_shape", [float("inf"), 3]),
        ("colour", "red"),
        ("names", 3),
        ("task", "fly"),
    ],
)
def test_values_that_mean_nothing(saved: SavedModel, name: str, value: Any) -> None:
    assert saved.outputs is not None and described(saved).stride_px == 8
    changed = dict(saved.outputs)
    if name in changed:
        changed[name] = value
    else:
        changed["layout"] = {**changed["layout"], name: value}
    with pytest.raises(ModelError, match="does not say what its outputs mean"):
        described(replace(saved, outputs=changed))
