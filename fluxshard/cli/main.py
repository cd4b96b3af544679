"""Commands, and what users see when something is wrong: one line and an exit status.

Exit status: 0 done; 1 something failed; 2 wrong usage; 130 and 143 interrupted and terminated, with partial results.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from fluxshard.cli.calibrate import calibrate
from fluxshard.cli.evaluate import app as evaluate_app
from fluxshard.cli.setup.certs import certs
from fluxshard.cli.setup.doctor_command import doctor
from fluxshard.cli.setup.token import token
from fluxshard.errors import FluxShardError, OptionError

# only what parsing needs is imported above: `fluxshard --help` must not wait for torch

# the base of what typer raises for wrong usage has no public name
UsageError: type[Exception] = typer.BadParameter.__mro__[2]
FAILED, MISUSED, INTERRUPTED = 1, 2, 128 + signal.SIGINT

app = typer.Typer(
    name="fluxshard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runs a CNN incrementally over video: cached features follow the motion, only what changed is recomputed.",
)
Model = Annotated[
    Path,
    typer.Option(
        "--model", "-m", help="Ultralytics .pt, a torch.save'd nn.Module, or a .pt2 program.", show_default=False
    ),
]
Task = Annotated[Literal["auto", "detect", "segment", "pose", "raw"], typer.Option(help="What the outputs mean.")]
Backend = Annotated[Literal["auto", "cpp", "reference"], typer.Option(help="What executes the model.")]
DType = Annotated[
    Literal["float32", "float16", "bfloat16"], typer.Option(help="What features are stored as; others are for CUDA.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("fluxshard")
        except PackageNotFoundError:  # run from a source tree
            from fluxshard import __version__ as number
        print(f"fluxshard {number}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Runs a CNN incrementally over video: cached features follow the motion, only what changed is recomputed."""


@app.command()
def run(
    video: Annotated[
        str, typer.Argument(help="A video file, a directory of pictures, a camera or a stream.", show_default=False)
    ],
    model: Model,
    out: Annotated[Path, typer.Option(help="Directory for the results; created.", show_default=False)],
    task: Task = "auto",
    size: Annotated[
        str | None,
        typer.Option(
            help="Long side in px (the short side follows the picture), or HEIGHTxWIDTH; 640 unless given.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        Literal["none", "dense"], typer.Option(help="Also run the original network on every frame, and measure both.")
    ] = "none",
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many frames.", show_default=False)
    ] = None,
    policy: Annotated[
        Literal["planned", "propagated"] | None,
        typer.Option(
            help="What is recomputed: planned from the image alone, or what each layer's features make of it.",
            show_default="planned",
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Threshold profile: policy, thresholds and canvas that `fluxshard calibrate` found for this model.",
            show_default=False,
        ),
    ] = None,
    canvas: Annotated[
        bool | None,
        typer.Option(
            "--canvas/--no-canvas",
            help="Planned: move the image on a larger canvas, so that what pans stands still; costs agreement.",
            show_default="no-canvas, or what the profile says",
        ),
    ] = None,
    tau_input: Annotated[
        float | None,
        typer.Option(help="Propagated: a pixel that differs by more (0..1) is recomputed.", show_default="0.02"),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(
            help="Propagated: a feature that differs by more is passed on; 0 passes on every change.",
            show_default="0.1",
        ),
    ] = None,
    rfap: Annotated[
        Literal["compact", "per_layer", "off"] | None,
        typer.Option(
            help="Propagated: receptive-field check: compact, or exact at zero thresholds.", show_default="compact"
        ),
    ] = None,
    input_mode: Annotated[
        Literal["assembled", "fresh"] | None,
        typer.Option(
            "--input",
            help="Propagated: feed cached pixels where nothing changed, or the new frame.",
            show_default="assembled",
        ),
    ] = None,
    remap: Annotated[
        bool | None,
        typer.Option("--remap/--no-remap", help="Propagated: move the cache along the motion.", show_default="remap"),
    ] = None,
    show_reuse: Annotated[bool, typer.Option("--show-reuse", help="Tint what was recomputed.")] = False,
    device: Annotated[str, typer.Option(help="Where it runs: cpu, cuda or cuda:N.")] = "cpu",
    dtype: DType = "float32",
    backend: Annotated[
        Literal["auto", "cpp", "cuda", "reference", "emulated"],
        typer.Option(help="What executes the model; emulated runs the CUDA kernels on the CPU, very slowly."),
    ] = "auto",
    conf: Annotated[float, typer.Option(help="Detections must score above.")] = 0.25,
    iou: Annotated[float, typer.Option(help="Of two boxes that overlap more, the better stays.")] = 0.7,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")] = False,
    debug: Debug = False,
) -> None:
    """Runs a model over a video; writes annotated.mp4, frames.jsonl, summary.json and summary.png."""
    from fluxshard.cli.run_command import RunRequest, run_command
    from fluxshard.cli.run_reuse import ReuseFlags

    reuse = ReuseFlags(
        policy=policy,
        profile=profile,
        canvas=canvas,
        tau_input=tau_input,
        tau=tau,
        rfap=rfap,
        input=input_mode,
        remap=remap,
    )
    request = RunRequest(
        video=video,
        model=model,
        out=out,
        task=task,
        size=size,
        dense=compare == "dense",
        max_frames=max_frames,
        show_reuse=show_reuse,
        device=device,
        dtype=dtype,
        backend=backend,
        confidence=conf,
        iou=iou,
        overwrite=overwrite,
        reuse=reuse,
    )
    raise typer.Exit(run_command(request))


@app.command()
def explain(
    model: Model,
    task: Task = "auto",
    size: Annotated[
        str | None, typer.Option(help="Side in px, or HEIGHTxWIDTH; 640 unless given.", show_default=False)
    ] = None,
    backend: Backend = "auto",
    target: Annotated[
        str | None,
        typer.Option(
            help="An architecture, such as cuda:sm_90: compiles its kernels, without a GPU, and prints what they need.",
            show_default=False,
        ),
    ] = None,
    dtype: DType = "float32",
    debug: Debug = False,
) -> None:
    """Prints what every layer of a model becomes, and why; with --target, the registers and memory of its kernels."""
    from fluxshard.cli.explain_command import ExplainRequest, explain_command

    request = ExplainRequest(model=model, task=task, size=size, backend=backend, target=target, dtype=dtype)
    print(explain_command(request))


app.command()(calibrate)
app.command()(certs)
app.command()(token)
app.command()(doctor)
app.add_typer(evaluate_app, name="evaluate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; `sys.argv[1:]` unless arguments are given."""
    # Threads that wait must sleep: decoders, encoders and other programs want the cores that they would spin on, and a
    # spinning pool makes a frame take ten times as long. OpenMP reads it when torch loads it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = app(given, standalone_mode=False)
    except UsageError as error:
        message = getattr(error, "format_message", error.__str__)()
        code = _fail(message, MISUSED) if message.strip() else MISUSED  # without arguments the help is shown already
    except OptionError as error:
        if debug:
            raise
        code = _fail(str(error), MISUSED)
    except (FluxShardError, OSError, MemoryError) as error:
        if debug:
            raise
        code = _fail(str(error) or type(error).__name__, FAILED)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted before the first frame; nothing was written", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> int:
    print(f"fluxshard: error: {' '.join(message.split())}", file=sys.stderr)
    return code
