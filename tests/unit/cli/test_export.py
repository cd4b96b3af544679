"""`fluxshard export`, and saved models as --model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fluxshard
from fluxshard.cli import main
from fluxshard.cli.support.network_flags import NetworkFlags, prepare
from fluxshard.cli.support.reuse_flags import ReuseFlags, RunReuse, settle, with_saved_profile
from fluxshard.errors import OptionError
from fluxshard.evaluate.calibration.calibrate import inspect_network
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest
from fluxshard.testing import panning, write_clip
from fluxshard.testing.networks import TwoStrides, bright_model

REFERENCE = fluxshard.CompileOptions(backend="reference")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(TwoStrides().eval(), path)
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


def saved_bright(path: Path, *sizes: tuple[int, int], profile: bool = False, canvas_px: int = 0) -> Path:
    bright = bright_model()
    options = fluxshard.CompileOptions(backend="reference", canvas_px=canvas_px)
    model = fluxshard.compile(bright.net, options=options)
    for size in sizes:
        model.specialise(torch.zeros(1, 3, *size))
    thresholds = ThresholdProfile(
        reuse=ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.07)),
        canvas_px=canvas_px,
        network=network_digest(model.plan),
        weights=weights_digest(model.plan, model.weights),
    )
    model.save(path, loaded=bright, profile=thresholds if profile else None)
    return path


def test_export_writes_what_load_opens(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.fluxshard"
    command = ("export", weights, "--out", out, "--size", "32x48", "--size", "64", "--backend", "reference")
    code, said, errors = call(capsys, *command)
    assert code == 0, errors
    assert said.startswith(f"{out}: 0.0 MB; raw at 64x64, 32x48; reference in float32; no programs")
    model = fluxshard.load(out)
    assert model.plan.image_size == (32, 48)
    with model.session() as session:
        session.run(torch.zeros(1, 3, 64, 64))
    code, _, errors = call(capsys, *command)
    assert code == 2 and "exists; give another name, or overwrite it" in errors and errors.count("\n") == 1
    code, _, errors = call(capsys, *command, "--overwrite")
    assert code == 0
    code, said, _ = call(capsys, "explain", "--model", out, "--size", "32x48")
    assert code == 0 and "conv2d" in said


def test_mistakes_of_export(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.fluxshard"
    saved = saved_bright(tmp_path / "bright.fluxshard", (32, 48))
    for words, arguments in (
        ("--isa (='sse9') must be one of native, avx512, avx2, portable", (weights, "--isa", "sse9")),
        ("--size", (weights, "--size", "big")),
        ("does not exist", (tmp_path / "none.pt",)),
        ("is a saved model already: give the weights that it was made from", (saved,)),
        ("profile", (weights, "--profile", tmp_path / "none.json")),
    ):
        code, _, errors = call(capsys, "export", *arguments, "--out", out)
        assert code in (1, 2) and words in errors and errors.startswith("fluxshard: error: "), errors
        assert not out.exists()


def test_sizes_of_a_saved_model(tmp_path: Path) -> None:
    loaded = load(saved_bright(tmp_path / "m.fluxshard", (32, 48), (48, 32), (64, 96)))
    assert network_shape(None, (720, 1080), loaded) == (64, 96)  # the larger of those that fit
    assert network_shape(None, (1280, 720), loaded) == (48, 32)
    assert network_shape("32x48", (1280, 720), loaded) == (32, 48)
    with pytest.raises(
        OptionError, match="is 640x640 for these pictures, and the model was saved for 32x48, 48x32, 64x96"
    ):
        network_shape("640", (500, 500), loaded)


def test_thresholds_of_a_saved_model_give_way_to_flags(tmp_path: Path) -> None:
    loaded = load(saved_bright(tmp_path / "m.fluxshard", (32, 48), profile=True))
    for flags, tau in ((ReuseFlags(), 0.07), (ReuseFlags(policy="planned"), PlannedOptions().tau)):
        assert with_saved_profile(flags, settle(flags), loaded).options.planned.tau == tau
    bare = load(saved_bright(tmp_path / "bare.fluxshard", (32, 48)))
    flags = ReuseFlags()
    reuse = settle(flags)
    assert with_saved_profile(flags, reuse, bare) is reuse and with_saved_profile(flags, reuse, bright_model()) is reuse


def test_the_canvas_is_the_saved_one(tmp_path: Path) -> None:
    loaded = load(saved_bright(tmp_path / "m.fluxshard", (32, 48), canvas_px=8))
    plain = load(saved_bright(tmp_path / "plain.fluxshard", (32, 48)))
    flags = NetworkFlags(model=tmp_path, backend="reference")
    default = RunReuse(options=ReuseOptions(policy="planned"))
    assert prepare(flags, default, loaded, (32, 48)).canvas_px == 8
    assert prepare(flags, default, plain, (32, 48)).canvas_px == 0
    wanted = RunReuse(options=ReuseOptions(policy="planned"), canvas=True)
    assert prepare(flags, wanted, loaded, (32, 48)).compiled.options.canvas_px == 8
    with pytest.raises(OptionError, match=r"a canvas of 8 px is wanted, and .* was saved with one of 0 px: export"):
        prepare(flags, wanted, plain, (32, 48))


def test_saved_models_are_evaluated_and_calibrated_without_a_canvas(tmp_path: Path) -> None:
    path = saved_bright(tmp_path / "m.fluxshard", (32, 48))
    clip = tmp_path / "a.mp4"
    write_clip(str(clip), panning((32, 48), (1, 2), 3))
    network = inspect_network(Setup(weights=path, backend="reference"), Clip(name="a", source=clip))
    assert network.plan.image_size == (32, 48) and network.plan.s_max == 8 and network.canvas_px == 0
    subject = CompiledNetwork(load(path), (32, 48), REFERENCE)
    with subject.model().session() as session:
        session.run(torch.ones(1, 3, 32, 48))
    with pytest.raises(OptionError, match="a canvas of 8 px is wanted"):
        subject.model(8)
