"""The files of a run, and the directory that takes them."""

from __future__ import annotations

from pathlib import Path

from fluxshard.errors import OptionError

VIDEO, FRAMES, SUMMARY, FIGURE = "annotated.mp4", "frames.jsonl", "summary.json", "summary.png"
OUTPUTS = (VIDEO, FRAMES, SUMMARY, FIGURE)
PLACEMENTS = "placements.jsonl"  # of runs in two places only


def files_of(out: Path) -> list[Path]:
    """All that a run may write or remove."""
    return [out / name for name in (*OUTPUTS, PLACEMENTS)]


def prepare_directory(out: Path, overwrite: bool) -> None:
    """Creates the output directory, or takes an existing one that is empty or may be overwritten.

    Overwriting removes the files that a run writes, and nothing else.

    Raises:
      OptionError: it is a file, not empty, or cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(out.iterdir()):
            raise OptionError(f"--out (={str(out)!r}) is not empty; give another directory, or --overwrite")
        for path in files_of(out):
            path.unlink(missing_ok=True)
        probe = out / FRAMES
        probe.touch()  # says now, and not after the compilation, that nothing can be written
        probe.unlink()
    except FileExistsError:
        raise OptionError(f"--out (={str(out)!r}) is a file; give a directory") from None
    except OSError as error:
        raise OptionError(f"--out (={str(out)!r}) cannot be written: {error.strerror or error}") from error
