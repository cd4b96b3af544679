"""The driver: what reaches it and what its answers mean, through a stand-in and through the real bindings."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fluxshard.codegen.cuda.compile.cubin import Cubin
from fluxshard.codegen.cuda.compile.resources import Resources
from fluxshard.codegen.cuda.device.driver import CudaKernel, DeviceInfo, check, create_stream, device_of
from fluxshard.errors import (
    DeviceError,
    DeviceMemoryError,
    FluxShardError,
    KernelError,
    OptionError,
    RunTimeError,
    ToolchainError,
)

ROOT = Path(__file__).resolve().parents[2]
CUBIN = Cubin(b"\x7fELF", Path("/cache/fs_k-0/kernel.cubin"), Resources(registers=40, shared_bytes=512))


class Args(ctypes.Structure):
    _fields_ = [("pool", ctypes.c_void_p), ("n", ctypes.c_int32), ("width", ctypes.c_int32)]


class Driver:
    """Stands in for `cuda.bindings.driver`: writes down every call and answers in the same form."""

    def __init__(self, bindings: ModuleType, **fails: str) -> None:
        self.CUdevice_attribute = bindings.CUdevice_attribute
        self.CUfunction_attribute = bindings.CUfunction_attribute
        self.CUstream_flags = bindings.CUstream_flags
        self.CUlaunchConfig, self.CUlaunchAttribute = bindings.CUlaunchConfig, bindings.CUlaunchAttribute
        self.CUlaunchAttributeID = bindings.CUlaunchAttributeID
        self.calls: list[tuple[Any, ...]] = []
        self.launched: list[bytes] = []
        self._status = {name: getattr(bindings.CUresult, f"CUDA_ERROR_{status}") for name, status in fails.items()}
        self._success = bindings.CUresult.CUDA_SUCCESS
        self._values: dict[str, Callable[..., tuple[Any, ...]]] = {
            "cuInit": lambda flags: (),
            "cuDriverGetVersion": lambda: (12080,),
            "cuDeviceGetCount": lambda: (2,),
            "cuDeviceGet": lambda ordinal: (f"device {ordinal}",),
            "cuDeviceGetName": lambda length, device: (b"NVIDIA Stand-in\0    ",),
            "cuDeviceGetAttribute": lambda attribute, device: (int(attribute),),
            "cuDeviceTotalMem": lambda device: (8 << 30,),
            "cuModuleLoadData": lambda image: ("module",),
            "cuModuleGetFunction": lambda module, name: ("function",),
            "cuFuncSetAttribute": lambda function, attribute, value: (),
            "cuOccupancyMaxActiveBlocksPerMultiprocessor": lambda function, threads, shared: (3,),
            "cuModuleUnload": lambda module: (),
            "cuStreamCreate": lambda flags: (0xBEEF,),
            "cuLaunchKernel": self._launch,
            "cuLaunchKernelEx": self._launch_with,
        }

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if name not in self._values:
            raise AttributeError(name)

        def call(*args: Any) -> tuple[Any, ...]:
            self.calls.append((name, *args))
            values = self._values[name](*args)
            status = self._status.get(name, self._success)
            return (status, *(None for _ in values)) if status else (status, *values)

        return call

    def answer(self, name: str, *values: Any) -> None:
        self._values[name] = lambda *args: values

    def names(self) -> list[str]:
        return [name for name, *_ in self.calls]

    def _launch(self, *args: Any) -> tuple[Any, ...]:
        """Follows the addresses, as the driver does."""
        argument = ctypes.c_void_p.from_address(args[9]).value
        self.launched.append(ctypes.string_at(argument or 0, ctypes.sizeof(Args)))
        return ()

    def _launch_with(self, config: Any, function: str, address: int, extra: int) -> tuple[Any, ...]:
        (attribute,) = config.attrs
        overlaps = self.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        assert attribute.id == overlaps and attribute.value.programmaticStreamSerializationAllowed == 1
        assert (config.numAttrs, config.gridDimY, config.gridDimZ, config.blockDimY, config.blockDimZ) == (
            1,
            1,
            1,
            1,
            1,
        )
        shape = config.gridDimX, config.blockDimX, config.sharedMemBytes, int(config.hStream)
        self.calls[-1] = ("cuLaunchKernelEx", function, *shape, extra)
        argument = ctypes.c_void_p.from_address(address).value
        self.launched.append(ctypes.string_at(argument or 0, ctypes.sizeof(Args)))
        return ()


@pytest.fixture
def driver(cuda_driver: ModuleType) -> Driver:
    return Driver(cuda_driver)


def kernel(driver: Driver, shared_bytes: int = 1024) -> CudaKernel:
    return CudaKernel(CUBIN, "fs_k", 128, shared_bytes, driver)


# ---- loading and launching


def test_what_a_kernel_is_loaded_with(driver: Driver) -> None:
    made = kernel(driver)
    assert driver.calls == [
        ("cuModuleLoadData", b"\x7fELF"),
        ("cuModuleGetFunction", "module", b"fs_k"),
        ("cuOccupancyMaxActiveBlocksPerMultiprocessor", "function", 128, 1024),
    ]
    assert (made.name, made.threads, made.shared_bytes, made.blocks_per_sm) == ("fs_k", 128, 1024, 3)


@pytest.mark.parametrize(
    ("shared_bytes", "asks"), [((48 << 10) - 512, False), ((48 << 10) - 511, True), (99 << 10, True)]
)
def test_more_than_48_kib_of_shared_memory_is_asked_for(driver: Driver, shared_bytes: int, asks: bool) -> None:
    """Static shared memory, 512 bytes here, counts as well."""
    made = kernel(driver, shared_bytes)
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    call = ("cuFuncSetAttribute", "function", attribute, shared_bytes)
    assert (call in driver.calls) is asks
    assert driver.names()[-1] == "cuOccupancyMaxActiveBlocksPerMultiprocessor"  # which depends on it
    assert made.shared_bytes == shared_bytes


def test_a_launch_is_one_call_that_points_at_the_argument(driver: Driver) -> None:
    args = Args(0x1122334455667788, 7, 9)
    launch = kernel(driver).bind(5, args)
    driver.calls.clear()
    for stream in (0, 0xDEADBEEF):
        launch(stream)
    args.n = 8  # read anew
    launch(0)
    (address,) = {call[10] for call in driver.calls}
    shape = (5, 1, 1, 128, 1, 1, 1024)
    assert driver.calls == [("cuLaunchKernel", "function", *shape, stream, address, 0) for stream in (0, 0xDEADBEEF, 0)]
    before = bytes(Args(0x1122334455667788, 7, 9))
    assert driver.launched == [before, before, bytes(args)]


def test_a_launch_that_overlaps_says_so_every_time(driver: Driver) -> None:
    args = Args(0x1122334455667788, 7, 9)
    launch = kernel(driver).bind(5, args, overlaps=True)
    driver.calls.clear()
    launch(0)
    args.n = 8
    launch(0xDEADBEEF)
    shape = (5, 128, 1024)
    assert driver.calls == [("cuLaunchKernelEx", "function", *shape, stream, 0) for stream in (0, 0xDEADBEEF)]
    assert driver.launched[-1] == bytes(args) != driver.launched[0]


def test_arguments_are_bytes_ctypes_or_writable_buffers_and_are_kept_alive(driver: Driver) -> None:
    made, expected = kernel(driver), bytes(Args(3, 4, 5))
    launches = [
        made.bind(1, bytes(bytearray(expected))),
        made.bind(1, bytearray(expected)),
        made.bind(1, memoryview(bytearray(expected))),
        made.bind(1, (ctypes.c_uint8 * len(expected)).from_buffer_copy(expected)),
        made.bind(1, Args(3, 4, 5)),
    ]
    gc.collect()
    fillers = [bytearray(b"\xff" * len(expected)) for _ in range(1000)]
    for launch in launches:
        launch(0)
    made.launch(1, Args(3, 4, 5), 0)
    assert driver.launched == [expected] * 6 and len(fillers) == 1000
    for wrong in ("text", 3, None):
        with pytest.raises(TypeError):
            made.bind(1, wrong)


def test_a_kernel_is_unloaded_once_and_not_before_its_launches_are_gone(driver: Driver) -> None:
    made = kernel(driver)
    launch = made.bind(1, Args())
    del made
    gc.collect()
    assert "cuModuleUnload" not in driver.names()
    del launch
    gc.collect()
    assert driver.calls[-1] == ("cuModuleUnload", "module")
    made = kernel(driver)
    made.close()
    made.close()
    del made
    assert driver.names().count("cuModuleUnload") == 2


def test_what_was_loaded_is_unloaded_when_the_rest_fails(cuda_driver: ModuleType) -> None:
    driver = Driver(cuda_driver, cuModuleGetFunction="NOT_FOUND")
    with pytest.raises(ToolchainError, match=r"finding fs_k in /cache/.*NOT_FOUND \(500\): delete this cache entry"):
        kernel(driver)
    gc.collect()
    assert driver.names() == ["cuModuleLoadData", "cuModuleGetFunction", "cuModuleUnload"]


def test_a_block_that_does_not_fit(driver: Driver) -> None:
    driver.answer("cuOccupancyMaxActiveBlocksPerMultiprocessor", 0)
    with pytest.raises(KernelError, match=r"needs 128 threads and 512 \+ 1024 bytes.*40 registers.*use a smaller tile"):
        kernel(driver)


def test_a_stream_of_its_own_does_not_wait_for_the_default_one(driver: Driver) -> None:
    assert create_stream(driver) == 0xBEEF
    assert driver.calls == [("cuStreamCreate", driver.CUstream_flags.CU_STREAM_NON_BLOCKING)]


# ---- devices


def test_a_device(driver: Driver) -> None:
    assert device_of(1, driver) == DeviceInfo(
        name="NVIDIA Stand-in", capability=(75, 76), multiprocessors=16, memory_bytes=8 << 30, driver_version=(12, 8)
    )
    assert ("cuDeviceGet", 1) in driver.calls and driver.names()[0] == "cuInit"
    assert all(call[-1] == "device 1" for call in driver.calls if call[0] in ("cuDeviceGetName", "cuDeviceTotalMem"))
    for index in (2, -1):
        with pytest.raises(OptionError, match=f"GPU {index} does not exist: the driver has 2"):
            device_of(index, driver)


def test_a_machine_without_a_driver_says_so(cuda_driver: ModuleType) -> None:
    """The real bindings; this is what they do here, not what we believe they do."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("this machine has a driver")
    with pytest.raises(ToolchainError, match=r"no NVIDIA driver found \(.*install one.*target='cpu'"):
        device_of(0)
    with pytest.raises(ToolchainError, match="no NVIDIA driver found"):
        CudaKernel(CUBIN, "fs_k", 128, 0)


def test_bindings_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.bindings.driver", "cuda.bindings", "cuda"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolchainError, match=r"driver cannot be imported.*pip install 'fluxshard\[cuda\]'"):
        device_of(0)


# ---- what goes wrong

FAILURES: list[tuple[str, str, type[FluxShardError], str]] = [
    ("cuInit", "NO_DEVICE", ToolchainError, "starting the NVIDIA driver: .*100.*nvidia-smi"),
    ("cuInit", "SYSTEM_DRIVER_MISMATCH", ToolchainError, "restart after a driver update"),
    ("cuInit", "STUB_LIBRARY", ToolchainError, "libcuda comes with the driver"),
    ("cuModuleLoadData", "OUT_OF_MEMORY", DeviceMemoryError, "loading /cache/.*kernel.cubin: .*close other sessions"),
    ("cuModuleLoadData", "NO_BINARY_FOR_GPU", ToolchainError, "loading /cache/.*kernel.cubin: .*update the driver"),
    ("cuModuleLoadData", "INVALID_IMAGE", ToolchainError, "NVRTC that is not newer than it"),
    ("cuModuleLoadData", "INVALID_CONTEXT", KernelError, r"call torch.cuda.set_device there first"),
    ("cuModuleLoadData", "NOT_INITIALIZED", KernelError, r"call torch.cuda.set_device there first"),
    ("cuModuleLoadData", "STREAM_CAPTURE_UNSUPPORTED", KernelError, "load kernels before"),
    ("cuFuncSetAttribute", "INVALID_VALUE", KernelError, r"giving fs_k 128 threads and 512 \+ 101376 bytes"),
    ("cuLaunchKernel", "LAUNCH_FAILED", DeviceError, "launching fs_k with 5 blocks of 128 threads: .*719.*new one"),
    ("cuLaunchKernel", "ILLEGAL_ADDRESS", DeviceError, "compute-sanitizer"),
    ("cuLaunchKernel", "ECC_UNCORRECTABLE", DeviceError, "lost for this process: start a new one"),
    ("cuLaunchKernel", "UNKNOWN", DeviceError, "999"),
    ("cuLaunchKernel", "OUT_OF_MEMORY", DeviceMemoryError, "use a smaller image or dtype"),
    ("cuLaunchKernel", "LAUNCH_OUT_OF_RESOURCES", KernelError, "more threads or registers than this GPU"),
    (
        "cuLaunchKernel",
        "MULTICAST_RESOURCE_FULL",
        KernelError,
        r"CUDA_ERROR_MULTICAST_RESOURCE_FULL \(47\): report this",
    ),
]


@pytest.mark.parametrize(("function", "status", "kind", "seen"), FAILURES)
def test_a_status_becomes_an_error(
    function: str, status: str, kind: type[FluxShardError], seen: str, cuda_driver: ModuleType
) -> None:
    if not hasattr(cuda_driver.CUresult, f"CUDA_ERROR_{status}"):
        pytest.skip(f"these bindings have no CUDA_ERROR_{status}")
    driver = Driver(cuda_driver, **{function: status})
    with pytest.raises(kind, match=seen) as caught:
        device_of(0, driver)
        kernel(driver, 99 << 10).launch(5, Args(), 0)
    assert type(caught.value) is kind and f"CUDA_ERROR_{status}" in str(caught.value)
    assert driver.names()[-1] == function or function != "cuLaunchKernel"


def test_memory_that_ran_out_is_an_error_of_running_and_of_memory(cuda_driver: ModuleType) -> None:
    result = cuda_driver.CUresult
    with pytest.raises(MemoryError) as caught:
        check((result.CUDA_ERROR_OUT_OF_MEMORY, None), "allocating")
    assert isinstance(caught.value, RunTimeError)
    assert check((result.CUDA_SUCCESS,), "nothing") is None
    assert check((result.CUDA_SUCCESS, 3), "one") == 3
    assert check((result.CUDA_SUCCESS, 3, 4), "two") == (3, 4)


def test_every_status_that_has_an_error_of_its_own_exists(cuda_driver: ModuleType) -> None:
    from fluxshard.codegen.cuda.device.driver import _ERRORS

    names = {status.name.removeprefix("CUDA_ERROR_") for status in cuda_driver.CUresult}
    assert set(_ERRORS) <= names


# ---- the real bindings, over a library that stands in for the driver

SCRIPT = """
import ctypes, sys
from fluxshard.codegen.cuda.device.driver import CudaKernel, device_of
from fluxshard.errors import FluxShardError
from tests.cuda.test_driver import CUBIN, Args
try:
    print(device_of(1))
    kernel = CudaKernel(CUBIN, "fs_k", 128, 50000)
    print("blocks", kernel.blocks_per_sm, flush=True)
    args = Args(0x1122334455667788, 7, 9)
    launch = kernel.bind(77, args)
    launch(0xdeadbeef)
    args.n = 8
    launch(0)
    kernel.launch(2, bytes(args), 5)
    kernel.bind(3, args, overlaps=True)(6)
    kernel.close()
except FluxShardError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libcuda")
    source = Path(__file__).with_name("stub_driver.c")
    command = ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", source, "-o", folder / "libcuda.so.1", "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except OSError:
        pytest.skip("no gcc: apt install gcc")
    return folder


def through(stub: Path, **variables: str) -> list[str]:
    path = os.pathsep.join(filter(None, (str(stub), os.environ.get("LD_LIBRARY_PATH"))))
    environment = os.environ | {"LD_LIBRARY_PATH": path, "STUB_ARGS": str(ctypes.sizeof(Args))} | variables
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.splitlines()


@pytest.mark.requires_compiler
def test_what_reaches_the_driver_through_the_real_bindings(cuda_driver: ModuleType, stub: Path) -> None:
    launched = "launch 0xf0: {}x1x1 of 128x1x1, 50000 bytes, stream {}, extra 0, 8877665544332211{:02x}00000009000000"
    assert [line.rstrip() for line in through(stub)] == [
        "cuInit 0",
        "DeviceInfo(name='Stub GPU 1', capability=(1075, 1076), multiprocessors=1016, memory_bytes=8589934592, "
        "driver_version=(12, 8))",
        "load ELF",
        "function fs_k of 0x51",
        "attribute 8 of 0xf0: 50000",
        "occupancy of 0xf0: 128 threads, 50000 bytes",
        "blocks 3",
        launched.format(77, "0xdeadbeef", 7),
        launched.format(77, "(nil)", 8),
        launched.format(2, "0x5", 8),
        "launch 0xf0: 3x1x1 of 128x1x1, 50000 bytes, stream 0x6, extra 0, attribute 6 of 1, "
        "8877665544332211080000000900000" + "0",
        "unload 0x51",
    ]


@pytest.mark.requires_compiler
@pytest.mark.parametrize(
    ("fail", "kind", "doing", "status"),
    [
        ("cuInit:100", "ToolchainError", "starting the NVIDIA driver", "NO_DEVICE"),
        ("cuModuleLoadData:209", "ToolchainError", "loading /cache/fs_k-0/kernel.cubin", "NO_BINARY_FOR_GPU"),
        ("cuModuleLoadData:201", "KernelError", "loading /cache/fs_k-0/kernel.cubin", "INVALID_CONTEXT"),
        ("cuModuleLoadData:2", "DeviceMemoryError", "loading /cache/fs_k-0/kernel.cubin", "OUT_OF_MEMORY"),
        ("cuLaunchKernel:700", "DeviceError", "launching fs_k with 77 blocks of 128 threads", "ILLEGAL_ADDRESS"),
    ],
)
def test_statuses_through_the_real_bindings(
    fail: str, kind: str, doing: str, status: str, cuda_driver: ModuleType, stub: Path
) -> None:
    last = through(stub, STUB_FAIL=fail)[-1]
    assert last.startswith(f"{kind} {doing}: the driver says CUDA_ERROR_{status} ({fail.split(':')[1]}): ")
