"""The files of a run, and checks of its flags before anything slow begins."""

from __future__ import annotations

import re
from pathlib import Path

from fluxshard.errors import OptionError

VIDEO, FRAMES, SUMMARY, FIGURE = "annotated.mp4", "frames.jsonl", "summary.json", "summary.png"
OUTPUTS = (VIDEO, FRAMES, SUMMARY, FIGURE)
ON_CPU, ON_CUDA = ("auto", "cpp", "reference"), ("auto", "cuda", "emulated")


def check_share(name: str, value: float) -> None:
    """Raises OptionError unless the value lies in 0..1."""
    if not 0 <= value <= 1:
        raise OptionError(f"--{name} (={value}) must lie between 0 and 1")


def check_device(device: str, dtype: str, backend: str) -> None:
    """Raises OptionError unless --device, --dtype and --backend go together."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise OptionError(f"--device (={device!r}) must be cpu, cuda or cuda:N")
    allowed = ON_CPU if device == "cpu" else ON_CUDA
    if backend not in allowed:
        where = "cuda" if backend in ON_CUDA else "cpu"
        raise OptionError(
            f"--backend {backend} is for --device {where}; with --device {device} use one of {', '.join(allowed)}"
        )
    if device == "cpu" and dtype != "float32":
        raise OptionError(f"--dtype {dtype} is for --device cuda; --device cpu computes in float32")


def prepare_directory(out: Path, overwrite: bool) -> None:
    """Creates the output directory, or takes an existing one that is empty or may be overwritten.

    Overwriting removes the four files that a run writes, and nothing else.

    Raises:
      OptionError: it is a file, not empty, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(out.iterdir()):
            raise OptionError(f"--out (={str(out)!r}) is not empty; give another directory, or --overwrite")
        for name in OUTPUTS:
            (out / name).unlink(missing_ok=True)
        probe = out / FRAMES
        probe.touch()  # says now, and not after the compilation, that nothing can be written
        probe.unlink()
    except FileExistsError:
        raise OptionError(f"--out (={str(out)!r}) is a file; give a directory") from None
    except OSError as error:
        raise OptionError(f"--out (={str(out)!r}) cannot be written: {error.strerror or error}") from error
