"""Options that several commands take; only what parsing needs is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[
    Path,
    typer.Option(
        "--model",
        "-m",
        help="Ultralytics .pt, a torch.save'd nn.Module, a .pt2 program, or a .fluxshard file (fluxshard export).",
        show_default=False,
    ),
]
Task = Annotated[
    Literal["auto", "detect", "segment", "pose", "semantic", "classify", "depth", "raw"],
    typer.Option(
        help="What the outputs mean; semantic, classify, depth and raw fit any network, the others a YOLO network."
    ),
]
Names = Annotated[
    Path | None,
    typer.Option(help="Text file with the name of a class per line, for networks without names.", show_default=False),
]
Backend = Annotated[Literal["auto", "cpp", "reference"], typer.Option(help="What executes the model.")]
AnyBackend = Annotated[
    Literal["auto", "cpp", "cuda", "reference", "emulated"],
    typer.Option(help="What executes the model; emulated runs the CUDA kernels on the CPU, very slowly."),
]
Autotune = Annotated[
    bool,
    typer.Option(
        "--autotune", help="Measure tiles of convolutions once per device, and keep the fastest in the cache."
    ),
]
Device = Annotated[str, typer.Option(help="Where it runs: cpu, cuda or cuda:N.")]
DType = Annotated[
    Literal["auto", "float32", "float16", "bfloat16"],
    typer.Option(help="What features are stored as; float16 is for CUDA, auto takes the fastest of the device."),
]
Video = Annotated[
    str, typer.Argument(help="A video file, a directory of pictures, a camera or a stream.", show_default=False)
]
Videos = Annotated[
    list[str],
    typer.Argument(
        help="A video file, a directory of pictures, a camera or a stream; several run at once, each into a directory "
        "of its own.",
        show_default=False,
    ),
]
OutDirectory = Annotated[Path, typer.Option(help="Directory for the results; created.", show_default=False)]
Size = Annotated[
    str | None,
    typer.Option(
        help="Long side in px (the short side follows the picture), or HEIGHTxWIDTH; 640 unless given.",
        show_default=False,
    ),
]
MaxFrames = Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.", show_default=False)]
ReusePolicy = Annotated[
    Literal["planned", "propagated"] | None,
    typer.Option(
        help="What is recomputed: planned from the image alone, or what each layer's features make of it.",
        show_default="planned",
    ),
]
Thresholds = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        help="Threshold profile: policy, thresholds and canvas that `fluxshard calibrate` found for this model.",
        show_default=False,
    ),
]
SkipBudget = Annotated[
    float,
    typer.Option(
        help="Planned: a frame whose result is predicted to be wrong by no more (0..1) when the last one is moved "
        "along the motion is not computed; 0 computes all."
    ),
]
MaxSkip = Annotated[int, typer.Option(help="Frames in a row that are not computed, at most.")]
ShowReuse = Annotated[bool, typer.Option("--show-reuse", help="Tint what was recomputed.")]
Confidence = Annotated[float, typer.Option(help="Detections must score above.")]
Overlap = Annotated[float, typer.Option(help="Of two boxes that overlap more, the better stays.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show stack traces.")]
