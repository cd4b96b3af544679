"""What users can choose: at compile time, and for each session."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fluxshard.errors import OptionError

Backend = Literal["auto", "cpp", "cuda", "reference", "emulated"]
DType = Literal["float32", "float16", "bfloat16"]
Policy = Literal["propagated", "planned"]
Rfap = Literal["compact", "per_layer", "off"]
InputMode = Literal["assembled", "fresh"]
Isa = Literal["native", "avx512", "avx2", "portable"]


def _check(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} (={value!r}) must be one of {', '.join(map(repr, allowed))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """How a model is compiled.

    Attributes:
      backend: "cpp" generates and compiles C++; "reference" runs the same plan in torch, slowly, anywhere; "cuda"
        generates and compiles CUDA; "emulated" runs the CUDA kernels on the processor, very slowly, for tests and
        debugging. "auto" takes what the target has: CUDA, or C++ where there is a compiler and otherwise the
        reference, with a warning.
      dtype: storage of features; sums are float32. "float16" and "bfloat16" are for CUDA.
      arch: GPU architecture to generate for, such as "sm_90"; "native" is that of the device (the emulator: sm_80).
      autotune: measure several tiles for each convolution on the GPU, once per device (minutes; the results are kept in
        the kernel cache); False takes them by rule.
      canvas_px: reserved for the phase-locked canvas of planned reuse; 0 means the frame itself.
      isa: vector instructions of the C++ backend; "native" is the best that this machine has.
      dump_dir: directory that receives the graph after every pass, as `NN_pass.txt`; None writes nothing.
    """

    backend: Backend = "auto"
    dtype: DType = "float32"
    canvas_px: int = 0
    isa: Isa = "native"
    arch: str = "native"
    autotune: bool = False
    dump_dir: Path | str | None = None

    def __post_init__(self) -> None:
        _check("backend", self.backend, ("auto", "cpp", "cuda", "reference", "emulated"))
        _check("dtype", self.dtype, ("float32", "float16", "bfloat16"))
        _check("isa", self.isa, ("native", "avx512", "avx2", "portable"))
        if self.canvas_px != 0:
            raise OptionError(
                f"canvas_px (={self.canvas_px}) must be 0: the canvas belongs to planned reuse, which is not there yet"
            )
        if self.dtype != "float32" and self.backend in ("cpp", "reference"):
            raise OptionError(
                f"dtype (={self.dtype!r}) must be 'float32' on the backend {self.backend!r}; others are for CUDA"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseOptions:
    """What a session reuses. Changing it needs no recompilation.

    Attributes:
      policy: "propagated" finds each layer's work from the values of the layer before (the paper's way).
      rfap: the receptive-field check: "per_layer" is exact at zero thresholds, "compact" is the paper's one pass over
        the input motion (cheaper, not exact: docs/exactness.md), "off" disables it.
      remap: False keeps the cache in the coordinates of the last keyframe (the paper's "w/o remap" ablation).
      input: "assembled" feeds cached pixels outside the recompute set, as an offloading endpoint has to;
        "fresh" feeds the whole new frame.
      tau_input: threshold on pixels, 0..1; a pixel that differs by more in any colour is recomputed.
      tau: threshold on features: one number for all layers, or a number per layer name (others 0).
      scene_cut: a frame whose recompute set covers more than this share of the pixels is run whole, as a keyframe;
        1.0 never does.
      profile: path of a calibrated profile; None uses the thresholds given here.

    Raises:
      OptionError: a value that is not allowed.
    """

    policy: Policy = "propagated"
    rfap: Rfap = "compact"
    remap: bool = True
    input: InputMode = "assembled"
    tau_input: float = 0.0
    tau: float | Mapping[str, float] = 0.0
    scene_cut: float = 0.85
    profile: Path | str | None = field(default=None)

    def __post_init__(self) -> None:
        _check("policy", self.policy, ("propagated", "planned"))
        _check("rfap", self.rfap, ("compact", "per_layer", "off"))
        _check("input", self.input, ("assembled", "fresh"))
        if self.policy == "planned":
            raise OptionError("policy 'planned' is not there yet; use 'propagated'")
        if self.profile is not None:
            raise OptionError("profiles are not there yet; give tau_input and tau")
        if not (0.0 < self.scene_cut <= 1.0):
            raise OptionError(f"scene_cut (={self.scene_cut}) must be above 0 and at most 1")
        taus = {"tau_input": self.tau_input}
        taus |= (
            {f"tau[{name!r}]": value for name, value in self.tau.items()}
            if isinstance(self.tau, Mapping)
            else {"tau": self.tau}
        )
        for name, value in taus.items():
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name} (={value}) must be a finite number >= 0")
