"""Everything that a few minutes on a GPU can tell, in one command: `make gpu`.

    python -m benchmarks.gpu_session --out runs/gpu                       # at most seven minutes
    python -m benchmarks.gpu_session --out runs/gpu --device emulated     # rehearses the order without a GPU

Parts run one after the other, the most telling first. Each has a log in the output directory, and what is known is
written after each, so that a session that is cut off leaves what it had: `session.json` and `summary.txt`. The summary
is printed last. The machine needs torch with CUDA, numpy, jinja2, cuda-bindings, NVRTC, pytest and pytest-xdist.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from benchmarks.gpu_log import read_log
from benchmarks.gpu_parts import SECONDS, Part, gpu_parts, rehearsal_parts
from fluxshard.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 420.0
SUMMARY_LINES = 40
_LEAST_SHARE = 0.4  # of a part's limit: with less time left it would hardly end
_GRACE_S = 10.0  # between an interrupt, at which pytest prints what has failed so far, and the end
_MARGIN_S = 25.0  # of a limit: for starting Python, and for the interrupt
_CUDA_TOOLS = "/usr/local/cuda/bin"

Status = Literal["passed", "failed", "timed out", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a part.

    Attributes:
      name, shows: of the part.
      status: how it ended.
      seconds: that it took.
      reason: why it was skipped, the counts of its tests, or the last line that it printed where it failed.
      code: exit status of its command; None where it has not run or was ended.
      key_figures: lines for the summary: what failed, what it has measured.
    """

    name: str
    shows: str
    status: Status
    seconds: float
    reason: str = ""
    code: int | None = None
    key_figures: tuple[str, ...] = ()


def run_part(part: Part, out: Path, limit_s: float) -> Result:
    """Runs a part in processes of its own, which end with it.

    Args:
      part: what to run.
      out: directory of the log, `NAME.log`.
      limit_s: seconds after which it is ended.
    """
    log, started = out / f"{part.name}.log", time.monotonic()
    command = [argument.replace(SECONDS, f"{max(limit_s - _MARGIN_S, 1):.0f}") for argument in part.command]
    path = f"{os.environ.get('PATH', '')}:{_CUDA_TOOLS}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}  # room for reasons of failures
    if part.figures is not None:
        part.figures.unlink(missing_ok=True)  # of an earlier session
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = _wait(process, limit_s)
        finally:
            with suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    reading = read_log(log.read_text(errors="replace"))
    status: Status = "timed out" if code is None else "failed" if code else "skipped" if reading.idle else "passed"
    reason = reading.idle if status == "skipped" else reading.last if reading.tests or status != "passed" else ""
    return Result(
        name=part.name, shows=part.shows, status=status, seconds=time.monotonic() - started, reason=reason, code=code,
        key_figures=(*reading.figures, *_key_figures(part)),
    )  # fmt: skip


def run_session(parts: Sequence[Part], out: Path, budget_s: float) -> list[Result]:
    """Runs parts in order while there is time; writes what is known after each.

    Args:
      parts: in order.
      out: directory of logs and results; made where it is missing.
      budget_s: seconds for all.
    """
    out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    deadline, last = time.monotonic() + budget_s, len(parts)
    for index, part in enumerate(parts):
        left_s = deadline - time.monotonic()
        if index > last:
            result = _skipped(part, f"not run: {parts[last - 1].name} failed, and all else builds on it")
        elif part.tool and shutil.which(part.tool, path=f"{os.environ.get('PATH', '')}:{_CUDA_TOOLS}") is None:
            result = _skipped(part, f"not run: there is no {part.tool} on this machine")
        elif left_s < _LEAST_SHARE * part.limit_s:
            result = _skipped(part, f"not run: {max(left_s, 0):.0f} s are left of {budget_s:.0f} s")
        else:
            print(f"{part.name}: {part.shows} ...", flush=True)
            result = run_part(part, out, min(part.limit_s, left_s))
            if part.decides and result.status != "passed":
                last = index + 1
        results.append(result)
        print(_line(result), flush=True)
        write_whole(out / "session.json", json.dumps([asdict(one) for one in results], indent=1).encode())
        write_whole(out / "summary.txt", (summary(results, out) + "\n").encode())
    return results


def summary(results: Sequence[Result], out: Path) -> str:
    """At most `SUMMARY_LINES` lines: parts, key figures, and where to read more."""
    took = sum(result.seconds for result in results)
    lines = [f"GPU session: {len(results)} parts in {took:.0f} s; logs and figures in {out}", *map(_line, results)]
    figures = [line for result in results for line in result.key_figures]
    room = SUMMARY_LINES - len(lines)
    if len(figures) > room:
        figures = [*figures[: room - 1], f"... and {len(figures) - room + 1} more figures in the JSON files"]
    return "\n".join(line[:200] for line in (*lines, *figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the session; 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="directory of logs and results")
    parser.add_argument("--device", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--budget", type=float, default=None, help="seconds in all; 420 on a GPU")
    parser.add_argument("--only", nargs="+", default=None, metavar="PART", help="run these parts only")
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU: check nvidia-smi, or rehearse with --device emulated")
    out = args.out.resolve()
    parts = gpu_parts(out) if args.device == "cuda" else rehearsal_parts(out)
    names = [part.name for part in parts]
    unknown = sorted(set(args.only or ()) - set(names))
    if unknown:
        parser.error(f"--only names {', '.join(unknown)}; there are {', '.join(names)}")
    budget_s = args.budget or (BUDGET_S if args.device == "cuda" else 3600.0)
    chosen = [part for part in parts if args.only is None or part.name in args.only]
    results = run_session(chosen, out, budget_s)
    print("\n" + summary(results, out))
    return int(any(result.status in ("failed", "timed out") for result in results))


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """The exit status, or None where its time is over: it is interrupted first, so that it says what it knows."""
    grace_s = min(_GRACE_S, limit_s / 3)
    try:
        return process.wait(limit_s - grace_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    return None


def _terminated(*_: object) -> None:
    """Ends the session as an error would, so that the part that runs ends with it."""
    sys.exit(128 + signal.SIGTERM)


def _skipped(part: Part, reason: str) -> Result:
    return Result(name=part.name, shows=part.shows, status="skipped", seconds=0.0, reason=reason)


def _line(result: Result) -> str:
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.name:<10} {result.status:<9} {result.seconds:6.1f} s{reason}"


def _key_figures(part: Part) -> tuple[str, ...]:
    """What the command wrote; nothing where it was ended before."""
    if part.figures is None or not part.figures.exists():
        return ()
    try:
        return tuple(json.loads(part.figures.read_text()).get("key_figures", ()))
    except ValueError:
        return ()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main())
