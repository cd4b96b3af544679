"""Targets of code generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fluxshard.errors import OptionError
from fluxshard.options import DType

CpuDType = Literal["float32", "bfloat16"]
PAIRS_FLAG = "-mavx512bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An instruction set of the CPU and the compiler for it.

    Attributes:
      isa: "avx512", "avx2" or "portable".
      vector_floats: float32 lanes of a vector register.
      registers: vector registers; they bound the tile of a convolution kernel.
      compiler: command of the C++ compiler: the environment variable CXX, or found on the path. Empty: none was looked
        for; programs are taken from the cache, whatever compiled them, and a compiler is looked for where one is not
        there.
      compiler_id: first line of its `--version`; part of the cache key. Without a compiler, the one whose programs are
        preferred; empty: none.
      flags: compiler flags.
      dtype: storage type of features and of the weights of matrix products; sums are float32.
    """

    isa: str
    vector_floats: int
    registers: int
    compiler: str
    compiler_id: str
    flags: tuple[str, ...]
    dtype: CpuDType = "float32"

    @property
    def itemsize(self) -> int:
        """Bytes of a stored number."""
        return 4 if self.dtype == "float32" else 2

    @property
    def multiplies_pairs(self) -> bool:
        """Whether pairs of bfloat16 numbers are multiplied at once (AVX512_BF16), which sums in an order of its own."""
        return PAIRS_FLAG in self.flags

    @property
    def instructions(self) -> str:
        """What is in use: results have the same bits where it is the same."""
        return f"{self.isa}_bf16" if self.multiplies_pairs else self.isa


def cpu_type(dtype: DType) -> CpuDType:
    """What generated C++ stores for a model of this type: float32 where it is not bfloat16."""
    return "bfloat16" if dtype == "bfloat16" else "float32"


# arch -> largest dynamic shared memory of a thread block, in bytes. Source: CUDA C++ Programming Guide, table of
# technical specifications per compute capability ("maximum amount of shared memory per thread block").
CUDA_ARCHES: dict[str, int] = {
    "sm_72": 96 << 10, "sm_75": 64 << 10, "sm_80": 163 << 10, "sm_86": 99 << 10, "sm_87": 163 << 10,
    "sm_89": 99 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10, "sm_110": 227 << 10, "sm_120": 99 << 10,
}  # fmt: skip

# arch -> multiprocessors of a usual device of it: Xavier, T4, A100, RTX 3080 Ti, Orin, RTX 4090, H100,
# B200, Thor, RTX 5090. Tiles follow from the architecture alone, so that code that was generated elsewhere fits.
_MULTIPROCESSORS = {
    "sm_72": 8, "sm_75": 40, "sm_80": 108, "sm_86": 80, "sm_87": 16, "sm_89": 128, "sm_90": 132, "sm_100": 148,
    "sm_110": 20, "sm_120": 170,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaTarget:
    """A GPU architecture and the storage type of features.

    Attributes:
      arch: key of `CUDA_ARCHES`.
      dtype: storage type of features and weights; accumulation is float32.

    Raises:
      OptionError: `arch` is not in `CUDA_ARCHES`.
    """

    arch: str
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        if self.arch not in CUDA_ARCHES:
            raise OptionError(f"arch (={self.arch!r}) must be one of {', '.join(CUDA_ARCHES)}")

    @classmethod
    def nearest(cls, major: int, minor: int, dtype: DType) -> CudaTarget:
        """The target for a device: its own architecture, or the latest earlier one of the same major version.

        Args:
          major: of the device's compute capability.
          minor: of the device's compute capability.
          dtype: storage type of features and weights.

        Raises:
          OptionError: no generated code runs on the device.
        """
        known = [int(arch[3:]) for arch in CUDA_ARCHES]
        able = [number for number in known if number // 10 == major and number % 10 <= minor]
        if not able:
            raise OptionError(
                f"the GPU has compute capability {major}.{minor}; kernels are generated for {', '.join(CUDA_ARCHES)}"
            )
        return cls(arch=f"sm_{max(able)}", dtype=dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of a stored number."""
        return 4 if self.dtype == "float32" else 2

    @property
    def lanes(self) -> int:
        """Stored numbers in 16 bytes, the widest access of a thread; rows are padded to a multiple of it."""
        return 16 // self.itemsize

    @property
    def shared_bytes(self) -> int:
        """Largest dynamic shared memory of a thread block, in bytes."""
        return CUDA_ARCHES[self.arch]

    @property
    def multiprocessors(self) -> int:
        """Of a usual device of the architecture."""
        return _MULTIPROCESSORS[self.arch]

    @property
    def math(self) -> Literal["m16n8k16", "m16n8k8", "ffma"]:
        """Instruction of matrix products: a tensor-core MMA shape, or scalar fused multiply-add."""
        number = int(self.arch[3:])
        if self.dtype == "float32" or number < 75:
            return "ffma"  # TF32 is off: float32 means float32
        if number >= 80:
            return "m16n8k16"
        return "m16n8k8" if self.dtype == "float16" else "ffma"

    @property
    def copies_async(self) -> bool:
        """True where `cp.async` can fill shared memory."""
        return int(self.arch[3:]) >= 80
