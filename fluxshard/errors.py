"""Every error that FluxShard raises on purpose, and how it warns.

```
FluxShardError
├── OptionError            a value of CompileOptions, ReuseOptions or of a command-line flag is not allowed
├── CompileTimeError
│   ├── TraceError         torch.export could not capture the model
│   ├── PassError          a graph pass failed or changed the model's outputs
│   ├── PlanError          a Plan breaks a rule of ir/verify.py or cannot be read
│   ├── RenderError        a template asked for something that its parameters do not have
│   ├── ToolchainError     there is no usable compiler, or no GPU driver that can load compiled kernels
│   │   └── CompileError   the compiler refused generated source (command, log and source path inside)
│   ├── MissingKernelError FLUXSHARD_NO_COMPILE=1 and the kernel is not in the cache
│   └── CacheError         the kernel cache cannot be written
├── RunTimeError
│   ├── ShapeError         an image or a motion field of the wrong shape, dtype or device
│   ├── StateError         a session used after it was closed or before its first frame; an uncompiled model
│   ├── KernelError        a generated program reported a failure, or cannot be launched
│   ├── DeviceError        the GPU stopped working for this process: an illegal address, a timeout, a hardware fault
│   └── DeviceMemoryError  the GPU has no memory left, for kernels or for a stream
├── VideoError             a video is missing, damaged, empty or has no picture; or cannot be written
│   ├── DamageError        a part of a video cannot be decoded, where nothing may be left out
│   └── StreamLostError    a camera or a stream timed out or broke off
├── ModelError             a weights file is missing, damaged or not a model that can be read
├── ProfileError           a calibrated profile is damaged, or belongs to another plan or to other weights
├── MeterError             there is no energy meter of this kind, or it may not be read
├── WireError              what came over the network is damaged, or is not of this stream
│   └── DecoderError       the process that decodes a stream died or did not answer; its stream is lost
├── TransportError         a server cannot be reached, or the link to it was lost
│   └── RefusedError       the server does not take the stream (reason and time to wait inside)
├── SecurityError          a certificate, key or token that cannot be used or is refused; plaintext that is not allowed
├── MissingExtraError      a command needs packages of an extra that is not installed
└── EvaluationError        clips, annotations or kept results of an evaluation are missing or damaged
```
Messages say what was seen, what is allowed and what to do.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import FrameType

_PACKAGE, _COMMAND_LINE = "fluxshard", "fluxshard.cli"
_THREADS = ("threading", "concurrent")  # where the stack of a thread starts


class FluxShardError(Exception):
    """Base class of all errors of this package."""


class OptionError(FluxShardError, ValueError):
    """An option has a value that is not allowed."""


class CompileTimeError(FluxShardError):
    """Compilation failed, from capture to loading kernels."""


class TraceError(CompileTimeError):
    """`torch.export` could not capture the model."""


class PassError(CompileTimeError):
    """A graph pass failed, or changed the shape or dtype of an output of the model."""


class PlanError(CompileTimeError, ValueError):
    """A Plan breaks a rule of `ir/verify.py`, or its serialised form cannot be read."""


class RenderError(CompileTimeError):
    """A template asked for a name that its parameters do not define."""


class ToolchainError(CompileTimeError):
    """No usable compiler was found, or no GPU driver that can load compiled kernels."""


class CompileError(ToolchainError):
    """The compiler refused generated source.

    Attributes:
      command: command line of the compiler.
      log: output of the compiler.
      source_path: path of the kept source, or None.
      kernel: name of the kernel where the source holds one only, or None.
    """

    kernel: str | None = None

    def __init__(self, message: str, *, command: tuple[str, ...], log: str, source_path: Path | None) -> None:
        super().__init__(message)
        self.command = command
        self.log = log
        self.source_path = source_path


class MissingKernelError(CompileTimeError):
    """Compilation is disabled and the kernel is not in the cache."""


class CacheError(CompileTimeError):
    """The kernel cache cannot be written."""


class RunTimeError(FluxShardError):
    """A frame failed to run."""


class ShapeError(RunTimeError, ValueError):
    """An image or motion field has the wrong shape, dtype or device."""


class StateError(RunTimeError):
    """A session was used after it was closed or before its first frame, or a model before it was compiled."""


class KernelError(RunTimeError):
    """A generated program reported a failure, or cannot be launched."""


class DeviceError(RunTimeError):
    """The GPU stopped working for this process; its memory is lost."""


class DeviceMemoryError(RunTimeError, MemoryError):
    """The GPU is out of memory, for kernels or for a session."""


class VideoError(FluxShardError):
    """A video is missing, damaged or empty, has no picture, or cannot be written."""


class DamageError(VideoError):
    """A part of a video cannot be decoded.

    Attributes:
      seen: what was seen, without what to do: that depends on who asked.
    """

    def __init__(self, seen: str, advice: str) -> None:
        super().__init__(seen, advice)
        self.seen, self._advice = seen, advice

    def __str__(self) -> str:
        return f"{self.seen}; {self._advice}"


class StreamLostError(VideoError):
    """A camera or a stream timed out, or its connection broke off."""


class ModelError(FluxShardError):
    """A weights file is missing, damaged or not a readable model."""


class ProfileError(FluxShardError, ValueError):
    """A calibrated profile is damaged, or belongs to another plan or to other weights."""


class MeterError(FluxShardError):
    """There is no energy meter of this kind on this machine, or it may not be read."""


class WireError(FluxShardError):
    """What came over the network is damaged, or is not of this stream."""


class DecoderError(WireError):
    """The process that decodes a stream died or did not answer; the stream is lost up to its next keyframe."""


class TransportError(FluxShardError):
    """A server cannot be reached, or the link to it was lost."""


class RefusedError(TransportError):
    """The server does not take the stream.

    Attributes:
      reason: "full", "model", "protocol", "identity", "taken", "draining", "invalid" or "failed".
      retry_after_s: when it is worth asking again; None where asking again does not help.
    """

    def __init__(self, message: str, *, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class SecurityError(FluxShardError):
    """A certificate, key or token cannot be used or is refused, or plaintext is not allowed."""


class MissingExtraError(FluxShardError):
    """A command needs packages of an extra that is not installed."""


class EvaluationError(FluxShardError):
    """Clips, annotations or kept results of an evaluation are missing or damaged."""


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Issues a warning at the line that called this package, from any depth of calls.

    The logger "fluxshard" is told of a RuntimeWarning as well. The command line counts as a caller. In a thread that
    this package started, the line is the outermost one of the package.

    Args:
      message: what was seen, and what happens because of it.
      category: class of the warning.
    """
    frame = inside = sys._getframe(1)
    while _is_ours(_module(frame)) and frame.f_back is not None:
        inside, frame = frame, frame.f_back
    if _module(frame).partition(".")[0] in _THREADS:
        frame = inside
    if issubclass(category, RuntimeWarning):
        logging.getLogger(_PACKAGE).warning("%s", message)
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, _module(frame), registry)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "<unknown>"))


def _is_ours(module: str) -> bool:
    return _is_within(module, _PACKAGE) and not _is_within(module, _COMMAND_LINE)


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
