"""Python, torch, FFmpeg and the extras of this package."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from fluxshard.diagnostics.check import Check

PYTHON = ((3, 11), (3, 14))  # from, and below
TORCH = (2, 8)

# extra -> its distributions; of several with commas between, one is enough. They are asked for by name, not imported:
# some take seconds
EXTRAS: Mapping[str, Sequence[str]] = {
    "yolo": ("ultralytics", "torchvision"),
    "cuda": ("cuda-bindings", "nvidia-cuda-nvrtc,nvidia-cuda-nvrtc-cu12"),
    "evaluate": ("pycocotools",),
    "track": ("trackers", "lap"),
    "cloud": (
        "cryptography",
        "grpcio",
        "grpcio-health-checking",
        "prometheus-client",
        "protobuf",
        "structlog",
        "zstandard",
    ),
    "cluster": ("ray",),
    "energy": ("nvidia-ml-py",),
}
_LIBRARIES = ("libavcodec", "libavformat", "libswscale")


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Whether this Python is one that the package is made for."""
    least, below = PYTHON
    seen = ".".join(map(str, version))
    if least <= version < below:
        return Check(name="python", status="ok", seen=f"{seen}, {sys.executable}", required=True)
    advice = f"install Python {_dotted(least)} or later, below {_dotted(below)}"
    return Check(name="python", status="missing", seen=seen, advice=advice, required=True)


def check_torch() -> Check:
    """Whether torch can be imported, and is recent enough."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check(
            name="torch",
            status="missing",
            seen=f"cannot be imported ({error})",
            advice="pip install torch, of a build for this machine (https://pytorch.org)",
            required=True,
        )
    build = "no CUDA" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
    seen = f"{torch.__version__} ({build})"
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < TORCH:
        advice = f"pip install -U 'torch>={_dotted(TORCH)}'"
        return Check(name="torch", status="missing", seen=seen, advice=advice, required=True)
    return Check(name="torch", status="ok", seen=seen, required=True)


def check_ffmpeg() -> Iterator[Check]:
    """The FFmpeg libraries that PyAV has loaded, and their H.264 codecs."""
    reinstall = "pip install --force-reinstall --only-binary av av, whose wheels bring FFmpeg with x264"
    try:
        import av
    except (ImportError, OSError) as error:
        seen = f"PyAV cannot be imported ({error})"
        yield Check(name="ffmpeg", status="missing", seen=seen, advice=reinstall, required=True)
        return
    versions = ", ".join(f"{name} {_dotted(av.library_versions[name])}" for name in _LIBRARIES)
    yield Check(name="ffmpeg", status="ok", seen=f"{versions} (PyAV {av.__version__})", required=True)
    modes: tuple[tuple[str, str, Literal["r", "w"]], ...] = (
        ("h.264 decoder", "h264", "r"),
        ("h.264 encoder", "libx264", "w"),
    )
    for name, codec, mode in modes:
        try:
            av.Codec(codec, mode)
        except ValueError:
            seen = f"this FFmpeg has no {codec}"
            yield Check(name=name, status="missing", seen=seen, advice=reinstall, required=True)
        else:
            yield Check(name=name, status="ok", seen=codec, required=True)


def check_extras() -> Iterator[Check]:
    """Which extras are installed, with the versions of what they need."""
    for extra, distributions in EXTRAS.items():
        versions = {names: _installed(names.split(",")) for names in distributions}
        lacking = [names.partition(",")[0] for names, seen in versions.items() if seen is None]
        name = f"extra {extra}"
        if lacking:
            seen, advice = f"not installed ({', '.join(lacking)})", f"pip install 'fluxshard[{extra}]'"
            yield Check(name=name, status="missing", seen=seen, advice=advice)
        else:
            yield Check(name=name, status="ok", seen=", ".join(seen for seen in versions.values() if seen))


def _installed(names: Sequence[str]) -> str | None:
    """Name and version of the first distribution that is installed."""
    for name in names:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
