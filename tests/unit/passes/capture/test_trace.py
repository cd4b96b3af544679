from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_unflatten

from fluxshard.errors import TraceError
from fluxshard.passes.capture.trace import trace
from fluxshard.testing import assert_same_leaves, ops

IMAGE = torch.linspace(-1, 1, 3 * 8 * 10).reshape(1, 3, 8, 10)


class Block(nn.Module):
    """In-place ops, a dropout, an output tree with constants, and a cache on itself, as detectors have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.cached: Tensor | None = None
        self.cached_shape: tuple[int, ...] | None = None

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.act(self.norm(self.conv(x)))
        if self.cached_shape != y.shape:
            self.cached = torch.arange(y.shape[2], dtype=x.dtype).view(1, 1, -1, 1)
            self.cached_shape = y.shape
        assert self.cached is not None
        y += self.cached
        y[:, 0] = 2
        y = nn.functional.dropout(y, 0.5, self.training)
        return {"map": y, "more": [None, 3, "name", (y.mean((2, 3)),)]}


def test_runs_as_the_model_does_and_returns_its_structure() -> None:
    net = Block().eval()
    expected = net(IMAGE)
    traced = trace(_twin(net), IMAGE)
    found = traced.graph_module(IMAGE)
    assert found.keys() == expected.keys()
    assert_same_leaves(tree_leaves(found), tree_leaves(expected), 1e-6)
    assert tree_unflatten(tree_leaves(expected), traced.out_spec).keys() == expected.keys()
    assert traced.name == "Block"


def _twin(net: Block) -> Block:
    copy = Block().eval()
    copy.load_state_dict(net.state_dict())
    return copy


def test_nothing_is_in_place() -> None:
    assert not [name for name in ops(trace(Block(), IMAGE).graph_module) if name.endswith("_")]


def test_the_model_is_left_as_it_was() -> None:
    net = Block()
    net.norm.eval()
    flags = [part.training for part in net.modules()]
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trace(net, IMAGE)
    assert [part.training for part in net.modules()] == flags
    assert net.cached is None and net.cached_shape is None
    assert all(torch.equal(weights[name], tensor) for name, tensor in net.state_dict().items())
    net.eval()(IMAGE)
    cached = net.cached
    trace(net, IMAGE)
    trace(net, IMAGE[:, :, :6])  # another size, after it ran
    assert net.cached is cached
    assert_same_leaves(tree_leaves(trace(net, IMAGE).graph_module(IMAGE)), tree_leaves(net(IMAGE)), 1e-6)


def test_training_mode_is_captured_as_evaluation() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    found = trace(net, IMAGE).graph_module(IMAGE)
    assert net.training
    assert_same_leaves([found], [net.eval()(IMAGE)], 1e-6)


@pytest.mark.parametrize("decomposed", [False, True])
def test_exported_programs_and_graph_modules(decomposed: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(2)).eval()
    program = torch.export.export(net, (IMAGE,), strict=False)
    if decomposed:
        program = program.run_decompositions()
    for form in (program, program.module(), torch.fx.symbolic_trace(net)):
        assert_same_leaves([trace(form, IMAGE).graph_module(IMAGE)], [net(IMAGE)], 1e-6)


class Views(nn.Module):
    """Writes through chains of views, and reads older views afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        row, flat = y[:, :, 1], y.view(1, 3, 80)
        y.transpose(2, 3)[:, :, 3:5].add_(1)
        row.mul_(3)
        flat.unsqueeze(0)[..., 5] = 9.0
        y.permute(0, 2, 3, 1).select(3, 0).relu_()
        return y + row.unsqueeze(2) + flat.view(1, 3, 8, 10)


class Opaque(nn.Module):
    """Writes through a view that only torch's own functionalisation understands."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y.unfold(3, 2, 2)[..., 0].add_(1)
        return y


@pytest.mark.parametrize("net", [Views(), Opaque()])
def test_writes_to_views(net: nn.Module) -> None:
    graph_module = trace(net, IMAGE).graph_module
    assert not [name for name in ops(graph_module) if name.endswith("_")]
    assert_same_leaves([graph_module(IMAGE)], [net(IMAGE)], 1e-6)


class OwnImage(nn.Module):
    """Normalises the caller's image in place."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        x[:, 0] *= 2
        return x.relu()


def test_writes_to_the_image_stay_inside() -> None:
    found = trace(OwnImage(), IMAGE).graph_module
    image = IMAGE.clone()
    assert_same_leaves([found(image)], [OwnImage()(IMAGE.clone())], 1e-6)
    assert torch.equal(image, IMAGE)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Optional(nn.Module):
    def forward(self, x: Tensor, augment: bool = False) -> Tensor:
        return x * 2 if augment else x * 3


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


class NoTensors(nn.Module):
    def forward(self, x: Tensor) -> int:
        return x.shape[2]


class Exotic(nn.Module):
    def forward(self, x: Tensor) -> object:
        return x * 2, torch.float16


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * self.count


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.rand(3, 3)


@pytest.mark.parametrize(
    ("net", "example", "message"),
    [
        (TwoInputs(), IMAGE, r"TwoInputs.forward needs 2 inputs \(x, y\)"),
        (Branch(), IMAGE, r"Branch decides .* at .*test_trace.py:\d+"),
        (NoTensors(), IMAGE, "returns no tensors"),
        (Exotic(), IMAGE, "Exotic cannot be captured.*torch.dtype"),
        (Counter(), IMAGE, "changes 'count' while it runs"),
        (Broken(), IMAGE, r"Broken cannot be captured at .*test_trace.py:\d+"),
        (Optional(), torch.rand(2, 3, 8, 8), "batch 2"),
        (Optional(), torch.rand(3, 8, 8), r"float32 \(3, 8, 8\)"),
        (Optional(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (Optional(), torch.zeros(1, 3, 8, 8, dtype=torch.float16), "float16"),
        (lambda x: x, IMAGE, "cannot compile a function"),
    ],
)
def test_errors_are_one_line_that_says_why(
    net: Any, example: Tensor, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TraceError, match=message) as caught:
        trace(net, example)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_optional_inputs_keep_their_defaults() -> None:
    assert torch.equal(trace(Optional(), IMAGE).graph_module(IMAGE), IMAGE * 3)


def test_two_threads_capture_at_once() -> None:
    """torch.export keeps state of the process; captures take turns, so that each gets its own network."""
    from concurrent.futures import ThreadPoolExecutor

    def capture(channels: int) -> int:
        net = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, 2, 1)).eval()
        traced = trace(net, torch.zeros(1, 3, 16, 16))
        return next(node.meta["val"].shape[1] for node in traced.graph_module.graph.nodes if node.op == "call_function")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(capture, range(4, 16))) == list(range(4, 16))


class Averages(nn.Module):
    """Keeps a mean of frames as a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x if self.mean is None else 0.9 * self.mean + 0.1 * x
        return x - self.mean


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def forward(self, x: Tensor) -> Tensor:
        self.frames += 1
        return x * self.frames


class Recalls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Module()
        self.part.last = []

    def forward(self, x: Tensor) -> Tensor:
        self.part.last.append(x)
        return torch.stack(self.part.last[-2:]).mean(0)


_FRAMES: list[Tensor] = []


class Elsewhere(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _FRAMES.append(x)
        return x - _FRAMES[-2] if len(_FRAMES) > 1 else x


class Chooses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.mean() > 0, lambda a: a * 2, lambda a: a * 3, (x,))


class Grows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


class HasScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = torch.jit.script(nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Averages(), "changes 'mean' while it runs"),
        (Counts(), "changes 'frames' while it runs"),
        (Recalls(), "changes 'part.last' while it runs"),
        (Elsewhere(), "changes something outside its attributes"),
        (Chooses(), r"Chooses chooses what to compute with torch's cond at .*test_trace.py:\d+"),
        (Grows(), r"sizes depend on values \(index at .*test_trace.py:\d+\)"),
        (HasScript(), "its part 'part' is TorchScript"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), r"takes images of 1 channels, and the image is \(1, 3, 8, 10\)"),
    ],
)
def test_what_cannot_be_right_is_refused(net: nn.Module, message: str) -> None:
    before = {name: value for name, value in vars(net).items() if not name.startswith("_")}
    with pytest.raises(TraceError, match=message) as caught:
        trace(net, IMAGE)
    assert "\n" not in str(caught.value)
    assert before == {name: value for name, value in vars(net).items() if not name.startswith("_")}


class Strides(nn.Module):
    """Fills a tensor with the number of a constant, as detectors do with their strides."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stride", torch.tensor([8.0, 16.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.full((8, 1), self.stride[1].item()) + torch.full((1, 10), self.stride[0])


def test_numbers_of_constants_are_no_values() -> None:
    assert_same_leaves([trace(Strides(), IMAGE).graph_module(IMAGE)], [Strides()(IMAGE)], 1e-6)


def test_scripts_are_refused_whole() -> None:
    for net in (torch.jit.script(nn.ReLU()), torch.jit.trace(nn.ReLU(), IMAGE)):
        with pytest.raises(TraceError, match="TorchScript"):
            trace(net, IMAGE)


class Modes(nn.Module):
    """Blocks of autocast and of gradients inside a model."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.conv, self.enabled = nn.Conv2d(3, 4, 3, padding=1), enabled

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=self.enabled, dtype=torch.bfloat16):
            y = self.conv(x)
            with torch.enable_grad():
                y = y.relu_() + y.mean((2, 3), keepdim=True)
        return self.conv(y.float()[:, :3])


@pytest.mark.parametrize("enabled", [False, True])
def test_modes_are_put_in_place(enabled: bool) -> None:
    torch.manual_seed(0)
    net = Modes(enabled).eval()
    with torch.no_grad():
        expected = net(IMAGE)
    assert_same_leaves([trace(net, IMAGE).graph_module(IMAGE)], [expected], 2e-2 if enabled else 1e-6)


def test_a_model_that_cannot_be_copied_is_captured() -> None:
    import threading

    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    net.lock, net.kept = threading.Lock(), []  # type: ignore[assignment]
    found = trace(net, IMAGE).graph_module(IMAGE)
    assert net.training and net[1].training
    assert_same_leaves([found], [net.eval()(IMAGE)], 1e-6)


def test_others_may_use_the_model_meanwhile() -> None:
    from concurrent.futures import ThreadPoolExecutor

    net = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(12)]).train()
    expected = net(IMAGE)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(trace, net, IMAGE)
        while not done.done():
            assert torch.equal(net(IMAGE), expected)
        done.result()


class KeepsGrid(nn.Module):
    """Keeps what depends on the size alone, as detectors keep their anchors."""

    grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None or self.grid.shape[-2:] != x.shape[-2:]:
            self.grid = torch.arange(x.shape[-1], dtype=x.dtype).expand(1, 1, *x.shape[-2:]).clone()
        return x + self.grid


@pytest.mark.parametrize("compiles_in_it", [False, True])
def test_a_model_that_has_run_in_inference_mode(compiles_in_it: bool) -> None:
    net = KeepsGrid().eval()
    with torch.inference_mode():
        expected = net(IMAGE)
    assert net.grid is not None and net.grid.is_inference()
    with torch.inference_mode(compiles_in_it):
        traced = trace(net, IMAGE)
    assert_same_leaves([traced.graph_module(IMAGE)], [expected], 1e-6)
