"""Options of compilation and of sessions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Real
from pathlib import Path, PurePath
from typing import Any, Literal, TypeGuard, TypeVar, cast

from fluxshard.errors import OptionError

Backend = Literal["auto", "cpp", "cuda", "reference", "emulated"]
DType = Literal["float32", "float16", "bfloat16"]
AnyDType = Literal["auto", "float32", "float16", "bfloat16"]
Policy = Literal["propagated", "planned"]
Rfap = Literal["compact", "per_layer", "off"]
InputMode = Literal["assembled", "fresh"]
Execution = Literal["sparse", "dense"]
Isa = Literal["native", "avx512", "avx2", "portable"]

MOST_FRAMES = 250  # ages are stored in a byte
_NEAR_WHERE_DILATED = 4.0  # how much larger thresholds near objects may be where masks are dilated
OBJECT, SMALL_OBJECT = 1, 2  # values of cells of a region mask; 0 is background


Options = TypeVar("Options")


def short_repr(options: Any) -> str:
    """The `repr` of options: what is not as by default."""
    parts = []
    for one in fields(options):
        value = getattr(options, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.repr and value != default:
            parts.append(f"{one.name}={value!r}")
    return f"{type(options).__name__}({', '.join(parts)})"


def check_kind(name: str, value: object, *kinds: type[object], optional: bool = False) -> None:
    """Raises OptionError unless the value is of one of the classes, or None where that is allowed."""
    if not isinstance(value, kinds) and not (optional and value is None):
        allowed = " or ".join(f"{kind.__name__}(...)" for kind in kinds)
        raise OptionError(
            f"{name} (={value!r:.80}) is a {type(value).__name__}; give {allowed}{', or None' * optional}"
        )


def checked_options(given: object, kind: type[Options], name: str = "options") -> Options:
    """Options as given; None gives the defaults.

    Raises:
      OptionError: options of another kind.
    """
    if given is None:
        return kind()
    check_kind(name, given, kind, optional=True)
    return cast(Options, given)


def check_share(name: str, value: object) -> None:
    """Raises OptionError unless the value is a number from 0 to 1."""
    if not (is_number(value) and 0 <= value <= 1):
        raise OptionError(f"{name} (={value!r}) must be a number from 0 to 1")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number, and no truth value."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _check(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
        raise OptionError(f"{name} (={value!r}) must be one of {', '.join(map(repr, allowed))}")


def _check_number(name: str, value: object) -> None:
    if not (is_number(value) and value >= 0):
        raise OptionError(f"{name} (={value!r}) must be a finite number >= 0")


def check_flag(name: str, value: object) -> None:
    """Raises OptionError unless the value is True or False."""
    if not isinstance(value, bool):
        raise OptionError(f"{name} (={value!r}) must be True or False")


def check_path(name: str, value: object) -> None:
    """Raises OptionError unless the value is a path or None."""
    if value is not None and not isinstance(value, (str, PurePath)):
        raise OptionError(f"{name} (={value!r:.80}) must be a path, or None")


def stored_types(backend: Backend) -> tuple[AnyDType, ...]:
    """What features may be stored as on a backend."""
    if backend == "reference":
        return "auto", "float32"
    return ("auto", "float32", "bfloat16") if backend == "cpp" else ("auto", "float32", "float16", "bfloat16")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise OptionError(f"{name} (={value!r}) must be a whole number >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """Options of `fluxshard.compile`.

    Attributes:
      backend: "cpp" generates C++ for the CPU; "cuda" generates CUDA; "reference" runs the plan in eager torch on any
        machine, slowly; "emulated" runs the CUDA kernels on the CPU, very slowly, for tests and debugging. "auto" is
        "cuda" on a GPU; on the CPU it is "cpp" where there is a compiler, otherwise "reference", with a warning.
      dtype: storage type of features; accumulation is float32. "float16" needs the backend "cuda" or "emulated",
        "bfloat16" one of them or "cpp". "auto" is "float16" on a GPU, "bfloat16" on a processor that multiplies it
        (AVX512_BF16), and otherwise "float32".
      canvas_px: pixels per axis by which the canvas that the network runs on is larger than the image. The image is
        placed on it so that the dominant motion becomes a multiple of every stride (phase lock); best is the network's
        largest stride. Outputs are in coordinates of the canvas; `Session.origin` is the image's position on it. 0 runs
        the image itself.
      isa: vector instruction set of the C++ backend; "native" is the best of this machine.
      arch: GPU architecture to generate for, such as "sm_90"; "native" is that of the device (the emulator: sm_80).
      autotune: True measures several tiles for each convolution, once per device: minutes on a GPU, seconds on a
        processor. Results are kept in the kernel cache. False chooses tiles by rule.
      dump_dir: directory that receives the graph after every pass, as `NN_pass.txt`; None writes nothing.

    Raises:
      OptionError: a value that is not allowed.
    """

    backend: Backend = "auto"
    dtype: AnyDType = "float32"
    canvas_px: int = 0
    isa: Isa = "native"
    arch: str = "native"
    autotune: bool = False
    dump_dir: Path | str | None = None

    __repr__ = short_repr

    def __post_init__(self) -> None:
        _check("backend", self.backend, ("auto", "cpp", "cuda", "reference", "emulated"))
        _check("dtype", self.dtype, ("auto", "float32", "float16", "bfloat16"))
        _check("isa", self.isa, ("native", "avx512", "avx2", "portable"))
        _check_count("canvas_px", self.canvas_px)
        check_flag("autotune", self.autotune)
        check_path("dump_dir", self.dump_dir)
        if not isinstance(self.arch, str):
            raise OptionError(f"arch (={self.arch!r}) must be 'native' or such as 'sm_90'")
        if self.dtype not in stored_types(self.backend):
            raise OptionError(
                f"dtype (={self.dtype!r}) must be one of {', '.join(map(repr, stored_types(self.backend)))} on the "
                f"backend {self.backend!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelOptions:
    """Image test of planned reuse for the features of one stride.

    Attributes:
      gain: factor on the thresholds of this level; None: 0.8 up to stride 8, 1.2 up to stride 16, 1.5 above.
      dilation: how many times the recompute mask is dilated, by one shard each time; None: as `PlannedOptions` says.
      shard_px: side of a shard in pixels, a multiple of 8; None: 8 up to stride 8, otherwise the larger of 16 and the
        stride.
      low_pass_px: side in pixels, 1, 2, 4 or 8, of the blocks over which images are averaged before they are compared:
        detail that features of a large stride do not resolve causes no work. None: a quarter of the stride.

    Raises:
      OptionError: a value that is not allowed.
    """

    gain: float | None = None
    dilation: int | None = None
    shard_px: int | None = None
    low_pass_px: int | None = None

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.gain is not None:
            _check_number("gain", self.gain)
        if self.dilation is not None:
            _check_count("dilation", self.dilation)
        if self.shard_px is not None:
            _check_count("shard_px", self.shard_px)
            if self.shard_px < 8 or self.shard_px % 8:
                raise OptionError(f"shard_px (={self.shard_px}) must be a multiple of 8")
        if self.low_pass_px is not None:
            _check("low_pass_px", self.low_pass_px, (1, 2, 4, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOptions:
    """Conditions under which planned reuse recomputes a shard. Thresholds are fractions of the pixel range.

    The residual of a shard is the largest mean absolute difference, over blocks of 4x4 px, between the frame and the
    pixels that the cached features represent, at the displacement of these features and after the level's low-pass.

    Attributes:
      tau: largest residual that is reused; where there are regions, near them.
      tau_background: the same away from regions (`Session.focus`); None, and while there are no regions: `tau`.
      tau_small: the same near small objects, which are lost more easily and cost little; None: `tau`.
      tau_waiting: largest residual that is reused at any age: a shard above it is recomputed at age `wait_frames`.
      wait_frames: age in frames at which a shard above `tau_waiting` is recomputed; 0 disables it.
      refresh_frames: maximum feature age in frames; 0 disables refresh.
      tau_stray: largest residual that is reused at a displacement other than what the motion says, if that is less than
        what is allowed anyway; at least `tau`.
      hold_frames: frames for which a region persists after it was last given, moved along with its content.
      margin_px: margin around regions in pixels, rounded up to a multiple of 8.
      small_px: side in pixels of the square below whose area task adapters call an object's box small.
      region_confidence: score above which task adapters make a detection a region. It is lower than the score at which
        detections are shown: objects that are about to be found or lost need recomputation most.
      dilation: how many times the recompute masks of all levels are dilated, by one shard each time: features beside
        recomputed ones see some of what has changed. It costs most where much changes, and allows larger thresholds.
      levels: options by stride in pixels, rounded up; absent strides take the defaults.
      candidates: where the given motion does not fit what a level has cached, the level tries other displacements:
        zero, the dominant motion, those of neighbours. False believes the motion.
      pixel_range: values of black and white in the image.

    Raises:
      OptionError: a value that is not allowed.
    """

    tau: float = 0.02
    tau_background: float | None = 0.4
    tau_small: float | None = 0.01
    tau_waiting: float = 0.1
    wait_frames: int = 24
    tau_stray: float = 0.2
    refresh_frames: int = 0
    hold_frames: int = 2
    margin_px: int = 16
    small_px: int = 100
    region_confidence: float = 0.1
    dilation: int = 0
    levels: Mapping[int, LevelOptions] = field(default_factory=dict)
    candidates: bool = True
    pixel_range: tuple[float, float] = (0.0, 1.0)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        for name in ("tau", "tau_waiting", "tau_stray", "region_confidence"):
            _check_number(name, getattr(self, name))
        for name in ("tau_background", "tau_small"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name))
        for name in ("wait_frames", "refresh_frames", "hold_frames", "margin_px", "small_px", "dilation"):
            _check_count(name, getattr(self, name))
        for name in ("wait_frames", "refresh_frames", "hold_frames"):
            if getattr(self, name) > MOST_FRAMES:
                raise OptionError(f"{name} (={getattr(self, name)}) must be at most {MOST_FRAMES}")
        check_flag("candidates", self.candidates)
        given = self.pixel_range
        two = isinstance(given, (tuple, list)) and len(given) == 2 and all(map(is_number, given))
        if not two or not given[0] < given[1]:
            raise OptionError(f"pixel_range (={given!r:.80}) must be two finite numbers, the smaller first")
        if not isinstance(self.levels, Mapping):
            raise OptionError(
                f"levels (={self.levels!r:.80}) must be LevelOptions by stride, such as {{8: LevelOptions()}}"
            )
        for stride, level in self.levels.items():
            _check_count("a stride of levels", stride)
            check_kind(f"levels[{stride!r}]", level, LevelOptions)

    def scaled(self, scale: float) -> PlannedOptions:
        """Less work than these options for a factor above 1, more accuracy for one below 1; 1 changes nothing.

        Above 1, all thresholds are multiplied by it; those on the background are at most 1. Below 1, masks are dilated
        once more and the thresholds near objects are multiplied by four times the factor: at the same work, that loses
        less than smaller thresholds do, most of all in front of still cameras (docs/evaluation.md).

        Args:
          scale: above 0.

        Raises:
          OptionError: a factor that is not allowed.
        """
        if not (is_number(scale) and scale > 0):
            raise OptionError(f"scale (={scale!r}) must be a finite number above 0")
        if scale < 1:
            near = _NEAR_WHERE_DILATED * scale
            small = None if self.tau_small is None else self.tau_small * near
            return replace(
                self, tau=self.tau * near, tau_small=small, dilation=self.dilation + 1, levels=_dilated(self.levels)
            )
        return replace(
            self,
            tau=self.tau * scale,
            tau_background=None if self.tau_background is None else min(1.0, self.tau_background * scale),
            tau_small=None if self.tau_small is None else self.tau_small * scale,
            tau_waiting=min(1.0, self.tau_waiting * scale),
            tau_stray=min(1.0, self.tau_stray * scale),
        )


def _dilated(levels: Mapping[int, LevelOptions]) -> dict[int, LevelOptions]:
    return {
        stride: level if level.dilation is None else replace(level, dilation=level.dilation + 1)
        for stride, level in levels.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseOptions:
    """Options of a session; changing them needs no recompilation.

    Attributes:
      policy: "propagated" derives the work of a layer from the changed values of the layer before, as the paper does;
        "planned" decides all work from the image before the network runs.
      rfap: receptive field alignment check. "per_layer" is exact at zero thresholds; "compact" is the paper's one pass
        over the input motion, cheaper but not exact (docs/exactness.md); "off" disables it.
      remap: False keeps the cache in coordinates of the last keyframe (the paper's "w/o remap" ablation).
      input: pixels that the network reads outside the recompute set. "assembled": cached pixels, as on an offloading
        endpoint; "fresh": those of the new frame. None: "assembled" for policy "propagated", "fresh" for "planned".
      tau_input: threshold on pixels, in units of the image's values: a pixel is recomputed where any channel differs by
        more.
      tau: threshold on features: one number for all layers, or numbers by layer name, 0 for absent names.
      scene_cut: fraction above which a frame runs dense, as a keyframe: of pixels in the recompute set, or, for policy
        "planned", of the network's work, and half of it where most of the motion is unknown; 1.0 disables it.
      execution: "dense" evaluates every layer on all cells while the recompute set, and so what would be transmitted,
        stays the same (the paper's "w/o sparse" ablation); for policy "propagated".
      planned: options of planned reuse.
      canvas_fill: value of the canvas around the image (`CompileOptions.canvas_px`).
      profile: path of a calibrated threshold profile, whose options replace all others here; None uses these.

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

    __repr__ = short_repr

    def __post_init__(self) -> None:
        _check("policy", self.policy, ("propagated", "planned"))
        _check("rfap", self.rfap, ("compact", "per_layer", "off"))
        _check("input", self.input, (None, "assembled", "fresh"))
        _check("execution", self.execution, ("sparse", "dense"))
        check_flag("remap", self.remap)
        check_path("profile", self.profile)
        check_kind("planned", self.planned, PlannedOptions)
        if not is_number(self.canvas_fill):
            raise OptionError(f"canvas_fill (={self.canvas_fill!r}) must be a finite number")
        if self.policy == "planned" and not self.remap:
            raise OptionError("remap (=False) is an ablation of policy 'propagated'; planned reuse always remaps")
        if self.policy == "planned" and self.execution == "dense":
            raise OptionError("execution (='dense') is an ablation of policy 'propagated'; planned reuse is sparse")
        if not (is_number(self.scene_cut) and 0.0 < self.scene_cut <= 1.0):
            raise OptionError(f"scene_cut (={self.scene_cut!r}) must be above 0 and at most 1")
        taus = {"tau_input": self.tau_input}
        taus |= (
            {f"tau[{name!r}]": value for name, value in self.tau.items()}
            if isinstance(self.tau, Mapping)
            else {"tau": self.tau}
        )
        for name, value in taus.items():
            _check_number(name, value)

    @classmethod
    def exact(cls) -> ReuseOptions:
        """Reuse that equals the dense network up to rounding: nothing that changed counts as unchanged."""
        return cls(policy="propagated", rfap="per_layer", input="fresh")

    @property
    def input_mode(self) -> InputMode:
        """`input` with None resolved for this policy."""
        return self.input or ("fresh" if self.policy == "planned" else "assembled")
