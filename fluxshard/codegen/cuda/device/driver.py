"""The CUDA driver: devices, loaded kernels and launches, with raw addresses and handles of CUDA streams. No torch.

Everything here works in the context that is current on the calling thread, and makes none. Torch makes the primary
context of a device current on a thread that uses the device: do that first (`torch.cuda.set_device`, any tensor).
CUDA streams and addresses belong to the same context.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

from fluxshard.codegen.cuda.bindings import bindings
from fluxshard.codegen.cuda.compile.cubin import Cubin
from fluxshard.errors import DeviceError, DeviceMemoryError, KernelError, OptionError, ToolchainError

# shared memory beyond this, static and dynamic, has to be asked for. Source: CUDA C++ Programming Guide, shared memory
_SHARED_BYTES = 48 << 10

_NO_DEVICE = "install one that nvidia-smi lists (in a container: --gpus all), unset CUDA_VISIBLE_DEVICES"
_LOST = (
    "all that was on the GPU is lost for this process: start a new one; compute-sanitizer and CUDA_LAUNCH_BLOCKING=1 "
    "find the kernel"
)
_MISFIT = (
    "update the driver, or compile with an NVRTC that is not newer than it (a driver for CUDA 12 takes: pip uninstall "
    "nvidia-cuda-nvrtc, then pip install 'nvidia-cuda-nvrtc-cu12<13')"
)
_CONTEXT = "no context of this GPU is current on this thread: call torch.cuda.set_device there first"
# CUresult, without CUDA_ERROR_ -> what is raised, and what to do
_ERRORS: dict[str, tuple[type[Exception], str]] = {
    "NO_DEVICE": (ToolchainError, _NO_DEVICE),
    "DEVICE_UNAVAILABLE": (ToolchainError, "another process has this GPU for itself (compute mode): end it"),
    "STUB_LIBRARY": (ToolchainError, "take the toolkit's stubs off LD_LIBRARY_PATH: libcuda comes with the driver"),
    "SYSTEM_NOT_READY": (ToolchainError, "start the services that this system needs (nvidia-fabricmanager)"),
    "SYSTEM_DRIVER_MISMATCH": (ToolchainError, "libcuda and the kernel module differ: restart after a driver update"),
    "COMPAT_NOT_SUPPORTED_ON_DEVICE": (ToolchainError, "take the compat libcuda off LD_LIBRARY_PATH"),
    "OUT_OF_MEMORY": (DeviceMemoryError, "close other sessions, or use a smaller image or dtype"),
    "INVALID_IMAGE": (ToolchainError, _MISFIT),
    "NO_BINARY_FOR_GPU": (ToolchainError, _MISFIT),
    "UNSUPPORTED_PTX_VERSION": (ToolchainError, _MISFIT),
    "NOT_FOUND": (ToolchainError, "delete this cache entry"),
    "INVALID_VALUE": (KernelError, "a block needs more than this GPU has, or the grid is empty: report this"),
    "NOT_INITIALIZED": (KernelError, _CONTEXT),
    "INVALID_CONTEXT": (KernelError, _CONTEXT),
    "CONTEXT_IS_DESTROYED": (KernelError, _CONTEXT),
    "DEINITIALIZED": (KernelError, "the process is ending: run no frames in exit handlers"),
    "LAUNCH_OUT_OF_RESOURCES": (KernelError, "the block has more threads or registers than this GPU: report this"),
    **dict.fromkeys(
        ("STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED", "STREAM_CAPTURE_IMPLICIT"),
        (KernelError, "a CUDA stream is captured now: load kernels before, and let nothing else use the GPU meanwhile"),
    ),
    **dict.fromkeys(
        (
            "ECC_UNCORRECTABLE", "NVLINK_UNCORRECTABLE", "CONTAINED", "ILLEGAL_ADDRESS", "LAUNCH_TIMEOUT", "ASSERT",
            "HARDWARE_STACK_ERROR", "ILLEGAL_INSTRUCTION", "MISALIGNED_ADDRESS", "INVALID_ADDRESS_SPACE", "INVALID_PC",
            "LAUNCH_FAILED", "EXTERNAL_DEVICE", "MPS_CLIENT_TERMINATED", "UNKNOWN",
        ),
        (DeviceError, _LOST),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """A GPU.

    Attributes:
      name: as nvidia-smi has it.
      capability: compute capability, major and minor.
      multiprocessors: their number.
      memory_bytes: all of it, free or not.
      driver_version: latest CUDA version that the driver supports, major and minor.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    driver_version: tuple[int, int]


def device_of(index: int, driver: Any = None) -> DeviceInfo:
    """A GPU of this machine.

    Args:
      index: as torch counts: of the GPUs that `CUDA_VISIBLE_DEVICES` leaves.
      driver: what is called; None takes `cuda.bindings.driver`.

    Raises:
      ToolchainError: no cuda-bindings, no driver or no GPU.
      OptionError: there are GPUs, but none of this index.
    """
    driver = driver or bindings("driver")
    try:
        initialised = driver.cuInit(0)
    except RuntimeError as error:  # the library is looked for at the first call
        seen = " ".join(str(error).split())[:200]
        raise ToolchainError(
            f"no NVIDIA driver found ({seen}): install one, so that nvidia-smi lists the GPU (in a container: "
            "--gpus all), or use target='cpu'"
        ) from error
    check(initialised, "starting the NVIDIA driver")
    count = check(driver.cuDeviceGetCount(), "counting GPUs")
    if not 0 <= index < count:
        raise OptionError(f"GPU {index} does not exist: the driver has {count}, counted from 0")
    device = check(driver.cuDeviceGet(index), f"opening GPU {index}")
    wanted = driver.CUdevice_attribute
    major, minor, multiprocessors = (
        check(driver.cuDeviceGetAttribute(attribute, device), f"asking GPU {index}")
        for attribute in (
            wanted.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            wanted.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            wanted.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        )
    )
    name = check(driver.cuDeviceGetName(256, device), f"asking GPU {index}")
    version = check(driver.cuDriverGetVersion(), "asking the driver for its version")
    return DeviceInfo(
        name=name.split(b"\0")[0].decode(errors="replace").strip(),
        capability=(major, minor),
        multiprocessors=multiprocessors,
        memory_bytes=check(driver.cuDeviceTotalMem(device), f"asking GPU {index}"),
        driver_version=(version // 1000, version % 1000 // 10),
    )


def check(result: tuple[Any, ...], doing: str) -> Any:
    """What a function of `cuda.bindings.driver` returned, without its status.

    Args:
      result: status and values.
      doing: for the message: what was being done.

    Returns:
      the value; None where there is none, a tuple where there are several.

    Raises:
      ToolchainError: no GPU, or a driver that cannot load this code.
      DeviceMemoryError: the GPU has no memory left.
      DeviceError: the GPU stopped working for this process.
      KernelError: anything else.
    """
    status, *values = result
    if int(status):
        name = status.name.removeprefix("CUDA_ERROR_")
        kind, advice = _ERRORS.get(name, (KernelError, "report this, with the output of nvidia-smi"))
        raise kind(f"{doing}: the driver says {status.name} ({int(status)}): {advice}")
    return (values[0] if len(values) == 1 else tuple(values)) if values else None


def create_stream(driver: Any = None) -> int:
    """A CUDA stream that does not wait for the default one; it lives as long as the current context.

    Args:
      driver: what is called; None takes `cuda.bindings.driver`.

    Returns:
      its handle.

    Raises:
      KernelError: no context is current.
    """
    driver = driver or bindings("driver")
    flags = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
    return int(check(driver.cuStreamCreate(flags), "creating a CUDA stream"))


class CudaKernel:
    """A kernel, loaded into the current context. It is unloaded by `close`, or when nothing refers to it any more.

    A graph that was captured from its launches does not refer to it: keep it, or a `BoundLaunch`, as long as the graph.

    Args:
      cubin: what to load.
      name: of the entry function.
      threads: of a block.
      shared_bytes: dynamic shared memory of a block.
      driver: what is called; None takes `cuda.bindings.driver`.

    Attributes:
      name, threads, shared_bytes: as given.
      blocks_per_sm: how many blocks a multiprocessor holds at a time.

    Raises:
      ToolchainError: the driver cannot load this code, or it has no such kernel.
      DeviceMemoryError: it does not fit on the GPU.
      KernelError: a block needs more than this GPU has, or no context is current.
    """

    def __init__(self, cubin: Cubin, name: str, threads: int, shared_bytes: int, driver: Any = None) -> None:
        self.name = name
        self.threads = threads
        self.shared_bytes = shared_bytes
        self._driver = driver = driver or bindings("driver")
        try:
            loaded = driver.cuModuleLoadData(cubin.code)
        except RuntimeError as error:
            seen = " ".join(str(error).split())[:200]
            raise ToolchainError(f"no NVIDIA driver found ({seen}): install one, so that nvidia-smi works") from error
        module = check(loaded, f"loading {cubin.path}")
        self._unload = weakref.finalize(self, driver.cuModuleUnload, module)
        self._unload.atexit = False  # the driver may have gone before
        self._function = check(driver.cuModuleGetFunction(module, name.encode()), f"finding {name} in {cubin.path}")
        block = f"{threads} threads and {cubin.resources.shared_bytes} + {shared_bytes} bytes of shared memory"
        if cubin.resources.shared_bytes + shared_bytes > _SHARED_BYTES:
            attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            check(driver.cuFuncSetAttribute(self._function, attribute, shared_bytes), f"giving {name} {block}")
        self.blocks_per_sm = int(
            check(
                driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(self._function, threads, shared_bytes),
                f"asking how many blocks of {name} fit",
            )
        )
        if not self.blocks_per_sm:
            registers = cubin.resources.registers
            raise KernelError(
                f"a block of {name} needs {block}, with {registers} registers per thread; this GPU cannot run one: "
                "use a smaller tile"
            )

    def bind(self, blocks: int, args: Any, overlaps: bool = False) -> BoundLaunch:
        """A launch that can be repeated; making it is all the work that a launch can do beforehand.

        Args:
          blocks: of the grid, which has one dimension.
          args: the kernel's one argument, a struct by value: bytes, or a ctypes object or writable buffer that every
            launch reads anew, before it returns.
          overlaps: the kernel may begin before the one in front of it on its CUDA stream has ended, and waits for it
            itself (programmatic dependent launch; compute capability 9.0 and later).
        """
        return BoundLaunch(self, blocks, args, overlaps)

    def launch(self, blocks: int, args: Any, cuda_stream: int) -> None:
        """Launches once; see `bind` and `BoundLaunch`."""
        self.bind(blocks, args)(cuda_stream)

    def close(self) -> None:
        """Unloads the kernel, which must not be running; it can be called again."""
        self._unload()


class BoundLaunch:
    """A kernel with its grid and argument, which it keeps alive; call it with a CUDA stream's handle.

    A call allocates nothing on the device, waits for nothing and can be captured. What the kernel does wrong is an
    error of a later call.
    """

    __slots__ = ("_address", "_args", "_config", "_kept", "blocks", "kernel")

    def __init__(self, kernel: CudaKernel, blocks: int, args: Any, overlaps: bool = False) -> None:
        self.kernel = kernel
        self.blocks = blocks
        self._args = args
        buffer = args if isinstance(args, ctypes.Structure | ctypes.Array) else _viewed(args)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(buffer))
        self._address = ctypes.addressof(pointers)
        self._kept = (buffer, pointers)  # the driver follows addresses
        self._config = _overlapping(kernel, blocks) if overlaps else None

    def __call__(self, cuda_stream: int) -> None:
        """Launches on a CUDA stream.

        Raises:
          DeviceError: the GPU stopped working, in this launch or an earlier one.
          KernelError: the launch is refused.
        """
        kernel = self.kernel
        if self._config is not None:
            self._config.hStream = cuda_stream
            result = kernel._driver.cuLaunchKernelEx(self._config, kernel._function, self._address, 0)
        else:
            shape = (self.blocks, 1, 1, kernel.threads, 1, 1)
            result = kernel._driver.cuLaunchKernel(
                kernel._function, *shape, kernel.shared_bytes, cuda_stream, self._address, 0
            )
        if result[0]:
            check(result, f"launching {kernel.name} with {self.blocks} blocks of {kernel.threads} threads")


def _overlapping(kernel: CudaKernel, blocks: int) -> Any:
    """How a kernel is launched that may begin before the one in front of it has ended."""
    driver = kernel._driver
    attribute, config = driver.CUlaunchAttribute(), driver.CUlaunchConfig()
    attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
    attribute.value.programmaticStreamSerializationAllowed = 1
    config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
    config.blockDimX, config.blockDimY, config.blockDimZ = kernel.threads, 1, 1
    config.sharedMemBytes = kernel.shared_bytes
    config.attrs, config.numAttrs = [attribute], 1
    return config


def _viewed(args: Any) -> Any:
    """A ctypes object over the memory of bytes, which launches only read, or of a writable buffer."""
    if isinstance(args, bytes):
        address = ctypes.cast(ctypes.c_char_p(args), ctypes.c_void_p).value
        return (ctypes.c_char * len(args)).from_address(address or 0)
    view = memoryview(args)
    return (ctypes.c_char * view.nbytes).from_buffer(view.cast("B"))
