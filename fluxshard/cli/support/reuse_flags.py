"""What a command reuses: options from its flags, or from a threshold profile."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import DType, InputMode, Policy, ReuseOptions, Rfap
from fluxshard.runtime.threshold_profile import ThresholdProfile

TAU_INPUT, TAU = 0.02, 0.1  # of propagated reuse, where nothing else is said
STRIDE_PX = 32  # the largest of most networks, where the file does not say
_POLICY_FLAGS = ("tau_input", "tau", "rfap", "input", "remap")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseFlags:
    """The flags about reuse as given; None: not given. See the help of `fluxshard run`.

    Attributes:
      policy: what decides which work is done.
      profile: file of a calibrated threshold profile.
      canvas: place the image on a larger canvas.
      exact: reuse only what has not changed at all.
      tau_input, tau, rfap, input, remap: of propagated reuse; see `ReuseOptions`.
    """

    policy: Policy | None = None
    profile: Path | None = None
    canvas: bool | None = None
    exact: bool | None = None
    tau_input: float | None = None
    tau: float | None = None
    rfap: Rfap | None = None
    input: InputMode | None = None
    remap: bool | None = None

    def given(self) -> tuple[str, ...]:
        """Names of the flags that were given, as on the command line."""
        return tuple(_flag(field.name, self) for field in fields(self) if getattr(self, field.name) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReuse:
    """Options of reuse of a run.

    Attributes:
      options: of the session.
      threshold_profile: where the options come from; None: from flags and defaults.
      canvas: the image is placed on a larger canvas; a threshold profile says itself.
    """

    options: ReuseOptions
    threshold_profile: ThresholdProfile | None = None
    canvas: bool = False

    def canvas_px(self, loaded: LoadedModel) -> int:
        """Pixels by which the canvas is larger than the image, per axis; 0 without one.

        Raises:
          OptionError: a canvas is wanted, and the network takes images of one size only.
        """
        if self.threshold_profile is not None:
            wanted = self.threshold_profile.canvas_px
        elif loaded.saved is not None and not self.canvas:
            wanted = loaded.saved.options.canvas_px
        elif self.canvas:
            wanted = loaded.stride_px if loaded.stride_px > 1 else STRIDE_PX
        else:
            wanted = 0
        if not wanted or loaded.input_shape is None:
            return wanted
        height, width = loaded.input_shape
        source, instead = (
            ("--canvas", "leave it out")
            if self.threshold_profile is None
            else (f"the profile's canvas of {wanted} px", "calibrate without one")
        )
        raise OptionError(
            f"{source} needs a network that takes larger images, and this program was exported for {height}x{width} "
            f"only: {instead}, or give the nn.Module"
        )


def settle(flags: ReuseFlags) -> RunReuse:
    """Reads the threshold profile, or fills what was not given with defaults.

    Raises:
      OptionError: flags that do not go together, or a value that is not allowed.
      ProfileError: the threshold profile is missing or damaged.
    """
    if flags.profile is not None:
        clashing = [name for name in flags.given() if name != "--profile"]
        if clashing:
            raise OptionError(
                f"--profile sets what {', '.join(clashing)} would set: leave out {_it(clashing)}, or the profile"
            )
        threshold_profile = ThresholdProfile.load(flags.profile)
        return RunReuse(options=threshold_profile.reuse, threshold_profile=threshold_profile)
    if flags.exact:
        clashing = [name for name in flags.given() if name != "--exact"]
        if clashing:
            raise OptionError(f"--exact says what to reuse: leave out {', '.join(clashing)}, or --exact")
        return RunReuse(options=ReuseOptions.exact())
    policy = flags.policy or "planned"
    if policy == "planned":
        own = [name for name in flags.given() if name not in ("--policy", "--canvas", "--no-canvas")]
        if own:
            are = "are" if len(own) > 1 else "is"
            raise OptionError(
                f"{', '.join(own)} {are} for --policy propagated; planned reuse, the default, takes its thresholds "
                f"from --profile: add --policy propagated, or leave out {_it(own)}"
            )
        return RunReuse(options=ReuseOptions(policy="planned"), canvas=bool(flags.canvas))
    if flags.canvas:
        raise OptionError("--canvas is for --policy planned: leave it out")
    options = ReuseOptions(
        tau_input=TAU_INPUT if flags.tau_input is None else flags.tau_input,
        tau=TAU if flags.tau is None else flags.tau,
        rfap=flags.rfap or "compact",
        input=flags.input or "assembled",
        remap=flags.remap is not False,
    )
    return RunReuse(options=options)


def with_saved_profile(flags: ReuseFlags, reuse: RunReuse, loaded: LoadedModel) -> RunReuse:
    """What the model was saved with, where it is a saved model with a threshold profile and no flag says otherwise.

    Raises:
      ProfileError: the file's profile is damaged.
    """
    if loaded.saved is None or loaded.saved.profile is None or flags.given():
        return reuse
    profile = ThresholdProfile.of_plain(loaded.saved.profile, loaded.saved.path)
    return RunReuse(options=profile.reuse, threshold_profile=profile)


def describe(
    flags: ReuseFlags,
    options: ReuseOptions,
    canvas_px: int,
    dtype: DType,
    *,
    finds_objects: bool = True,
    is_saved: bool = False,
) -> str:
    """One line for people: the policy, where its thresholds come from, the canvas, and what all this promises.

    Args:
      flags: as given.
      options: of the session.
      canvas_px: how much larger than the image the canvas is, per axis.
      dtype: what features are stored as.
      finds_objects: the head is known; otherwise regions are where the outputs change.
      is_saved: the thresholds are those that the model was saved with.
    """
    source = "the saved model's profile" if is_saved else thresholds_of(flags)
    canvas = f", on a canvas of +{canvas_px} px" if canvas_px else ""
    return f"{options.policy} reuse, {source}{canvas}; {_promise(options, dtype, finds_objects)}"


def thresholds_of(flags: ReuseFlags) -> str:
    """Origin of the thresholds, in a few words."""
    if flags.profile is not None:
        return f"profile {flags.profile.name}"
    if flags.exact:
        return "no thresholds"
    return (
        "given thresholds" if any(getattr(flags, name) is not None for name in _POLICY_FLAGS) else "default thresholds"
    )


def _promise(options: ReuseOptions, dtype: DType, finds_objects: bool) -> str:
    measure = "(--compare dense measures what that costs)"
    if options.policy == "planned":
        planned = options.planned
        away = ""
        if planned.tau_background is not None:
            where = "away from objects" if finds_objects else "where the outputs do not react"
            away = f" ({planned.tau_background:g} {where})"
        return f"approximate: what differs from its cache by less than {planned.tau:g}{away} is reused {measure}"
    exact = options.tau_input == 0 and options.tau == 0 and options.rfap == "per_layer"
    if exact and options.input_mode == "fresh":
        return f"exact: equals the dense network up to rounding{'' if dtype == 'float32' else f' to {dtype}'}"
    tau = f"{options.tau:g}" if isinstance(options.tau, float | int) else "their layer's threshold"
    return f"approximate: pixels within {options.tau_input:g} and features within {tau} count as unchanged {measure}"


def _flag(name: str, flags: ReuseFlags) -> str:
    prefix = "no-" if getattr(flags, name) is False else ""
    return f"--{prefix}{name.replace('_', '-')}"


def _it(names: list[str]) -> str:
    return "them" if len(names) > 1 else "it"
