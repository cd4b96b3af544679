"""What code is generated for, and the shapes that a convolution kernel may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fluxshard.errors import OptionError
from fluxshard.options import DType


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A processor and the compiler for it.

    Attributes:
      isa: "avx512", "avx2" or "portable".
      vector_floats: float32 lanes of a vector.
      registers: vector registers, which bound the tile of a convolution kernel.
      compiler: command, found or from the environment variable CXX.
      compiler_id: first line that the compiler prints of its version; part of the cache key.
      flags: what it is called with.
    """

    isa: str
    vector_floats: int
    registers: int
    compiler: str
    compiler_id: str
    flags: tuple[str, ...]


# arch -> dynamic shared memory that one block may ask for, in bytes. Source: CUDA C++ Programming Guide, table of
# technical specifications per compute capability ("maximum amount of shared memory per thread block").
CUDA_ARCHES: dict[str, int] = {
    "sm_72": 96 << 10, "sm_75": 64 << 10, "sm_80": 163 << 10, "sm_86": 99 << 10, "sm_87": 163 << 10,
    "sm_89": 99 << 10, "sm_90": 227 << 10,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaTarget:
    """A GPU architecture, and what features are stored as.

    Attributes:
      arch: key of `CUDA_ARCHES`.
      dtype: storage of features and weights; sums are float32.

    Raises:
      OptionError: an architecture that kernels are not generated for.
    """

    arch: str
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        if self.arch not in CUDA_ARCHES:
            raise OptionError(f"arch (={self.arch!r}) must be one of {', '.join(CUDA_ARCHES)}")

    @classmethod
    def nearest(cls, major: int, minor: int, dtype: DType) -> CudaTarget:
        """The target for a device of this compute capability: its own, or the latest before it of the same major.

        Raises:
          OptionError: no code that we generate runs on it.
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
        """Bytes of one stored number."""
        return 4 if self.dtype == "float32" else 2

    @property
    def lanes(self) -> int:
        """Stored numbers in 16 bytes: what one instruction copies, and what rows are padded to."""
        return 16 // self.itemsize

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory that one block may ask for."""
        return CUDA_ARCHES[self.arch]

    @property
    def math(self) -> Literal["m16n8k16", "m16n8k8", "ffma"]:
        """How products are summed: a tensor-core instruction, or one multiply-add at a time."""
        number = int(self.arch[3:])
        if self.dtype == "float32" or number < 75:
            return "ffma"  # TF32 is off: float32 means float32
        if number >= 80:
            return "m16n8k16"
        return "m16n8k8" if self.dtype == "float16" else "ffma"

    @property
    def copies_async(self) -> bool:
        """Shared memory can be filled by cp.async."""
        return int(self.arch[3:]) >= 80
