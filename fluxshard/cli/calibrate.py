"""`fluxshard calibrate`: from clips and weights to a threshold profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

# heavy imports are inside: this module is imported by `fluxshard --help`


def calibrate(
    videos: Annotated[
        list[Path],
        typer.Argument(help="Videos, directories of videos or images, or a DAVIS layout.", show_default=False),
    ],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="Ultralytics .pt weights, or a .fluxshard file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The threshold profile to write.", show_default=False)],
    alpha: Annotated[float, typer.Option(help="Accuracy to keep, as a share of the dense network's.")] = 0.97,
    policy: Annotated[Literal["planned", "propagated"], typer.Option(help="What the thresholds are for.")] = "planned",
    split: Annotated[
        float, typer.Option(help="Share of the budget for the input's threshold (propagated; the paper's r).")
    ] = 2 / 3,
    measure: Annotated[
        Literal["auto", "jaccard", "agreement"],
        typer.Option(help="Accuracy against annotations (jaccard) or against the dense network (agreement)."),
    ] = "auto",
    task: Annotated[Literal["auto", "detect", "segment", "pose"], typer.Option(help="What the outputs mean.")] = "auto",
    size: Annotated[
        str | None, typer.Option(help="Long side in px, or HEIGHTxWIDTH; 640 unless given.", show_default=False)
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Use so many frames of each clip.", show_default=False)
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="Measure at most so many settings (planned).")] = 80,
    layers: Annotated[int, typer.Option(min=0, help="Layers that get thresholds (propagated).")] = 12,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per processor unless given.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing threshold profile.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
) -> None:
    """Finds the thresholds that do the least work at a budget of accuracy, and writes them as a threshold profile.

    What has been measured is kept beside the file: a search that was stopped goes on where it was.
    """
    from rich.console import Console

    from fluxshard.cli.support.apart import check_apart
    from fluxshard.cli.support.progress import StepProgress
    from fluxshard.errors import OptionError
    from fluxshard.evaluate.calibration.calibrate import ProgressCallbacks
    from fluxshard.evaluate.calibration.calibrate import calibrate as find
    from fluxshard.evaluate.calibration.objective import Calibration
    from fluxshard.evaluate.data.clips import find_clips
    from fluxshard.evaluate.traces.workers import Setup, WorkerPool

    log = out.with_name(out.name + ".search.jsonl")
    check_apart([out, log], [*videos, model])
    if out.exists() and not overwrite:
        raise OptionError(f"--out (={str(out)!r}) exists; give another name, or --overwrite")
    if not out.parent.is_dir():
        raise OptionError(f"--out (={str(out)!r}): the directory {str(out.parent)!r} does not exist")
    request = Calibration(
        clips=tuple(find_clips(videos)),
        alpha=alpha,
        policy=policy,
        split=split,
        measure=measure,
        most_points=points,
        truncation_points=layers,
    )
    setup = Setup(weights=model, task=task, size=size, max_frames=max_frames)
    console = Console(stderr=True, highlight=False)
    with WorkerPool(setup, workers, tasks=len(request.clips)) as pool, StepProgress(console) as progress:
        threshold_profile, within = find(
            request, setup, pool, log, ProgressCallbacks(frames=progress.frames, step=progress.step)
        )
    threshold_profile.save(out)
    facts = threshold_profile.facts
    print(
        f"{out}: compute {facts['compute_ratio']:.3f} of dense at {facts['accuracy_kept']:.4f} of its accuracy "
        f"({facts['measure']})"
    )
    if not within:
        typer.echo(
            f"fluxshard: the budget cannot be met: nothing that was tried keeps {alpha:g} of the accuracy; the profile "
            "is the most accurate one. Give a smaller --alpha, more --points, or clips with less motion",
            err=True,
        )
        raise typer.Exit(1)
