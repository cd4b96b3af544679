"""Saving and loading without generated code: what is kept, what is refused, and what a loaded model is."""

from __future__ import annotations

import stat
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.errors import ModelError, OptionError, ProfileError, ShapeError, StateError
from fluxshard.models.loading.load import load as load_model
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile, network_digest, weights_digest
from fluxshard.testing.networks import TwoStrides, bright_model, square

REFERENCE = fluxshard.CompileOptions(backend="reference")


class Tree(nn.Module):
    """A dictionary with a list inside, and an island."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> dict[str, object]:
        y = self.norm(self.conv(x))
        return {"raw": y, "more": [torch.relu(y), y.mean((2, 3)), 7]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.fluxshard"


def profile_of(model: fluxshard.CompiledModel, canvas_px: int = 0) -> ThresholdProfile:
    planned = PlannedOptions(tau=0.05)
    return ThresholdProfile(
        reuse=ReuseOptions(policy="planned", planned=planned),
        canvas_px=canvas_px,
        network=network_digest(model.plan),
        weights=weights_digest(model.plan, model.weights),
        facts={"alpha": 0.9},
    )


def test_a_loaded_model_is_the_model(path: Path) -> None:
    image = torch.rand(1, 3, 20, 24)
    model = fluxshard.compile(Tree().eval(), image, options=REFERENCE)
    model.save(path)
    loaded = fluxshard.load(path)
    assert isinstance(loaded, fluxshard.CompiledModel)
    assert (loaded.plan, loaded.backend, loaded.dtype, loaded.device) == (
        model.plan, "reference", "float32", model.device,
    )  # fmt: skip
    assert loaded.options == model.options and loaded.plan.digest() == model.plan.digest()
    assert all(torch.equal(tensor, loaded.weights[name]) for name, tensor in model.weights.items())
    assert str(loaded.explain()) == str(model.explain())
    with model.session() as ours, loaded.session() as theirs:
        assert theirs.reuse == ours.reuse
        for _ in range(3):
            image = image + 0.2 * (torch.rand_like(image) > 0.9)
            a, b = ours.run(image), theirs.run(image)
            assert a.keys() == b.keys() and b["more"][2] == 7
            assert torch.equal(a["raw"], b["raw"]) and torch.equal(a["more"][1], b["more"][1])
            assert ours.stats.compute_ratio == theirs.stats.compute_ratio


def test_all_compiled_sizes_are_kept(path: Path) -> None:
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    for size in ((32, 16), (16, 24), (8, 8)):
        model.specialise(torch.zeros(1, 3, *size))
    model.specialise(torch.zeros(1, 3, 32, 16))
    assert model.save(path).image_sizes == ((16, 24), (8, 8), (32, 16))
    loaded = fluxshard.load(path)
    assert loaded.plan == model.plan
    with loaded.session() as session:
        for size in ((16, 24), (8, 8), (32, 16)):
            session.run(torch.zeros(1, 3, *size))
        for wrong in ((24, 16), (16, 23)):
            with pytest.raises(ShapeError, match=r"saved for \(1, 3, 16, 24\), \(1, 3, 8, 8\), \(1, 3, 32, 16\): give"):
                session.run(torch.zeros(1, 3, *wrong))


def test_a_size_is_compiled_while_somebody_goes_through_the_others() -> None:
    """As `save` and `repr` do, in another thread than that of a stream with a new size."""
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    sizes = iter(model._compiled.items())
    assert next(sizes)[0] == (1, 3, 16, 24)
    model.specialise(torch.zeros(1, 3, 8, 8))
    assert list(sizes) == [] and repr(model).endswith("sizes 16x24, 8x8)")


def test_there_is_no_graph(path: Path) -> None:
    fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE).save(path)
    with pytest.raises(StateError, match="a loaded model has no graph_module"):
        _ = fluxshard.load(path).graph_module


def test_a_loaded_model_can_be_saved_again(path: Path) -> None:
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    model.save(path, loaded=bright_model(), profile=profile_of(model))
    again = path.with_name("again.fluxshard")
    kept = fluxshard.load(path).save(again, loaded=load_model(path))
    assert kept.profile is not None
    for name in ("options", "profile", "outputs", "programs"):
        assert getattr(load_model(again).saved, name) == getattr(load_model(path).saved, name)


def test_nothing_compiled_yet(path: Path) -> None:
    with pytest.raises(StateError, match="pass an example"):
        fluxshard.compile(TwoStrides().eval(), options=REFERENCE).save(path)
    assert not path.exists()


def test_files_are_not_replaced_unasked(path: Path) -> None:
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    path.write_text("mine")
    with pytest.raises(OptionError, match="exists; give another name, or overwrite it"):
        model.save(path)
    assert path.read_text() == "mine"
    model.save(path, overwrite=True)
    assert fluxshard.load(path).plan == model.plan and stat.S_IMODE(path.stat().st_mode) & 0o111 == 0
    with pytest.raises(OptionError, match="is a directory"):
        model.save(path.parent, overwrite=True)
    with pytest.raises(OptionError, match="does not exist"):
        model.save(path.parent / "no" / "m.fluxshard")


def test_a_profile_is_kept_and_is_the_default(path: Path) -> None:
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    profile = profile_of(model)
    model.save(path, profile=profile)
    loaded = fluxshard.load(path)
    assert loaded.session().reuse == profile.reuse
    assert loaded.session(exact=True).reuse == ReuseOptions.exact()
    assert loaded.session(ReuseOptions()).reuse == ReuseOptions()


def test_a_profile_of_another_model_is_refused(path: Path) -> None:
    model = fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    other = fluxshard.compile(Tree().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE)
    with pytest.raises(ProfileError, match="another network than TwoStrides"):
        model.save(path, profile=profile_of(other))
    with pytest.raises(OptionError, match="canvas_px=8"):
        model.save(path, profile=profile_of(model, canvas_px=8))
    assert not path.exists()


def test_a_canvas_is_kept(path: Path) -> None:
    options = fluxshard.CompileOptions(backend="reference", canvas_px=4)
    image = torch.rand(1, 3, 16, 24)
    model = fluxshard.compile(TwoStrides().eval(), image, options=options)
    assert model.save(path).image_sizes == ((16, 24),)
    loaded = fluxshard.load(path)
    with model.session() as ours, loaded.session() as theirs:
        for _ in range(2):
            assert all(map(torch.equal, ours.run(image), theirs.run(image)))
            assert ours.stats.compute_ratio == theirs.stats.compute_ratio  # of the image, not of the canvas
    with pytest.raises(OptionError, match=r"canvas_px \(=0\) must be 4"):
        fluxshard.load(path, options=REFERENCE)


def test_options_and_targets_of_loading(path: Path) -> None:
    fluxshard.compile(TwoStrides().eval(), torch.zeros(1, 3, 16, 24), options=REFERENCE).save(path)
    assert fluxshard.load(path, options=fluxshard.CompileOptions()).backend == "reference"  # what "auto" was
    with pytest.raises(OptionError, match="target"):
        fluxshard.load(path, target="tpu")
    with pytest.raises(OptionError, match="dtype"):
        fluxshard.load(path, options=fluxshard.CompileOptions(dtype="float16"))


def test_what_is_not_a_saved_model(path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        fluxshard.load(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match="is not a saved model"):
        fluxshard.load(path)
    with pytest.raises(ModelError, match="is not a saved model"):
        load_model(path)  # by its name: not "is damaged, download it again"


def test_what_outputs_mean_is_kept(path: Path) -> None:
    bright = bright_model()
    image = square(8, 16)
    fluxshard.compile(bright.net, image, options=REFERENCE).save(path, loaded=bright)
    found = load_model(path)
    assert (found.task, found.names, found.stride_px) == ("detect", ("bright",), 8)
    assert found.layout is not None and bright.layout is not None and asdict(found.layout) == asdict(bright.layout)
    with torch.no_grad():
        torch.testing.assert_close(found.net(image), bright.net(image))
    raw = load_model(path, "raw")
    assert (raw.task, raw.layout, raw.names) == ("raw", None, ())
    with pytest.raises(ModelError, match="is a 'detect' model and cannot do 'pose'"):
        load_model(path, "pose")
    with pytest.raises(OptionError, match="must be one of auto"):
        load_model(path, "fly")
