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
Execution = Literal["sparse", "dense"]
Isa = Literal["native", "avx512", "avx2", "portable"]

MOST_FRAMES = 250  # ages are kept in a byte
OBJECT, SMALL_OBJECT = 1, 2  # what a cell of a region holds


def _check(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} (={value!r}) must be one of {', '.join(map(repr, allowed))}")


def _check_number(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise OptionError(f"{name} (={value}) must be a finite number >= 0")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise OptionError(f"{name} (={value!r}) must be a whole number >= 0")


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
      canvas_px: the network runs on a canvas that is larger than the image by so many pixels per axis, and the image is
        placed on it so that the dominant motion becomes a multiple of every stride (the phase lock); best is the
        network's largest stride. Outputs are those of the canvas: `Session.origin` says where the image lies on it.
        0 runs the image itself.
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
        _check_count("canvas_px", self.canvas_px)
        if self.dtype != "float32" and self.backend in ("cpp", "reference"):
            raise OptionError(
                f"dtype (={self.dtype!r}) must be 'float32' on the backend {self.backend!r}; others are for CUDA"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelOptions:
    """How planned reuse tests the image for the features of one stride.

    Attributes:
      gain: factor on the thresholds of this level; None: 0.8 up to a stride of 8, 1.2 up to 16, otherwise 1.5.
      dilation: a recomputed shard takes its neighbours with it, so many times.
      shard_px: side of a shard, a multiple of 8; None: 8 up to a stride of 8, else 16, or the stride if that is more.
      low_pass_px: the images are compared as means over so many pixels a side, 1, 2, 4 or 8: what features of a large
        stride do not see costs nothing. None: a quarter of the stride.
    """

    gain: float | None = None
    dilation: int = 0
    shard_px: int | None = None
    low_pass_px: int | None = None

    def __post_init__(self) -> None:
        if self.gain is not None:
            _check_number("gain", self.gain)
        _check_count("dilation", self.dilation)
        if self.shard_px is not None:
            _check_count("shard_px", self.shard_px)
            if self.shard_px < 8 or self.shard_px % 8:
                raise OptionError(f"shard_px (={self.shard_px}) must be a multiple of 8")
        if self.low_pass_px is not None:
            _check("low_pass_px", self.low_pass_px, (1, 2, 4, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOptions:
    """When planned reuse recomputes a shard. Thresholds are shares of the pixels' range.

    The residual of a shard is the largest mean, over its 4x4-px blocks, of the difference between the frame and what
    the cached features stand for, at the displacement that these features get.

    Attributes:
      tau: a shard is recomputed where its residual is larger; with regions, near them.
      tau_background: the same away from regions (`Session.focus`); None, or as long as there are none, takes `tau`.
      tau_small: the same near small objects; None takes `tau`. Small objects are lost more easily, and cost little.
      tau_waiting: a shard whose residual is larger than this is recomputed when it is `wait_frames` old.
      wait_frames: how long a moderate change may wait; 0 never recomputes for it.
      refresh_frames: a shard is recomputed when its features are so many frames old; 0 never for that.
      hold_frames: for so many frames a region goes on after it was last given, moving along.
      margin_px: regions are taken larger by so much, rounded up to 8.
      small_px: task adapters call an object small whose box covers less than a square of this side.
      region_confidence: what task adapters call an object: detections that score higher are regions. Lower than where
        detections are shown: an object that is about to be found or lost needs the work most.
      levels: by stride in pixels, rounded up; strides left out take the defaults.
      pixel_range: the image's values that stand for black and white.
    """

    tau: float = 0.02
    tau_background: float | None = 0.3
    tau_small: float | None = 0.01
    tau_waiting: float = 0.06
    wait_frames: int = 6
    refresh_frames: int = 0
    hold_frames: int = 5
    margin_px: int = 8
    small_px: int = 100
    region_confidence: float = 0.1
    levels: Mapping[int, LevelOptions] = field(default_factory=dict)
    pixel_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("tau", "tau_waiting", "region_confidence"):
            _check_number(name, getattr(self, name))
        for name in ("tau_background", "tau_small"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name))
        for name in ("wait_frames", "refresh_frames", "hold_frames", "margin_px", "small_px"):
            _check_count(name, getattr(self, name))
        for name in ("wait_frames", "refresh_frames", "hold_frames"):
            if getattr(self, name) > MOST_FRAMES:
                raise OptionError(f"{name} (={getattr(self, name)}) must be at most {MOST_FRAMES}")
        low, high = self.pixel_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise OptionError(f"pixel_range (={self.pixel_range}) must be two finite numbers, the smaller first")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseOptions:
    """What a session reuses. Changing it needs no recompilation.

    Attributes:
      policy: "propagated" finds each layer's work from the values of the layer before (the paper's way); "planned"
        decides all work from the image before the network runs.
      rfap: the receptive-field check: "per_layer" is exact at zero thresholds, "compact" is the paper's one pass over
        the input motion (cheaper, not exact: docs/exactness.md), "off" disables it.
      remap: False keeps the cache in the coordinates of the last keyframe (the paper's "w/o remap" ablation).
      input: "assembled" feeds cached pixels outside the recompute set, as an offloading endpoint has to;
        "fresh" feeds the whole new frame. None takes "assembled" for propagated reuse and "fresh" for planned.
      tau_input: threshold on pixels, 0..1; a pixel that differs by more in any colour is recomputed.
      tau: threshold on features: one number for all layers, or a number per layer name (others 0).
      scene_cut: a frame whose recompute set covers more than this share of the pixels (planned: whose work is more than
        this share of the network's) is run whole, as a keyframe; 1.0 never does.
      execution: "dense" computes every layer whole, whatever was found to have changed (the paper's "w/o sparse"
        ablation: what would be sent stays the same); for policy "propagated".
      planned: thresholds of planned reuse.
      canvas_fill: value of the canvas around the image (`CompileOptions.canvas_px`).
      profile: path of a calibrated profile, whose options take the place of all others; None takes those given here.

    Raises:
      OptionError: a value that is not allowed.
    """

    policy: Policy = "propagated"
    rfap: Rfap = "compact"
    remap: bool = True
    input: InputMode | None = None
    tau_input: float = 0.0
    tau: float | Mapping[str, float] = 0.0
    scene_cut: float = 0.85
    execution: Execution = "sparse"
    planned: PlannedOptions = field(default_factory=PlannedOptions)
    canvas_fill: float = 114 / 255
    profile: Path | str | None = None

    def __post_init__(self) -> None:
        _check("policy", self.policy, ("propagated", "planned"))
        _check("rfap", self.rfap, ("compact", "per_layer", "off"))
        _check("input", self.input, (None, "assembled", "fresh"))
        _check("execution", self.execution, ("sparse", "dense"))
        if self.policy == "planned" and not self.remap:
            raise OptionError("remap (=False) is an ablation of policy 'propagated'; planned reuse always remaps")
        if self.policy == "planned" and self.execution == "dense":
            raise OptionError("execution (='dense') is an ablation of policy 'propagated'; planned reuse is sparse")
        if not (0.0 < self.scene_cut <= 1.0):
            raise OptionError(f"scene_cut (={self.scene_cut}) must be above 0 and at most 1")
        taus = {"tau_input": self.tau_input}
        taus |= (
            {f"tau[{name!r}]": value for name, value in self.tau.items()}
            if isinstance(self.tau, Mapping)
            else {"tau": self.tau}
        )
        for name, value in taus.items():
            _check_number(name, value)

    @property
    def input_mode(self) -> InputMode:
        """What `input` means for this policy."""
        return self.input or ("fresh" if self.policy == "planned" else "assembled")
