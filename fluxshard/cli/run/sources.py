"""What a run reads: a file, or a live source that is opened again whenever it breaks off."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console

from fluxshard import video
from fluxshard.errors import DamageError, VideoError
from fluxshard.pipeline.overlap.run_overlapped import LIVE, NEWEST, Overlap
from fluxshard.video import LiveOptions, LiveSource, LiveStats, VideoSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFlags:
    """A source and the flags about it, as given; see the help of `fluxshard run`."""

    video: str
    max_frames: int | None = None
    skip_damaged: bool = False
    live: LiveOptions = field(default_factory=LiveOptions)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a source has shown of itself. A context manager that closes what is open of it.

    Attributes:
      shown_size: (h, w) of its pictures in square pixels.
      is_live: as of `VideoSource`.
      opened: a file, before its first frame; None: a live source, whose pictures must not pile up meanwhile.
    """

    shown_size: tuple[int, int]
    is_live: bool
    opened: VideoSource | None

    def __enter__(self) -> Probed:
        return self

    def __exit__(self, *_: object) -> None:
        if self.opened is not None:
            self.opened.close()


def probe(flags: SourceFlags) -> Probed:
    """Opens a source.

    Raises:
      VideoError: it cannot be opened.
    """
    with _advice():
        source = video.open(
            flags.video, max_frames=flags.max_frames, strict=False if flags.skip_damaged else None,
            timeout_s=flags.live.timeout_s, transport=flags.live.transport,
        )  # fmt: skip
    if source.is_live:
        source.close()
    return Probed(source.shown_size, source.is_live, None if source.is_live else source)


@contextlib.contextmanager
def frames_of(
    flags: SourceFlags,
    probed: Probed,
    *,
    size: tuple[int, int],
    stopped: Callable[[], bool],
    notes: SourceNotes,
    facts: dict[str, Any],
) -> Iterator[VideoSource | LiveSource]:
    """The frames of a source for a run; it is closed afterwards.

    Args:
      flags: as given.
      probed: what it has shown; a live source is opened anew.
      size: (H, W) of the images.
      stopped: whether somebody wants an end.
      notes: told what becomes of a live source, and of damaged frames.
      facts: of the summary; what became of the source is added at the end.

    Raises:
      VideoError: the source cannot be opened, or has failed.
    """
    source: VideoSource | LiveSource
    with _advice(), notes:
        if probed.opened is None:
            source = video.open_live(
                flags.video, live=flags.live, size=size, max_frames=flags.max_frames, stopped=stopped,
                changed=notes.tell,
            )  # fmt: skip
        else:
            source = probed.opened
            source.fit(size)
        try:
            with source:
                yield source
        finally:
            if isinstance(source, LiveSource):
                stats = source.stats
                facts["live"] = asdict(stats)
                facts["damaged"] = stats.damaged
            else:
                facts["damaged"] = source.damaged
            notes.damaged(facts["damaged"])


def overlap_of(source: VideoSource | LiveSource) -> Overlap:
    """How far the stages of a run over a source may be apart."""
    if isinstance(source, LiveSource):
        return NEWEST if source.keeps_newest else LIVE
    return Overlap()


class SourceNotes:
    """Tells people what becomes of a source, from any thread; nothing after the run has ended.

    Args:
      console: to print to.
      name: of the source, where there are several.
    """

    def __init__(self, console: Console, name: str = "") -> None:
        self._console, self._before = console, f"{name}: " if name else ""
        self._lock = threading.Lock()
        self._open, self._last = False, ""

    def __enter__(self) -> SourceNotes:
        self._open = True
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open = False

    def tell(self, stats: LiveStats) -> None:
        """Says that the source is away, or back."""
        if stats.state == "connecting":
            self.say(f"{stats.last_error}: it is tried again until it is there")
        elif stats.state == "open" and self._last:
            self.say("the source is there again")

    def damaged(self, count: int) -> None:
        """Says how many frames were left out, if any."""
        if count:
            frames = "1 damaged frame was" if count == 1 else f"{count} damaged frames were"
            self.say(f"{frames} left out")

    def say(self, what: str) -> None:
        """Prints a note, unless it is the last one again."""
        with self._lock:
            if self._open and what != self._last:
                self._last = what
                self._console.print(f"note: {self._before}{what}", style="yellow", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _advice() -> Iterator[None]:
    """Says what the command line can do about damage.

    Raises:
      VideoError: instead of a DamageError.
    """
    try:
        yield
    except DamageError as error:
        raise VideoError(f"{error.seen}; --skip-damaged leaves out what is damaged") from error
