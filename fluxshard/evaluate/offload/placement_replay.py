"""Records of live runs, replayed: whether every frame was placed as its inputs say, and what other places had cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fluxshard.errors import EvaluationError, OptionError
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs, DispatchOptions, decide

_FRAMES, _PLACEMENTS, _SUMMARY = "frames.jsonl", "placements.jsonl", "summary.json"  # as `fluxshard edge` calls them


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A frame whose recorded decision is not what its inputs give, or which the edge runs without having tested it.

    Attributes:
      frame: number within the stream.
      recorded: as the run has it.
      decided: from the recorded inputs.
    """

    frame: int
    recorded: Decision
    decided: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Frames that both endpoints ran, so that both times are known: those that were hedged or refreshed.

    They are not a fair sample of all frames, as the cloud's best frames are neither. A refresh has no answer to send
    down, so the cloud looks a little better than it is; where both share a machine, both look worse. Times are means in
    milliseconds, from when an endpoint could begin, as each endpoint was measured: what the session does besides is not
    the dispatcher's.

    Attributes:
      frames: how many.
      answered_ms: of the endpoint that answered; the wait before a hedge included.
      edge_ms, cloud_ms: of either endpoint: what the static choices had taken.
      oracle_ms: of the faster one, frame by frame.
      wrong: frames that the slower endpoint answered.
    """

    frames: int
    answered_ms: float
    edge_ms: float
    cloud_ms: float
    oracle_ms: float
    wrong: int

    @property
    def regret_ms(self) -> float:
        """By how much frames were answered later than an oracle had."""
        return self.answered_ms - self.oracle_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementReplay:
    """A run's placements, checked.

    Attributes:
      frames: with a record.
      mismatches: frames that were placed otherwise than their inputs say; empty for an honest run.
      compared: frames that both endpoints ran; None where there are none.
    """

    frames: int
    mismatches: tuple[Mismatch, ...]
    compared: Compared | None


def replay_run(out: Path) -> PlacementReplay:
    """Replays the directory that `fluxshard edge` has written, with the options in its summary.

    `placements.jsonl` is read where it is there, or else `frames.jsonl`.

    Raises:
      EvaluationError: the directory is not one of a run in two places, or damaged.
    """
    try:
        offload = json.loads((out / _SUMMARY).read_text(encoding="utf-8"))["offload"]
        options = DispatchOptions(
            policy=offload["dispatch"], margin_ms=offload["margin_ms"], deadline_ms=offload["deadline_ms"],
            minimize=offload["minimize"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, OptionError) as error:
        raise EvaluationError(
            f"{str(out / _SUMMARY)!r} does not say how a run in two places was dispatched ({_seen(error)}): give a "
            "directory that `fluxshard edge` has written"
        ) from error
    settled = out / _PLACEMENTS
    return replay_placements(settled if settled.exists() else out / _FRAMES, options)


def replay_placements(path: Path, options: DispatchOptions) -> PlacementReplay:
    """Decides every frame of a run in two places again.

    Args:
      path: of `placements.jsonl`, or of `frames.jsonl`. The latter's lines were written with the answers, so what the
        endpoint took that was slower is rarely known.
      options: of the run's dispatch.

    Raises:
      EvaluationError: it cannot be read, or has no placement records.
    """
    mismatches, compared = [], []
    placed = _placed(path)
    for number, placement in enumerate(placed):
        try:
            mismatch, times = _mismatch(placement, options), _times(placement)
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"record {number} of {str(path)!r} is one of another version ({_seen(error)}): run it again"
            ) from error
        if mismatch is not None:
            mismatches.append(mismatch)
        if times is not None:
            compared.append(times)
    return PlacementReplay(frames=len(placed), mismatches=tuple(mismatches), compared=_compared(compared))


def _placed(path: Path) -> list[Mapping[str, Any]]:
    """The placement records of a file; a last line without its end, of a process that was killed, is left out."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise EvaluationError(f"records {str(path)!r} cannot be read: {_seen(error)}") from error
    records = [line.get("placement_record", line) for line in lines if isinstance(line, dict)]
    placed: list[Mapping[str, Any]] = [
        record for record in records if isinstance(record, dict) and "decision" in record
    ]
    if not placed:
        raise EvaluationError(
            f"{str(path)!r} has no placement records: give a file that `fluxshard edge` has written for two places"
        )
    return placed


def _mismatch(placement: Mapping[str, Any], options: DispatchOptions) -> Mismatch | None:
    inputs = DispatchInputs(**_known(placement["inputs"], DispatchInputs))
    recorded = Decision(**_known(placement["decision"], Decision))
    decided = decide(inputs, options)
    # the test may be left out only where its result could not have mattered
    allowed = decided.endpoint == "cloud" or placement.get("edge_tested", True)
    same = (
        allowed
        and decided.endpoint == recorded.endpoint
        and all(_equal(a, b) for a, b in ((decided.edge_ms, recorded.edge_ms), (decided.cloud_ms, recorded.cloud_ms)))
    )
    return None if same else Mismatch(frame=int(placement["frame"]), recorded=recorded, decided=decided)


def _known(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Fields of a dataclass.

    Raises:
      ValueError: others are there, so the record means something else.
    """
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return dict(values)


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9))


def _times(placement: Mapping[str, Any]) -> tuple[float, float, float, bool] | None:
    """Milliseconds until the answer, of the edge, of the cloud; and whether the slower one answered."""
    edge_ms, cloud_ms, by = placement["edge_ms"], placement["cloud_ms"], placement["answered_by"]
    if by not in ("edge", "cloud") or edge_ms is None or cloud_ms is None:
        return None
    took = edge_ms if by == "edge" else cloud_ms
    waited = by == "edge" and placement["hedged"]
    answered = max(took, placement["latency_ms"] - placement["pre_ms"]) if waited else took
    return answered, edge_ms, cloud_ms, took > min(edge_ms, cloud_ms)


def _compared(times: Sequence[tuple[float, float, float, bool]]) -> Compared | None:
    if not times:
        return None
    count = len(times)
    return Compared(
        frames=count,
        answered_ms=math.fsum(answered for answered, *_ in times) / count,
        edge_ms=math.fsum(edge_ms for _, edge_ms, _, _ in times) / count,
        cloud_ms=math.fsum(cloud_ms for _, _, cloud_ms, _ in times) / count,
        oracle_ms=math.fsum(min(edge_ms, cloud_ms) for _, edge_ms, cloud_ms, _ in times) / count,
        wrong=sum(wrong for *_, wrong in times),
    )


def _seen(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
