"""Records of live runs, replayed: whether every frame was placed as its inputs say, and what other places had cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fluxshard.errors import EvaluationError
from fluxshard.pipeline.sinks.json_lines import read_records
from fluxshard.runtime.offload.dispatch import Decision, DispatchInputs, DispatchOptions, decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A frame whose recorded decision is not what its inputs give.

    Attributes:
      frame: number within the stream.
      recorded: as the run has it.
      decided: from the recorded inputs.
    """

    frame: int
    recorded: Decision
    decided: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementReplay:
    """A run's placements, checked.

    Attributes:
      frames: with a record.
      mismatches: frames that were placed otherwise than their inputs say; empty for an honest run.
      compared: frames that both endpoints ran, so that both times are known.
      regret_ms: mean over these, of the endpoint's time that answered over that of the faster one, the wait for a hedge
        included; None where there are none. They are those that were hedged or refreshed: not a fair sample of all. A
        refresh has no answer to send down, so the cloud looks a little better than it is.
      wrong: of these, frames that the slower endpoint answered.
    """

    frames: int
    mismatches: tuple[Mismatch, ...]
    compared: int
    regret_ms: float | None
    wrong: int


def replay_placements(path: Path, options: DispatchOptions) -> PlacementReplay:
    """Reads the `frames.jsonl` of a run in two places and decides every frame again.

    Args:
      path: of the file.
      options: of the run's dispatch, as in its summary.

    Raises:
      EvaluationError: it cannot be read, or has no frames with a placement record.
    """
    try:
        records = read_records(path)
    except (OSError, ValueError) as error:
        seen = error.strerror if isinstance(error, OSError) else str(error)
        raise EvaluationError(f"frames {str(path)!r} cannot be read: {seen}") from error
    placed = [record for record in records if record.placement is not None]
    if not placed:
        raise EvaluationError(
            f"frames {str(path)!r} have no placement records: give a file that `fluxshard edge` has written"
        )
    mismatches, regrets, wrong = [], [], 0
    for record in placed:
        assert record.placement is not None
        try:
            mismatch = _mismatch(record.placement, options)
            regret = _regret(record.placement, float(record.stats.get("edge_pre_ms") or 0.0))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EvaluationError(
                f"frame {record.frame} of {str(path)!r} has a record of another version "
                f"({type(error).__name__}: {error}): run it again"
            ) from error
        if mismatch is not None:
            mismatches.append(mismatch)
        if regret is not None:
            regrets.append(regret[0])
            wrong += regret[1]
    return PlacementReplay(
        frames=len(placed),
        mismatches=tuple(mismatches),
        compared=len(regrets),
        regret_ms=math.fsum(regrets) / len(regrets) if regrets else None,
        wrong=wrong,
    )


def _mismatch(placement: Mapping[str, Any], options: DispatchOptions) -> Mismatch | None:
    inputs = DispatchInputs(**_known(placement["inputs"], DispatchInputs))
    recorded = Decision(**_known(placement["decision"], Decision))
    decided = decide(inputs, options)
    same = decided.endpoint == recorded.endpoint and all(
        _equal(a, b) for a, b in ((decided.edge_ms, recorded.edge_ms), (decided.cloud_ms, recorded.cloud_ms))
    )
    return None if same else Mismatch(frame=int(placement["frame"]), recorded=recorded, decided=decided)


def _known(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Fields of a dataclass.

    Raises:
      ValueError: others are there, so the record means something else.
    """
    names = {field.name for field in fields(kind)}
    if set(values) - names:
        raise ValueError(f"unknown fields {sorted(set(values) - names)}")
    return dict(values)


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9))


def _regret(placement: Mapping[str, Any], pre_ms: float) -> tuple[float, bool] | None:
    """By how much the frame was answered later than the faster endpoint would have, and whether by the slower one."""
    times = {"edge": placement["edge_ms"], "cloud": placement["cloud_ms"]}
    by = placement["answered_by"]
    if by not in times or times["edge"] is None or times["cloud"] is None:
        return None
    faster = min(times.values())
    return max(0.0, float(placement["latency_ms"]) - pre_ms - faster), times[by] > faster
