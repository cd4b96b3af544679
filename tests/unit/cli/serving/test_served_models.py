"""Sizes that are served, and the models that are made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("structlog", reason="structlog is not installed: pip install '.[cloud]'")

import fluxshard
from fluxshard.cli.serving.request import ServeRequest
from fluxshard.cli.serving.served_models import image_sizes, served_models
from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import CompileOptions
from fluxshard.pipeline.profiling.measured import measured_of
from fluxshard.runtime.offload.latency_model import LatencyModel
from fluxshard.runtime.offload.latency_profile import LatencyProfile
from fluxshard.testing.networks import TwoStrides
from fluxshard.testing.offload.serve_process import write_small_model
from fluxshard.testing.offload.two_places import small_model

NET = LoadedModel(net=torch.nn.Identity(), stride_px=32)
MODEL = LatencyModel(base_ms=1.0, slopes_ms=(2.0,), knots=((0.0, 1.0), (1.0, 3.0)), error=0.1, samples=9)


def sizes(*given: str, pictures: tuple[str, ...] = (), loaded: LoadedModel = NET) -> list[tuple[int, int]]:
    return list(image_sizes(ServeRequest(model=Path("w"), sizes=given, pictures=pictures), loaded))


def test_sizes_are_those_that_edges_will_ask_for() -> None:
    assert sizes() == [(384, 640)]  # of a video of 1080x1920
    assert sizes("384x640", "640x640") == [(384, 640), (640, 640)]
    assert sizes("640", "320") == [(384, 640), (192, 320)]
    assert sizes("640", pictures=("720x1280", "1920x1080", "480x854")) == [(384, 640), (640, 384)]
    assert sizes("64x64", "640", pictures=("480x640", "1080x1920")) == [(64, 64), (480, 640), (384, 640)]
    assert sizes(loaded=replace(NET, input_shape=(64, 96))) == [(64, 96)]
    with pytest.raises(OptionError, match="multiples of the network's stride"):
        sizes("50x48")


@pytest.mark.filterwarnings("ignore:loading .* runs Python code:UserWarning")
def test_models_are_those_that_edges_have(tmp_path: Path) -> None:
    path = write_small_model(tmp_path / "small.pt")
    torch.manual_seed(0)
    compiled = fluxshard.compile(
        TwoStrides().eval(), torch.zeros(1, 3, 32, 48), options=CompileOptions(backend="reference")
    )
    fitting = LatencyProfile(measured=measured_of(compiled, "planned"), model=MODEL)
    fitting.save(tmp_path / "fits.json")
    other = replace(fitting, measured=replace(fitting.measured, device="another"))
    other.save(tmp_path / "other.json")
    told: list[str] = []
    request = ServeRequest(
        model=path,
        sizes=("32x48", "64x64"),
        backend="reference",
        latency_profiles=(tmp_path / "fits.json", tmp_path / "other.json"),
    )
    with pytest.warns(RuntimeWarning, match=r"other\.json' fits none of the served sizes"):
        models = served_models(request, told.append)
    mine = small_model()
    assert [model.plan.image_size for model in models] == [(32, 48), (64, 64)]
    assert (models[0].plan.digest(), models[0].weights) == (mine.program.engine.plan.digest(), mine.weights)
    assert models[0].compute.same_bits(mine.compute) and models[0].detect is None
    assert json.loads(models[0].latency_model)["base_ms"] == 1.0 and models[1].latency_model == b""
    assert told == ["reading small.pt ...", "compiling small.pt for 32x48 ...", "compiling small.pt for 64x64 ..."]
