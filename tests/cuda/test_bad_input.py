"""Target "cuda" given what it cannot take: every error says what was seen, what is allowed and what to do."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluxshard
from fluxshard import api, backends
from fluxshard.codegen.cuda.compile.render import render_kernel
from fluxshard.codegen.cuda.emulate import loader as emulated
from fluxshard.codegen.cuda.launches.kernels import Gemm, Kernel, Rows, Small
from fluxshard.errors import (
    CompileError,
    DeviceMemoryError,
    KernelError,
    OptionError,
    ShapeError,
    StateError,
    ToolchainError,
    TraceError,
)
from fluxshard.passes.capture.device_copy import moved, tensors_of
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.cuda_device import EmulatedDevice
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT, check_against_dense
from tests.cuda.small_net import SIZE, SmallNet, small_net

EMULATED = fluxshard.CompileOptions(backend="emulated")
compiler = pytest.mark.requires_compiler


@pytest.fixture(scope="module")
def net() -> SmallNet:
    return small_net()


@pytest.fixture(scope="module")
def model(net: SmallNet) -> fluxshard.CompiledModel:
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=EMULATED, target="cuda")


# ---- machines without what it needs


def test_a_torch_without_cuda_is_said_at_once(net: SmallNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    expected = "target 'cuda:1' needs a torch with CUDA; this is torch .*, built for the CPU: install another build"
    with pytest.raises(ToolchainError, match=expected + ".*run on the CPU, or take backend 'emulated'"):
        fluxshard.compile(net, target="cuda:1")


def test_a_machine_without_a_gpu_is_said_at_once(net: SmallNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ToolchainError, match="needs an NVIDIA GPU and driver, and torch finds none: check nvidia-smi"):
        fluxshard.compile(net, target="cuda", options=fluxshard.CompileOptions(backend="cuda"))


def test_a_gpu_that_is_not_there(net: SmallNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ToolchainError, match="target 'cuda:2' does not exist: torch sees 2 GPUs, from cuda:0"):
        fluxshard.compile(net, target="cuda:2")


def test_no_compiler_for_the_emulator(net: SmallNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolchainError, match="no-such-compiler cannot be run"):
        fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=EMULATED, target="cuda")


# ---- options


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("gpu", {}, "target (='gpu') must be 'cpu', 'cuda' or 'cuda:N'"),
        ("cuda:", {}, "target (='cuda:') must be"),
        ("cuda:sm_90", {}, "target (='cuda:sm_90') must be"),
        ("cpu", {"backend": "cuda"}, "backend (='cuda') must be one of auto, cpp, reference on target 'cpu'"),
        ("cpu", {"backend": "emulated"}, "backend (='emulated') must be one of auto, cpp, reference on target 'cpu'"),
        ("cuda", {"backend": "cpp"}, "backend (='cpp') must be one of auto, cuda, emulated on target 'cuda'"),
        (
            "cuda",
            {"backend": "reference"},
            "backend (='reference') must be one of auto, cuda, emulated on target 'cuda'",
        ),
        (
            "cpu",
            {"dtype": "float16"},
            "dtype (='float16') must be one of 'auto', 'float32', 'bfloat16' on target 'cpu'",
        ),
        ("cuda", {"backend": "emulated", "arch": "sm_130"}, "arch (='sm_130') must be one of sm_72, sm_75, sm_80"),
        ("cuda", {"arch": "hopper"}, "arch (='hopper') must be one of sm_72"),
        ("cpu", {"arch": "sm_1"}, "arch (='sm_1') must be one of sm_72"),
    ],
)
def test_what_does_not_go_together(net: SmallNet, target: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        fluxshard.compile(net, target=target, options=fluxshard.CompileOptions(**options))


def test_a_dtype_that_a_backend_never_has() -> None:
    for backend, dtype, allowed in (
        ("cpp", "float16", "'float32', 'bfloat16'"),
        ("reference", "bfloat16", "'float32'"),
    ):
        with pytest.raises(OptionError, match=f"must be one of 'auto', {allowed} on the backend '{backend}'"):
            fluxshard.CompileOptions(backend=backend, dtype=dtype)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"dtype .*'int8'.* must be one of 'auto', 'float32', 'float16', 'bfloat16'"):
        fluxshard.CompileOptions(dtype="int8")  # type: ignore[arg-type]


def test_architectures_that_cannot_be_explained(net: SmallNet) -> None:
    options = fluxshard.CompileOptions(backend="reference")
    model = fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=options)
    for target in ("cuda", "sm_90", "cuda:sm_61", "cpu"):
        with pytest.raises(OptionError, match=f"target .*'{target}'.* must be one of cuda:sm_72, "):
            model.explain(target=target)
    with pytest.raises(OptionError, match="dtype"):
        model.explain(target="cuda:sm_90", dtype="int8")  # type: ignore[call-overload]


# ---- images


class OnGpu(EmulatedDevice):
    torch_device = torch.device("cuda", 1)


@compiler
def test_images_of_the_wrong_kind(net: SmallNet, model: fluxshard.CompiledModel) -> None:
    image = torch.rand(1, 3, *SIZE)
    with model.session(EXACT) as session, torch.inference_mode():
        for bad, message in (
            (image.int(), r"image is \(1, 3, 32, 48\) torch.int32; expected \(1, C, H, W\) torch.float32"),
            (image[0], "expected"),
            (image.repeat(2, 1, 1, 1), "image has batch 2; a session runs one frame at a time"),
            (image.numpy().tolist(), "image is a list; expected a tensor"),
            (image.to("meta"), r"image is on meta; this model was compiled for cpu: pass image.cpu\(\)"),
        ):
            with pytest.raises(ShapeError, match=message):
                session.run(bad)
        assert_same(session.run(image), net(image))
        assert_same(session.run(image.half()), net(image.half().float()))
        assert_same(session.run(image.numpy()), net(image))


@compiler
def test_an_image_beside_the_gpu(model: fluxshard.CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = model.specialise(torch.zeros(1, 3, *SIZE)).program.engine
    monkeypatch.setattr(engine, "_device", OnGpu())
    with model.session() as session:
        expected = r"image is on cpu; this model was compiled for cuda:1: pass image.to\('cuda:1'\)"
        with pytest.raises(ShapeError, match=expected):
            session.run(torch.rand(1, 3, *SIZE))


# ---- kernels that are refused

Refused = Callable[[Callable[[Kernel], bool]], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Breaks the text of some kernels."""

    def install(broken: Callable[[Kernel], bool]) -> None:
        def render(kernel: Kernel, args_bytes: int) -> str:
            text = render_kernel(kernel, args_bytes)
            return (
                text.replace("static_assert(sizeof(Args)", "not C++; static_assert(sizeof(Args)")
                if broken(kernel)
                else text
            )

        monkeypatch.setattr(emulated, "render_kernel", render)

    return install


@compiler
@pytest.mark.parametrize(
    ("broken", "layer"),
    [
        (lambda kernel: isinstance(kernel, Gemm) and kernel.finish.channels == 16 and kernel.taps_y == 3, "deep"),
        (lambda kernel: isinstance(kernel, Rows) and kernel.op == "binary", "mul"),
    ],
)
def test_a_layer_whose_kernel_is_refused_runs_in_torch(
    net: SmallNet, refuse: Refused, broken: Callable[[Kernel], bool], layer: str
) -> None:
    refuse(broken)
    with pytest.warns(RuntimeWarning, match="was refused") as caught:
        model = fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=EMULATED, target="cuda")
    rows, refused = {row.name: row for row in model.explain().rows}, set()
    for message in (str(warning.message) for warning in caught):
        found = re.fullmatch(r"kernel (\w+) was refused, (.*) will run in torch: .*; source kept in (\S+)", message)
        assert found, message
        assert "not C++" in Path(found[3]).read_text() and found[1] in Path(found[3]).read_text()
        for name in found[2].split(", "):
            refused.add(name)
            assert rows[name].kernel == "torch" and found[1] in rows[name].note and found[3] in rows[name].note
    others = [row for row in rows.values() if row.mode == "sparse" and row.name not in refused]
    assert layer in refused and others and all(row.kernel.startswith("emulated:") and not row.note for row in others)
    assert str(model.explain()).count("was refused") == len(refused)
    for kind in ("blocks", "static"):
        with model.session(EXACT) as session:
            list(check_against_dense(net, session, frames(kind, SIZE, 4, 1)))


@compiler
def test_a_frames_own_kernel_that_is_refused_is_an_error(net: SmallNet, refuse: Refused) -> None:
    refuse(lambda kernel: isinstance(kernel, Small) and kernel.label == "image_take")
    with warnings.catch_warnings(), pytest.raises(CompileError, match=r"fs_image_take_\w+") as caught:
        warnings.simplefilter("error")
        fluxshard.compile(net, torch.zeros(1, 3, *SIZE), options=EMULATED, target="cuda")
    assert caught.value.kernel is not None and caught.value.kernel.startswith("fs_image_take_")
    assert caught.value.source_path is not None and caught.value.source_path.exists()


# ---- what goes wrong while frames run


@compiler
def test_a_stream_that_does_not_fit(model: fluxshard.CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try finds the session as it was."""

    def full(self: EmulatedDevice, n_bytes: int) -> Tensor:
        raise DeviceMemoryError(f"{n_bytes} bytes do not fit")

    image = torch.rand(1, 3, *SIZE)
    with model.session(EXACT) as session:
        with monkeypatch.context() as patch:
            patch.setattr(EmulatedDevice, "zeros", full)
            with pytest.raises(DeviceMemoryError, match="do not fit"):
                session.run(image)
            assert session.state_bytes == 0
        session.run(image)
        assert session.stats.keyframe and session.stats.frame == 0


@compiler
@pytest.mark.parametrize("where", ["_upload", "_run_in_torch", "refuse_capture"])
def test_a_failed_step_leaves_the_session_usable(
    net: SmallNet, model: fluxshard.CompiledModel, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, between and after its launches: the next frame is a keyframe, and right."""

    def stumble(*_: object, **__: object) -> None:
        raise KernelError("the driver stumbled")

    sequence = frames("blocks", SIZE, 6, 3)
    with model.session(EXACT) as session, torch.inference_mode():
        for _, (image, motion) in zip(range(3), sequence, strict=False):
            session.run(image, motion)
        image, motion = next(sequence)
        with monkeypatch.context() as patch:
            patch.setattr(CudaEngine if where.startswith("_") else EmulatedDevice, where, stumble)
            with pytest.raises(KernelError, match="stumbled"):
                session.run(image, motion)
        with pytest.raises(StateError, match="no statistics"):  # not those of the frame before
            session.stats
        for index, (image, motion) in enumerate(sequence):
            assert_same(session.run(image, motion), net(image))
            assert session.stats.keyframe == (index == 0)


# ---- nets that are somewhere else


class Odd(nn.Module):
    """A tied weight, a buffer and a tensor that is a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.two.weight = self.one.weight
        self.register_buffer("shift", torch.rand(1, 3, 1, 1))
        self.scale = torch.rand(1, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(image))) * self.scale + self.shift


def test_a_net_on_the_cpu_is_captured_as_it_is() -> None:
    net = Odd()
    assert api._on_cpu(net) is net
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    assert api._on_cpu(program) is program


@torch.no_grad()
def test_a_net_elsewhere_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Odd().eval()
    monkeypatch.setattr(api, "_is_elsewhere", lambda tensor: tensor is net.shift)
    kept = dict(net.named_parameters(remove_duplicate=False)) | dict(net.named_buffers())
    there = api._on_cpu(net)
    assert there is not net and there.two.weight is there.one.weight
    assert all(value is getattr_path(net, name) for name, value in kept.items())
    assert all(getattr_path(there, name) is not value for name, value in kept.items())
    assert there.scale is not net.scale and isinstance(there.one.weight, nn.Parameter)
    assert there.one.weight.requires_grad
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(there(image), net(image))
    options = fluxshard.CompileOptions(backend="reference")
    with fluxshard.compile(net, options=options).session() as session:
        assert_same(session.run(image), net(image))


def test_a_program_elsewhere_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Odd().eval()
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    monkeypatch.setattr(api, "_is_elsewhere", lambda tensor: True)
    there = api._on_cpu(program)
    assert not {id(tensor) for tensor in tensors_of(there)} & {id(tensor) for tensor in tensors_of(program.module())}
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(there(image), net(image))


def test_graphs_name_the_new_device() -> None:
    class Grid(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image + torch.arange(8, device="cpu").to(torch.device("cpu"), torch.float32)

    module = moved(torch.export.export(Grid(), (torch.zeros(1, 3, 8, 8),)), "meta")
    assert module(torch.zeros(1, 3, 8, 8, device="meta")).device.type == "meta"


def test_a_net_elsewhere_that_cannot_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Odd()
    net.file = open(__file__)  # noqa: SIM115
    monkeypatch.setattr(api, "_is_elsewhere", lambda tensor: True)
    with net.file, pytest.raises(TraceError, match=r"Odd is not on the CPU, .* \(TypeError: .*\); compile net.cpu\(\)"):
        fluxshard.compile(net, torch.zeros(1, 3, 8, 8))


def getattr_path(module: nn.Module, path: str) -> object:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value


def test_a_gpu_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a machine without one can show of the first call that uses a GPU."""

    class Loader:
        def __init__(self, *_: object) -> None: ...

    from fluxshard.codegen.cuda.device import loader as gpu

    monkeypatch.setattr(gpu, "GpuLoader", Loader)
    monkeypatch.setattr(backends, "_device_index", lambda target: 0)

    def busy(*_: object, **__: object) -> Tensor:
        raise RuntimeError(
            "CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with TORCH_USE_CUDA_DSA"
        )

    plan = fluxshard.compile(
        nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8), options=fluxshard.CompileOptions(backend="reference")
    ).plan
    monkeypatch.setattr(torch, "zeros", busy)
    expected = r"target 'cuda' cannot be used \(CUDA error: all CUDA-capable devices are busy or unavailable\): check"
    with pytest.raises(ToolchainError, match=expected):
        backends.make_engine(plan, {}, fluxshard.CompileOptions(), "cuda")
