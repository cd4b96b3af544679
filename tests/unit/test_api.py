"""compile(): what it accepts, shares and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import fluxshard
from fluxshard.errors import OptionError, PassError, ShapeError, StateError
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


def test_explain_is_short_and_speaks_of_modules() -> None:
    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(2).softmax(2) @ x.flatten(2).transpose(1, 2)).relu()

    net = nn.Sequential()
    net.add_module("body", nn.Conv2d(3, 4, 3, padding=1))
    net.add_module("head", Head())
    model = fluxshard.compile(net.eval(), torch.zeros(1, 3, 32, 48), options=REFERENCE)
    found = model.explain()
    text, table = str(found), found.verbose()
    assert "head: a matrix product mixes all positions; softmax over an axis" in text
    assert "aten." not in text and "aten." in table
    assert len(text.splitlines()) < 12 < 12 + len(table.splitlines())
    assert [row.part for row in found.rows] == ["body", "head"]
    page = model._repr_html_()
    assert page is not None and page.count("<tr>") == 3 and "softmax over an axis" in page


def test_public_objects_print_briefly() -> None:
    model = fluxshard.compile(Two().eval(), options=REFERENCE)
    assert "not compiled" in repr(model) and model._repr_html_() is None
    image = torch.zeros(1, 3, 32, 48)
    motion = fluxshard.MotionField.zero(32, 48)
    with model.session() as session:
        session.run(image, motion)
        for each in (model, model.plan, model.explain(), session, session.stats, motion):
            assert len(repr(each)) < 120 and repr(each).startswith(type(each).__name__)
    assert "closed" in repr(session)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_are_converted(dtype: torch.dtype) -> None:
    net, image = Two().eval().to(dtype), torch.rand(1, 3, 20, 24)
    with fluxshard.compile(net, image, options=REFERENCE).session() as session, torch.inference_mode():
        found = session.run(image)
        assert all(parameter.dtype == dtype for parameter in net.parameters())
        assert_same(found, net.float()(image))


def test_the_first_frame_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    net, image = Two().eval(), torch.rand(1, 3, 20, 24)
    from fluxshard import api

    right = api.lower

    def wrong(*given: Any) -> Any:
        plan, weights = right(*given)
        return plan, {name: weight * 2 for name, weight in weights.items()}

    monkeypatch.setattr(api, "lower", wrong)
    with pytest.raises(PassError, match=r"Two and its compiled model differ in output 0.*check=False") as caught:
        fluxshard.compile(net, image, options=REFERENCE)
    assert "\n" not in str(caught.value)
    fluxshard.compile(net, image, options=REFERENCE, check=False)


def test_output_types_are_kept() -> None:
    class Found(NamedTuple):
        boxes: Tensor
        scores: dict[tuple[int, int], Tensor]

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return Found(x * 2, {(8, 16): x.mean((2, 3))}), x.max(1)

    image = torch.rand(1, 3, 16, 16)
    model = fluxshard.compile(Net(), image, options=REFERENCE)
    with model.session() as session:
        found, most = session.run(image)
    assert type(found) is Found and torch.equal(found.boxes, image * 2) and list(found.scores) == [(8, 16)]
    assert type(most) is type(image.max(1)) and torch.equal(most.indices, image.max(1).indices)
    plain = pytree.tree_unflatten([1, 2, 3, 4], pytree.treespec_loads(model.plan.output_tree))
    assert plain == ((1, {"(8, 16)": 2}), (3, 4))


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
