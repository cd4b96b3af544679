"""What has gone wrong with a source, in words that say what to do."""

from __future__ import annotations

import av

from fluxshard.errors import DamageError, StreamLostError, VideoError

# these fill in what they cannot read and do not say so, unless they are told to refuse it. Video codecs mark such
# pictures; others break off, or would refuse files that merely break a rule
_SILENT_CODECS = frozenset(("mjpeg", "png", "apng", "gif", "webp"))


def refusing_damage(codec: str) -> dict[str, str]:
    """Options with which a decoder of FFmpeg does not pass over damage."""
    return {"err_detect": "explode"} if codec in _SILENT_CODECS else {}


def reason(error: Exception) -> str:
    """Message of an error of the system or FFmpeg, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def not_opened(failed: str, error: Exception, timeout_s: float, took_s: float) -> VideoError:
    """Of a container that cannot be opened.

    Args:
      failed: beginning of the message.
      error: of FFmpeg.
      timeout_s: how long it may be waited for.
      took_s: how long it was.
    """
    # FFmpeg says "Immediate exit requested", which is what its waiting was told to do, or what came of that
    if _timed_out(error) or took_s >= timeout_s:
        why = f"no answer within {timeout_s:g} s, or too little to tell what it is; see that the server sends"
    else:
        why = reason(error)
    return VideoError(f"{failed}: {why}")


def lost(name: str, count: int, error: Exception, timeout_s: float, lacked: str = "nothing") -> StreamLostError:
    """Of a camera or stream that broke off.

    Args:
      name: of the source.
      count: frames that it gave before.
      error: of FFmpeg or the system.
      timeout_s: how long it was waited for.
      lacked: what did not come in that time.
    """
    if _timed_out(error):
        why = f"timed out: {lacked} came for {timeout_s:g} s"
    else:
        why = f"broke off: {reason(error)}"
    todo = "open it again"
    if lacked != "nothing" and not count:
        todo += ", with a larger timeout_s where its keyframes are further apart"
    return StreamLostError(f"video {name!r} {why}, after {count} frames; {todo}")


def damaged(name: str, count: int, error: Exception | None) -> DamageError:
    """Of a source that is to be intact.

    Args:
      name: of the source.
      count: intact frames before.
      error: of the decoder; None where it has filled in what it could not read.
    """
    why = "parts of it are missing or cannot be read" if error is None else reason(error)
    return DamageError(f"video {name!r} is damaged at frame {count}: {why}", "open it with strict=False to go on")


def _timed_out(error: Exception) -> bool:
    return isinstance(error, av.error.ExitError | av.error.TimeoutError | TimeoutError)
