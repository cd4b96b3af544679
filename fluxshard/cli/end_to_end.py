"""`fluxshard evaluate end-to-end`: edge and cloud over recorded links, against every other way to answer a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fluxshard.cli.support.extras import needs_extra
from fluxshard.cli.support.stopping import undone_on_sigterm

if TYPE_CHECKING:
    from fluxshard.evaluate.data.clips import Clip

# heavy imports are inside: this module is imported by `fluxshard --help`

TIERS = "low,medium,high,uplink"
REPLAYED, OVER_LINK = "With --replay", "Without --replay"


def end_to_end(
    data: Annotated[
        list[Path],
        typer.Option(help="Videos, directories of them, or a DAVIS layout; may be given again.", show_default=False),
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model", "-m", help="Weights for instance segmentation or poses: Ultralytics .pt.", show_default=False
        ),
    ],
    traces: Annotated[
        Path,
        typer.Option(help="Directory of link traces: sigcomm21_lumos5g and sigcomm21_uplink.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Directory for results; what it holds already is not made again.", show_default=False)
    ],
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Simulate time, from measured work, bytes and results, with the paper's devices. Without, a server "
            "and an edge run as processes over an emulated link, and everything is measured.",
        ),
    ] = False,
    clips: Annotated[
        str | None,
        typer.Option(help="Names of clips to take, with commas between; all unless given.", show_default=False),
    ] = None,
    tiers: Annotated[str, typer.Option(help="Kinds of links, with commas between.")] = TIERS,
    seconds: Annotated[
        float | None,
        typer.Option(help="Of every link.", show_default="40 replayed; 10 that repeat over an emulated link"),
    ] = None,
    links: Annotated[int, typer.Option(min=1, help="Link traces per tier.", rich_help_panel=REPLAYED)] = 20,
    edges: Annotated[
        str | None,
        typer.Option(
            help="Numbers of edges that share an uplink, with commas between. Over an emulated link they are processes "
            "of this machine, at the greatest slowdown.",
            show_default="1,2,3,8 replayed; none over an emulated link",
        ),
    ] = None,
    edges_tiers: Annotated[str, typer.Option(help="Kinds of links that are shared.")] = "medium",
    oracles: Annotated[
        int,
        typer.Option(min=0, help="Links per tier for which the best dispatch is found too.", rich_help_panel=REPLAYED),
    ] = 20,
    ablations: Annotated[
        bool,
        typer.Option(
            "--ablations",
            help="With those of the paper's Table IV that need results of their own: four more.",
            rich_help_panel=REPLAYED,
        ),
    ] = False,
    calibrate_on: Annotated[
        list[Path] | None,
        typer.Option(
            help="With the paper's Table V: videos to calibrate its budgets on, none of those of --data; may be given "
            "again.",
            show_default="no such table",
            rich_help_panel=REPLAYED,
        ),
    ] = None,
    calibrate_frames: Annotated[
        int, typer.Option(min=5, help="Of each video that is calibrated on.", rich_help_panel=REPLAYED)
    ] = 20,
    extremes: Annotated[
        bool,
        typer.Option(
            "--extremes",
            help="With tables of a still picture and of a cut, made of the first two clips.",
            rich_help_panel=REPLAYED,
        ),
    ] = False,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="With what methods take of memory, on this machine.", rich_help_panel=REPLAYED),
    ] = False,
    pre_ms: Annotated[
        float, typer.Option(help="Of the edge before a frame is placed.", rich_help_panel=REPLAYED)
    ] = 8.0,
    deadline_ms: Annotated[float, typer.Option(help="Of the answers at any time.", rich_help_panel=REPLAYED)] = 10.0,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names such as offload-h-264, with commas between.", show_default="all", rich_help_panel=OVER_LINK
        ),
    ] = None,
    slowdown: Annotated[
        str,
        typer.Option(help="Factors by which the edge is slower than this machine.", rich_help_panel=OVER_LINK),
    ] = "16,1",
    frames: Annotated[
        int,
        typer.Option(min=1, help="That are answered per method and kind of link, at least.", rich_help_panel=OVER_LINK),
    ] = 200,
    warm: Annotated[
        float, typer.Option(help="Seconds of every stream before frames are counted.", rich_help_panel=OVER_LINK)
    ] = 4.0,
    link: Annotated[
        Literal["auto", "packets", "shaper"],
        typer.Option(
            help="Packets between network namespaces, which need root; or a shaper, which TCP does not see.",
            rich_help_panel=OVER_LINK,
        ),
    ] = "auto",
    queue_kb: Annotated[
        float | None,
        typer.Option(
            help="That may wait at the link.",
            show_default="a round trip at the highest rate, at least 64 KiB",
            rich_help_panel=OVER_LINK,
        ),
    ] = None,
    congestion_control: Annotated[
        str | None,
        typer.Option(help="Of TCP over the link.", show_default="the kernel's", rich_help_panel=OVER_LINK),
    ] = None,
    initcwnd: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Segments that a connection begins with.",
            show_default="the kernel's",
            rich_help_panel=OVER_LINK,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Of planned reuse's thresholds; 1.25 for segmentation, 0.75 for poses.", show_default=False),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(help="Of DeltaCNN and MotionDeltaCNN; 0.05 and 0.02 for poses.", show_default=False),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Long side in px, or HEIGHTxWIDTH; 640 unless given.", show_default=False)
    ] = None,
    task: Annotated[Literal["auto", "segment", "pose"], typer.Option(help="What the outputs mean.")] = "auto",
    backend: Annotated[Literal["auto", "cpp", "reference"], typer.Option(help="What executes the model.")] = "auto",
    measure: Annotated[
        Literal["jaccard", "mean_jaccard", "miou", "oks", "f1"] | None,
        typer.Option(
            help="Accuracy; J, averaged over confidences, where clips have annotations, else OKS or mIoU against the "
            "dense network.",
            show_default=False,
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=2, help="Use so many frames of each clip.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per processor unless given.", show_default=False)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """Compares FluxShard with every other way to answer a video over a link; writes report.html, report.md and figures.

    With --replay, time is simulated. Without, it is measured: the report is in the folder over_link then. A run that
    was stopped goes on where it was.
    """
    import os
    from dataclasses import replace

    from rich.console import Console

    from fluxshard.cli.support.progress import StepProgress
    from fluxshard.evaluate.data.clips import find_clips
    from fluxshard.evaluate.end_to_end.settings import SETTINGS
    from fluxshard.evaluate.end_to_end.workload import workload_of
    from fluxshard.evaluate.offload.link_trace import tiers as tiers_at
    from fluxshard.evaluate.traces.workers import Setup
    from fluxshard.models.loading.load import load

    seconds = (40.0 if replay else 10.0) if seconds is None else seconds
    _check_finite(above_0={"--seconds": seconds, "--deadline-ms": deadline_ms}, from_0={"--pre-ms": pre_ms})
    found_tiers = tiers_at(traces)
    chosen, shared = (
        _known(flag, text, found_tiers) for flag, text in (("--tiers", tiers), ("--edges-tiers", edges_tiers))
    )
    workload = workload_of(load(model, task).task)
    settings = SETTINGS[workload.name]
    settings = replace(settings, scale=scale or settings.scale, tau=tau or settings.tau)
    setup = Setup(weights=model, task=task, size=size, backend=backend, max_frames=max_frames, encoded=True)
    taken = _chosen(clips, find_clips(data))
    with StepProgress(Console(stderr=True, highlight=False)) as progress:
        if replay:
            from fluxshard.evaluate.end_to_end.evaluation import EndToEnd, run_end_to_end
            from fluxshard.evaluate.end_to_end.replays import ReplayOptions
            from fluxshard.evaluate.end_to_end.sensitivity.calibrated import CalibratedOn
            from fluxshard.evaluate.offload.trials import spread

            request = EndToEnd(
                clips=taken,
                setup=setup,
                settings=settings,
                links={tier: spread(found_tiers[tier], links) for tier in chosen},
                options=ReplayOptions(
                    workload=workload, seconds=seconds, pre_ms=pre_ms, similarity=settings.similarity,
                    optimum_links=oracles, edges=_counts("1,2,3,8" if edges is None else edges),
                    together_tiers=tuple(tier for tier in shared if tier in chosen), ablated=ablations,
                ),
                out=out,
                measure=measure,
                deadline_ms=deadline_ms,
                calibrated_on=CalibratedOn(clips=tuple(find_clips(calibrate_on)), max_frames=calibrate_frames)
                if calibrate_on
                else None,
                extremes=extremes,
                memory=memory,
                workers=workers or os.cpu_count(),
                command=_command(),
            )  # fmt: skip
            run_end_to_end(request, on_frames=progress.frames, tell=progress.step)
            report = out
        else:
            with needs_extra("cloud"):
                from fluxshard.evaluate.end_to_end.live.evaluation import LiveEvaluation, run_live, typical
                from fluxshard.evaluate.end_to_end.live.methods import live_methods
                from fluxshard.evaluate.end_to_end.live.options import LiveOptions
                from fluxshard.evaluate.end_to_end.live.runs import FOLDER

            live = LiveEvaluation(
                clips=taken,
                setup=setup,
                settings=settings,
                workload=workload,
                links={tier: typical(found_tiers[tier], round(seconds)) for tier in chosen},
                options=LiveOptions(
                    methods=live_methods(None if methods is None else _words(methods)),
                    slowdowns=_factors(slowdown), frames=frames, seconds=round(seconds), warm_s=warm, link=link,
                    queue_bytes=None if queue_kb is None else round(1e3 * queue_kb),
                    congestion_control=congestion_control, initcwnd=initcwnd,
                    edges=() if edges is None else _counts(edges), shared_tiers=shared,
                ),
                out=out,
                measure=measure,
                command=_command(),
            )  # fmt: skip
            with undone_on_sigterm():
                run_live(live, on_frames=progress.frames, tell=progress.step)
            report = out / FOLDER
    print(f"{report / 'report.html'}: {len(taken)} clips, {workload.name}; the same as text in {report / 'report.md'}")


def _check_finite(*, above_0: Mapping[str, float], from_0: Mapping[str, float]) -> None:
    """Raises OptionError unless these flags have numbers that are allowed."""
    import math

    from fluxshard.errors import OptionError

    for name, value in above_0.items():
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{name} (={value:g}) must be a finite number above 0")
    for name, value in from_0.items():
        if not (math.isfinite(value) and value >= 0):
            raise OptionError(f"{name} (={value:g}) must be a finite number of at least 0")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _factors(text: str) -> tuple[float, ...]:
    """Factors in --slowdown."""
    from fluxshard.errors import OptionError

    try:
        return tuple(dict.fromkeys(map(float, _words(text))))
    except ValueError as error:
        raise OptionError(f"--slowdown (={text!r}) must be numbers with commas between, such as 16,1") from error


def _chosen(text: str | None, found: Sequence[Clip]) -> tuple[Clip, ...]:
    """Clips by name, in the order in which they were found."""
    from fluxshard.errors import OptionError

    if text is None:
        return tuple(found)
    names = set(_words(text))
    missing = sorted(names - {clip.name for clip in found})
    if missing or not names:
        raise OptionError(f"--clips (={text!r}): there are {', '.join(clip.name for clip in found)}")
    return tuple(clip for clip in found if clip.name in names)


def _known(flag: str, text: str, there: object) -> tuple[str, ...]:
    """Names of tiers in a flag."""
    from fluxshard.errors import OptionError

    names = tuple(_words(text))
    unknown = sorted(set(names) - set(there))  # type: ignore[call-overload]
    if unknown or not names:
        raise OptionError(f"{flag} (={text!r}): there are {TIERS}; give one or more of them, with commas between")
    return names


def _counts(text: str) -> tuple[int, ...]:
    """Numbers of edges: rising, from 1."""
    from fluxshard.errors import OptionError

    words = _words(text)
    if not words or not all(word.isdecimal() for word in words):
        raise OptionError(f"--edges (={text!r}) must be whole numbers with commas between, such as 1,2,3,8")
    counts = tuple(sorted({1, *map(int, words)}))
    if counts[0] < 1:
        raise OptionError(f"--edges (={text!r}): a link has at least one edge")
    return counts


def _command() -> str:
    import shlex
    import sys

    return "fluxshard " + shlex.join(sys.argv[1:])
