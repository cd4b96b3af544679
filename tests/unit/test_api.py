"""compile(): what it accepts, shares and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard.errors import OptionError, ShapeError, StateError
from fluxshard.testing.comparisons import assert_same

REFERENCE = fluxshard.CompileOptions(backend="reference")


class Two(nn.Module):
    """A dictionary with a list inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> dict[str, object]:
        y = self.norm(self.conv(x))
        return {"raw": y, "more": [torch.relu(y), y.mean((2, 3))]}


@pytest.mark.parametrize("form", ["module", "exported", "graph"])
def test_what_can_be_compiled(form: str) -> None:
    net = Two().eval()
    image = torch.rand(1, 3, 20, 24)
    exported = torch.export.export(net, (image,), strict=False)
    given = {"module": net, "exported": exported, "graph": exported.module()}[form]
    model = fluxshard.compile(given, image, options=REFERENCE)
    with model.session() as session, torch.inference_mode():
        assert_same(session.run(image), net(image))


def test_the_net_is_not_changed() -> None:
    net = Two().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fluxshard.compile(net, torch.rand(1, 3, 16, 16), options=REFERENCE)
    assert net.training and net.norm.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_sizes_are_compiled_when_they_come() -> None:
    model = fluxshard.compile(Two().eval(), options=REFERENCE)
    with pytest.raises(StateError, match="not compiled"):
        _ = model.plan
    with model.session() as one, model.session() as two:
        one.run(torch.rand(1, 3, 16, 24))
        plan = model.plan
        two.run(torch.rand(1, 3, 16, 24))
        assert model.plan is plan
        two.run(torch.rand(1, 3, 24, 16))
        assert model.plan.image_size == (24, 16)


def test_an_exported_program_has_one_size() -> None:
    image = torch.rand(1, 3, 16, 16)
    model = fluxshard.compile(torch.export.export(Two().eval(), (image,), strict=False), image, options=REFERENCE)
    with model.session() as session, pytest.raises(ShapeError, match="runs at"):
        session.run(torch.rand(1, 3, 24, 16))


def test_explain_names_reasons_and_geometry() -> None:
    model = fluxshard.compile(Two().eval(), options=REFERENCE)
    text = str(model.explain((1, 3, 32, 48)))
    assert "conv2d" in text and "R_max 3 px, S_max 1 px" in text and "dense" in text
    rows = model.explain().rows
    assert [row.mode for row in rows].count("dense") == 1
    assert all(row.note for row in rows if row.mode == "dense")
    assert sum(row.macs for row in rows) == model.plan.macs == 9 * 3 * 4 * 32 * 48


def test_graph_module_runs_and_prints() -> None:
    net = Two().eval()
    image = torch.rand(1, 3, 16, 24)
    model = fluxshard.compile(net, image, options=REFERENCE)
    with torch.inference_mode():
        assert_same(model.graph_module(image), net(image))
    assert "conv2d" in str(model.graph_module.graph) and model.plan.digest() in model.plan.digest()


def test_graphs_are_dumped(tmp_path: Path) -> None:
    options = fluxshard.CompileOptions(backend="reference", dump_dir=tmp_path)
    fluxshard.compile(Two().eval(), torch.rand(1, 3, 16, 24), options=options)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "00_fold_constants.txt" and names[-1].endswith("_swap_sparse.txt")


def test_the_device_is_known_before_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fluxshard.compile(Two().eval(), options=REFERENCE).device == torch.device("cpu")
    emulated = fluxshard.CompileOptions(backend="emulated")
    assert fluxshard.compile(Two().eval(), options=emulated, target="cuda:3").device == torch.device("cpu")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    model = fluxshard.compile(Two().eval(), target="cuda")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert model.device == torch.device("cuda", 1)  # not what is current when somebody asks


def test_options_that_are_not_allowed() -> None:
    with pytest.raises(OptionError, match="target"):
        fluxshard.compile(Two().eval(), target="tpu")
    for bad in ({"dtype": "float8"}, {"isa": "sse9"}, {"backend": "fast"}, {"canvas_px": -1}):
        with pytest.raises(OptionError):
            fluxshard.CompileOptions(**bad)  # type: ignore[arg-type]
    for bad in (
        {"rfap": "x"},
        {"tau": -1},
        {"tau_input": float("nan")},
        {"tau": {"a": -1.0}},
        {"scene_cut": 0},
        {"policy": "planned", "remap": False},
        {"execution": "half"},
    ):
        with pytest.raises(OptionError):
            fluxshard.ReuseOptions(**bad)  # type: ignore[arg-type]


def test_a_session_is_planned_unless_it_is_to_be_exact() -> None:
    model = fluxshard.compile(Two().eval(), options=REFERENCE)
    with model.session() as planned, model.session(exact=True) as exact:
        assert planned.reuse == fluxshard.ReuseOptions(policy="planned")
        assert exact.reuse == fluxshard.ReuseOptions.exact()
    with pytest.raises(OptionError, match="leave out reuse"):
        model.session(fluxshard.ReuseOptions(), exact=True)


def test_an_exact_session_equals_the_network() -> None:
    net, image = Two().eval(), torch.rand(1, 3, 16, 24)
    with fluxshard.compile(net, options=REFERENCE).session(exact=True) as session, torch.inference_mode():
        for index in range(4):
            image[..., 4:6, 4 * index : 4 * index + 3] += 0.001
            assert_same(session.run(image.clone()), net(image))
        assert session.stats.compute_ratio < 1
