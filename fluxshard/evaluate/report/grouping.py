"""Grouping of scores by method, clip and family, and the names that tables and plots show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.metrics.clip_scores import ClipScores


def by_method(scores: Sequence[ClipScores]) -> dict[str, dict[str, ClipScores]]:
    """Groups scores as method → clip → scores, in the order of their first appearance.

    Raises:
      EvaluationError: there are no scores, or two of the same method and clip.
    """
    if not scores:
        raise EvaluationError("there are no scores to report; evaluate at least the dense network on one clip")
    found: dict[str, dict[str, ClipScores]] = {}
    for entry in scores:
        clips = found.setdefault(entry.method, {})
        if entry.clip in clips:
            raise EvaluationError(
                f"there are two scores of {entry.method!r} on clip {entry.clip!r}; give methods names of their own"
            )
        clips[entry.clip] = entry
    return found


def scores_of(methods: Mapping[str, Mapping[str, ClipScores]], method: str) -> Mapping[str, ClipScores]:
    """Scores of one method by clip.

    Args:
      methods: result of `by_method`.
      method: name of the method.

    Raises:
      EvaluationError: the method was not evaluated.
    """
    if method not in methods:
        raise EvaluationError(f"there are no scores of {method!r}; there are {', '.join(map(repr, methods))}")
    return methods[method]


def score_of(methods: Mapping[str, Mapping[str, ClipScores]], method: str, clip: str) -> ClipScores:
    """Scores of one method on one clip.

    Args:
      methods: result of `by_method`.
      method: name of the method.
      clip: name of the clip.

    Raises:
      EvaluationError: the method was not evaluated, or not on the clip.
    """
    clips = scores_of(methods, method)
    if clip not in clips:
        raise EvaluationError(f"{method!r} has no scores on clip {clip!r}; it has {', '.join(map(repr, clips))}")
    return clips[clip]


def family_of(scores: ClipScores) -> str:
    """Family of the method, whose members differ only in settings; the method itself where it states none."""
    return str(scores.facts.get("family") or scores.method)


def parameter_of(scores: ClipScores) -> str:
    """Setting that distinguishes the method within its family: its fact "parameter", or its name without the family's.

    Empty where there is none.
    """
    if scores.facts.get("parameter"):
        return str(scores.facts["parameter"])
    family = family_of(scores)
    return scores.method.removeprefix(family).strip(" @:,") if scores.method.startswith(family) else ""


def label_of(scores: ClipScores) -> str:
    """Name of the method in figures."""
    return str(scores.facts.get("label") or scores.method)
