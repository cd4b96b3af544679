"""What goes wrong on a GPU is said, and a session that can go on does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

import fluxshard
from fluxshard.errors import ShapeError, StateError, ToolchainError
from tests.cuda.small_net import SIZE, small_net
from tests.gpu.place import CUDA

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model() -> fluxshard.CompiledModel:
    return CUDA.compile(small_net(), SIZE, "float16")


def _python(script: str, timeout: int = 200) -> str:
    """What a script prints in a process of its own; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_an_image_on_the_host_is_refused(model: fluxshard.CompiledModel) -> None:
    with model.session() as session:
        with pytest.raises(ShapeError, match=r"image is on cpu.*image\.to\('cuda:0'\)"):
            session.run(torch.zeros(1, 3, *SIZE))
        assert session.run(torch.zeros(1, 3, *SIZE, device="cuda"))["map"].device == torch.device("cuda", 0)


def test_an_image_on_another_gpu_is_refused(model: fluxshard.CompiledModel) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    with model.session() as session, pytest.raises(ShapeError, match="image is on cuda:1"):
        session.run(torch.zeros(1, 3, *SIZE, device="cuda:1"))


def test_the_second_gpu_runs_frames_whatever_the_current_one_is() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    net = small_net()
    with torch.cuda.device(0):
        model = fluxshard.compile(net, torch.zeros(1, 3, *SIZE), target="cuda:1")
        image = torch.rand(1, 3, *SIZE)
        with model.session(fluxshard.ReuseOptions(rfap="per_layer")) as session, torch.inference_mode():
            for _ in range(4):
                out = session.run(image.to("cuda:1"))
                torch.testing.assert_close(out["map"].cpu(), net(image)["map"], atol=1e-3, rtol=1e-3)


def test_a_gpu_that_does_not_exist() -> None:
    with pytest.raises(ToolchainError, match="does not exist: torch sees"):
        fluxshard.compile(small_net(), torch.zeros(1, 3, *SIZE), target="cuda:99")


@pytest.mark.parametrize("warm", [0, 1, 4])
def test_a_caller_that_captures_is_told_so(model: fluxshard.CompiledModel, warm: int) -> None:
    image = torch.rand(1, 3, *SIZE, device="cuda")
    with model.session() as session:
        for _ in range(warm):
            session.run(image)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            image + 1
            with pytest.raises(StateError, match="is being captured"):
                session.run(image)
        expected = [session.run(image)["map"] for _ in range(4)]
        assert all(torch.equal(expected[0], out) for out in expected)


def test_another_thread_may_capture_and_allocate(model: fluxshard.CompiledModel) -> None:
    """A graph that the caller captures elsewhere stays whole while sessions start, capture and replay."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def capture() -> None:
        try:
            stream = torch.cuda.Stream()
            x = torch.ones(1 << 10, device="cuda")
            while not stop.is_set():
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.stream(stream):
                    graph.capture_begin(capture_error_mode="thread_local")
                    y = x * 2
                    graph.capture_end()
                    graph.replay()
                    assert float(y[0].cpu()) == 2
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=capture)
    thread.start()
    try:
        for seed in range(6):
            image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed)).to("cuda")
            with model.session() as session:
                for _ in range(5):
                    session.run(image)
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def test_a_stream_that_does_not_fit_is_said_and_smaller_images_go_on() -> None:
    out = _python(
        """
import torch
import fluxshard
net = torch.nn.Conv2d(3, 64, 3, padding=1).eval()
model = fluxshard.compile(net, torch.zeros(1, 3, 64, 64), target="cuda")
large, small = torch.zeros(1, 3, 2048, 2048, device="cuda"), torch.zeros(1, 3, 64, 64, device="cuda")
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(700e6 / total)
with model.session() as session:
    for image in (large, small, small, small, large):
        try:
            print(tuple(session.run(image).shape))
        except fluxshard.errors.DeviceMemoryError as error:
            print("refused:", error)
torch.cuda.synchronize()
"""
    ).splitlines()
    assert [line.startswith("refused: ") for line in out] == [True, False, False, False, True], out
    assert "MiB do not fit on cuda:0" in out[0] and "use a smaller image or dtype" in out[0]


def test_results_that_do_not_fit_leave_a_session_that_goes_on() -> None:
    """Memory runs out in the middle of a session: the next frame is whole and right."""
    out = _python(
        """
import torch
import fluxshard
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 1)).eval()
model = fluxshard.compile(net, torch.zeros(1, 3, 512, 512), target="cuda")
image = torch.rand(1, 3, 512, 512)
with model.session(fluxshard.ReuseOptions(rfap="per_layer")) as session, torch.no_grad():
    for _ in range(4):
        session.run(image.cuda())
    device = image.cuda()
    kept, refused = [], 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved() + 100e6) / torch.cuda.get_device_properties(0).total_memory)
    for _ in range(40):
        try:
            kept.append(session.run(device))
        except (torch.cuda.OutOfMemoryError, fluxshard.errors.DeviceMemoryError):
            refused += 1
            kept.clear()
    torch.testing.assert_close(session.run(device).cpu(), net(image), atol=1e-3, rtol=1e-3)
    print(refused)
"""
    )
    assert int(out) > 0


def test_a_lost_device_is_said() -> None:
    """An illegal address in a process of its own; other processes go on, but not those that share a server (MPS)."""
    if Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")).exists():
        pytest.skip("CUDA MPS runs here: an illegal address would end other processes' work")
    out = _python(
        """
import torch
import fluxshard
net = torch.nn.Conv2d(3, 8, 3).eval()
model = fluxshard.compile(net, torch.zeros(1, 3, 64, 64), target="cuda")
image = torch.zeros(1, 3, 64, 64, device="cuda")
session = model.session()
session.run(image)
engine = model.specialise(image).program.engine
launch = engine._program.bind(
    planned=False, rfap="compact", remap=True, takes_image=False, state=1 << 20, input=1 << 20, constants=1 << 20
)[0]
launch(torch.cuda.current_stream().cuda_stream)
seen = []
for wait in (torch.cuda.synchronize, lambda: launch(torch.cuda.current_stream().cuda_stream)):
    try:
        wait()
    except Exception as error:
        seen.append(type(error).__name__)
print(seen[-1])
import os, sys
sys.stdout.flush()
os._exit(0)
"""
    )
    assert out.strip() == "DeviceError"


def test_a_kernel_that_needs_too_much_is_refused() -> None:
    from fluxshard.codegen.cuda.compile.cubin import get_or_build_cubin
    from fluxshard.codegen.cuda.device.driver import CudaKernel, device_of
    from fluxshard.errors import KernelError

    torch.zeros(1, device="cuda")
    major, minor = device_of(0).capability
    text = 'extern "C" __global__ void k(const int n) { extern __shared__ int s[]; s[threadIdx.x] = n; }'
    cubin = get_or_build_cubin("k", text, {}, f"sm_{major}{minor}")
    with pytest.raises(KernelError):
        CudaKernel(cubin, "k", 128, 4 << 20)


def test_nn_modules_on_the_gpu_are_compiled(model: fluxshard.CompiledModel) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).eval().cuda()
    made = fluxshard.compile(net, torch.zeros(1, 3, *SIZE, device="cuda"), target="cuda")
    image = torch.rand(1, 3, *SIZE, device="cuda")
    with made.session() as session, torch.no_grad():
        torch.testing.assert_close(session.run(image), net(image), atol=1e-3, rtol=1e-3)
