"""Named sets of methods for `fluxshard evaluate --methods`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fluxshard.errors import OptionError
from fluxshard.evaluate.methods.method import (
    Coach,
    Method,
    Reuse,
    Skip,
    SkipMoved,
    delta_cnn,
    dense_method,
    dense_on_canvas,
    motion_delta_cnn,
)
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.calibrating.options import CalibrationOptions
from fluxshard.pipeline.carrying.options import SkipOptions
from fluxshard.runtime.threshold_profile import ThresholdProfile

TAUS = (0.02, 0.05, 0.1, 0.2)
SIMILARITIES = (0.98, 0.95, 0.9, 0.8, 0.6, 0.4)
SCALES = (0.5, 0.75, 1.0, 1.5, 2.5)
CARRIED = SkipOptions(budget=0.1)
CARRIED_MORE = SkipOptions(budget=0.15)  # less work, at the price of clips whose objects leave their vectors
ALPHAS = (0.98, 0.95, 0.9, 0.85)
# pairs of thresholds (pixels, features): a frontier of propagated reuse without calibration
PROPAGATED = ((0.02, 0.1), (0.04, 0.2), (0.06, 0.4), (0.1, 0.8))


@dataclass(frozen=True, slots=True)
class NamedThresholdProfile:
    """A threshold profile under evaluation.

    Attributes:
      label: name of its method.
      threshold_profile: calibrated thresholds.
      clips: names of the clips to report it on, without those it was calibrated on; None for all.
    """

    label: str
    threshold_profile: ThresholdProfile
    clips: frozenset[str] | None = None


def methods_named(names: Sequence[str], canvas_px: int) -> list[Method]:
    """Methods of the named sets without duplicates; the dense network always comes first.

    Args:
      names: names of sets, see `set_names`.
      canvas_px: canvas of the methods that use one.

    Raises:
      OptionError: there is no set of that name.
    """
    sets = _sets(canvas_px)
    unknown = sorted(set(names) - set(sets))
    if unknown:
        raise OptionError(f"--methods: {', '.join(unknown)} is not known; there are {', '.join(sets)}")
    methods: dict[str, Method] = {"dense": dense_method()}
    for name in names:
        for method in sets[name]():
            methods.setdefault(method.name, method)
    return list(methods.values())


def method_of_threshold_profile(named: NamedThresholdProfile) -> Reuse:
    """Reuse with the thresholds of a profile."""
    reuse = named.threshold_profile.reuse
    return Reuse(
        name=named.label,
        family=reuse.policy,
        options=reuse,
        canvas_px=named.threshold_profile.canvas_px,
        regions=reuse.policy == "planned",
    )


def carried_along(base: Reuse) -> Reuse:
    """Planned reuse with results carried to frames that are not computed.

    Args:
      base: planned reuse that computes every frame.
    """
    return replace(base, name=f"{base.name}, carried", family=f"{base.family}, carried", skip=CARRIED)


def ablations(base: Reuse) -> list[Reuse]:
    """Ablations of propagated reuse: the rows of the paper's Table IV that need no network link.

    Source: section V-D.

    Args:
      base: propagated reuse with the compact RFAP check.
    """

    def variant(name: str, options: ReuseOptions) -> Reuse:
        return replace(base, name=f"{base.name} {name}", family="ablation", options=options)

    options = base.options
    return [
        variant("w/o RFAP", replace(options, rfap="off")),
        variant("RFAP per layer", replace(options, rfap="per_layer")),
        variant("w/o sparse", replace(options, execution="dense")),
        variant("w/o remap", replace(options, remap=False)),
    ]


def _sets(canvas_px: int) -> Mapping[str, Callable[[], list[Method]]]:
    """Constructors of all sets by name."""

    def scaled(
        family: str,
        *,
        motion: str = "blocks",
        canvas: int = 0,
        candidates: bool = True,
        skip: SkipOptions | None = None,
    ) -> list[Method]:
        return [
            Reuse(
                name=f"{family} x{scale:g}",
                family=family,
                options=ReuseOptions(
                    policy="planned", planned=replace(PlannedOptions().scaled(scale), candidates=candidates)
                ),
                canvas_px=canvas,
                motion=motion,
                regions=True,
                skip=skip or SkipOptions(),
            )
            for scale in SCALES
        ]

    def online(family: str, skip: SkipOptions | None = None) -> list[Method]:
        return [
            Reuse(
                name=f"{family} alpha={alpha:g}",
                family=family,
                options=ReuseOptions(policy="planned"),
                regions=True,
                skip=skip or SkipOptions(),
                calibration=CalibrationOptions(alpha=alpha),
            )
            for alpha in ALPHAS
        ]

    return {
        "dense": lambda: [dense_method()],
        "canvas": lambda: [dense_on_canvas(canvas_px)],
        "skip": lambda: [Skip(every=every) for every in (2, 3, 4)],
        "skip-moved": lambda: [SkipMoved(every=every) for every in (2, 3, 4, 6, 8)],
        "coach": lambda: [Coach(similarity=similarity) for similarity in SIMILARITIES],
        "deltacnn": lambda: [delta_cnn(tau) for tau in TAUS],
        "motion-deltacnn": lambda: [motion_delta_cnn(tau, canvas_px) for tau in TAUS],
        "propagated": lambda: [propagated(*taus) for taus in PROPAGATED],
        "ablations": lambda: [propagated(*PROPAGATED[0]), *ablations(propagated(*PROPAGATED[0]))],
        "planned": lambda: [*scaled("planned"), *online("planned online")],
        "planned-carried": lambda: [
            *scaled("planned, carried", skip=CARRIED),
            *online("planned online, carried", CARRIED),
        ],
        "planned-carried-more": lambda: [
            *scaled("planned, carried more", skip=CARRIED_MORE),
            *online("planned online, carried more", CARRIED_MORE),
        ],
        "planned-canvas": lambda: scaled("planned on canvas", canvas=canvas_px),
        "planned-believed": lambda: scaled("planned w/o candidates", candidates=False),
        "planned-still": lambda: scaled("planned w/o motion", motion="none"),
    }


def propagated(tau_input: float, tau: float) -> Reuse:
    """Propagated reuse with one threshold for pixels and one for all features."""
    return Reuse(
        name=f"propagated tau0={tau_input:g} tau={tau:g}",
        family="propagated",
        options=ReuseOptions(tau_input=tau_input, tau=tau),
    )


def set_names() -> tuple[str, ...]:
    """Names of all sets."""
    return tuple(_sets(32))
