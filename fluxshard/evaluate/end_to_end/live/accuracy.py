"""How good the answers are that an edge was given: each against its own frame's annotation or dense result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fluxshard.evaluate.data.clips import Clip, annotation_masks
from fluxshard.evaluate.data.masks import encode
from fluxshard.evaluate.end_to_end.live.answers import Answers
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.metrics.score import score
from fluxshard.evaluate.traces.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What a clip's answers are compared with.

    Attributes:
      dense: trace of the dense network on every frame.
      annotations: run lengths per frame; None without.
    """

    dense: Trace
    annotations: tuple[str, ...] | None

    @classmethod
    def of(cls, clip: Clip, dense: Trace) -> Reference:
        """Reads a clip's annotations, where there are some.

        Raises:
          EvaluationError: they do not fit the clip.
        """
        masks = annotation_masks(clip, len(dense.frames), dense.picture_size)
        return cls(dense=dense, annotations=None if masks is None else tuple(map(encode, masks)))

    def scores(self) -> ClipScores:
        """Of the dense network itself."""
        return score(self.dense, self.dense, self.annotations)

    def accuracy(self, answers: Answers, measure: str) -> tuple[Floats, Floats]:
        """Accuracy of the counted frames, and of the dense network on them; NaN where there is none.

        Args:
          answers: of the clip.
          measure: name in `FrameScores`.
        """
        pictures = answers.columns["picture"].astype(int)
        dense = replace(self.dense, frames=tuple(self.dense.frames[at] for at in pictures))
        marks = None if self.annotations is None else [self.annotations[at] for at in pictures]
        own = score(answers.trace, dense, marks).column(measure)
        own[answers.columns["answered"] == 0] = np.nan
        return own, score(dense, dense, marks).column(measure)
