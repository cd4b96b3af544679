"""`fluxshard evaluate`: methods against each other on the same frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fluxshard.cli.end_to_end import end_to_end

# heavy imports are inside: this module is imported by `fluxshard --help`

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Compares methods on the same frames, and reports.")

METHODS = (
    "dense,canvas,skip,skip-moved,coach,deltacnn,motion-deltacnn,propagated,"
    "planned,planned-carried,planned-believed,planned-still"
)


app.command("end-to-end")(end_to_end)


@app.callback()
def root() -> None:
    """Compares methods on the same frames, and reports."""


@app.command()
def reuse(
    data: Annotated[
        list[Path],
        typer.Option(help="Videos, directories of them, or a DAVIS layout; may be given again.", show_default=False),
    ],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="Ultralytics .pt weights, or a .fluxshard file.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Directory for results; what it holds already is not run again.", show_default=False)
    ],
    methods: Annotated[str, typer.Option(help="Sets of methods, with commas between; add ablations.")] = METHODS,
    clips: Annotated[
        str | None,
        typer.Option(help="Names of clips to take, with commas between; all unless given.", show_default=False),
    ] = None,
    budget: Annotated[
        list[float] | None,
        typer.Option(
            help="Loss of accuracy, such as 0.01, to calibrate threshold profiles for: on one half of the clips, "
            "reported on the other, both ways; may be given again.",
            show_default=False,
        ),
    ] = None,
    policies: Annotated[str, typer.Option(help="Policies that threshold profiles are calibrated for.")] = "planned",
    profile: Annotated[
        list[str] | None,
        typer.Option(help="A calibrated threshold profile, as LABEL=FILE; may be given again.", show_default=False),
    ] = None,
    split: Annotated[float, typer.Option(help="Share of the budget for the input's threshold (propagated).")] = 2 / 3,
    points: Annotated[int, typer.Option(min=1, help="Settings that a calibration may measure (planned).")] = 60,
    layers: Annotated[int, typer.Option(min=0, help="Layers that get thresholds (propagated).")] = 12,
    size: Annotated[
        str | None, typer.Option(help="Long side in px, or HEIGHTxWIDTH; 640 unless given.", show_default=False)
    ] = None,
    task: Annotated[Literal["auto", "detect", "segment", "pose"], typer.Option(help="What the outputs mean.")] = "auto",
    backend: Annotated[Literal["auto", "cpp", "reference"], typer.Option(help="What executes the model.")] = "auto",
    measure: Annotated[
        Literal["jaccard", "mean_jaccard", "miou", "oks", "f1", "teacher", "ap"] | None,
        typer.Option(
            help="Accuracy that methods are compared by; J, averaged over confidences, where clips have annotations, "
            "else OKS or mIoU against the dense network.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Size, as --size, at which the same network stands in for a stronger one: its objects are the truth "
            "of --measure teacher.",
            show_default="with --measure teacher, twice --size",
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Use so many frames of each clip.", show_default=False)
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Clips that example pictures are made of.")] = 3,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per processor unless given.", show_default=False)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """Runs methods over clips; writes traces, scores.json, report.md, report.html and figures.

    A run that was stopped goes on where it was.
    """
    from rich.console import Console

    from fluxshard.cli.support.apart import check_apart
    from fluxshard.cli.support.progress import StepProgress
    from fluxshard.errors import OptionError
    from fluxshard.evaluate.calibration.calibrate import ProgressCallbacks
    from fluxshard.evaluate.data.clips import find_clips
    from fluxshard.evaluate.experiment import Experiment, run_experiment
    from fluxshard.evaluate.methods.method_sets import set_names
    from fluxshard.evaluate.traces.workers import Setup

    chosen = _words(methods)
    unknown = sorted(set(chosen) - set(set_names()))
    if unknown:
        raise OptionError(f"--methods: {', '.join(unknown)} is not known; there are {', '.join(set_names())}")
    wanted = _words(policies)
    if not set(wanted) <= {"planned", "propagated"}:
        raise OptionError(f"--policies (={policies!r}) must name planned, propagated or both")
    for loss in budget or []:
        if not 0 <= loss < 1:
            raise OptionError(f"--budget (={loss:g}) must be at least 0 and below 1")
    given = [entry.partition("=")[2] for entry in profile or []]
    check_apart([out, *(out / name for name in ("report.md", "report.html", "scores.json"))], [*data, model, *given])
    found = find_clips(data)
    if clips is not None:
        missing = sorted(set(_words(clips)) - {clip.name for clip in found})
        if missing:
            raise OptionError(f"--clips: {', '.join(missing)} is not there; there are {_names(found)}")
        found = [clip for clip in found if clip.name in _words(clips)]
    if measure == "teacher" and teacher is None:
        teacher = _twice(size)
    profiles = {}
    for entry in profile or []:
        label, equals, path = entry.partition("=")
        if not equals or not label or not path:
            raise OptionError(f"--profile (={entry!r}) must be LABEL=FILE")
        profiles[label] = Path(path)
    request = Experiment(
        clips=tuple(found),
        setup=Setup(weights=model, task=task, size=size, backend=backend, max_frames=max_frames),
        out=out,
        methods=chosen,
        budgets=tuple(budget or ()),
        policies=wanted,
        threshold_profiles=profiles,
        split=split,
        points=points,
        layers=layers,
        workers=workers,
        examples=examples,
        measure=measure,
        teacher_size=teacher,
        command=_command(),
    )
    with StepProgress(Console(stderr=True, highlight=False)) as progress:
        run_experiment(request, ProgressCallbacks(frames=progress.frames, step=progress.step))
    print(f"{out / 'report.html'}: {len(found)} clips; the same as text in {out / 'report.md'}")


def _twice(size: str | None) -> str:
    from fluxshard.models.loading.sizes import DEFAULT_LONG_SIDE_PX, parse_size

    sides = DEFAULT_LONG_SIDE_PX if size is None else parse_size(size)
    return str(2 * sides) if isinstance(sides, int) else f"{2 * sides[0]}x{2 * sides[1]}"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _names(found: object) -> str:
    return ", ".join(clip.name for clip in found)  # type: ignore[attr-defined]


def _command() -> str:
    import shlex
    import sys

    return "fluxshard " + shlex.join(sys.argv[1:])
