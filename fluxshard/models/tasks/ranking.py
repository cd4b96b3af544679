"""Rankings of classes: classification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from fluxshard.errors import ModelError
from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.tasks.maps import shapes_of
from fluxshard.models.tasks.result import name_of

TOP = 5  # classes that are shown and compared
_SUM = 1e-2  # scores whose sum is nearer to 1 are probabilities


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What the picture shows, the likeliest first.

    Attributes:
      probabilities: `(C,)` float32, of all classes.
    """

    probabilities: NDArray[np.float32]

    @property
    def classes(self) -> list[int]:
        """The likeliest classes, at most `TOP`; of equals the first."""
        return [int(index) for index in np.argsort(-self.probabilities, kind="stable")[:TOP]]

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> Ranking:
        """The same: it is of the picture as a whole."""
        return self

    def agreement(self, reference: Ranking) -> Mapping[str, float | None]:
        """`top1`: whether the likeliest class is the same, 0 or 1; `top5`: share of the likeliest that both have.

        `probability_error`: largest difference of a probability.
        """
        found, expected = self.classes, reference.classes
        difference = np.abs(self.probabilities - reference.probabilities).max()
        return {
            "top1": float(found[0] == expected[0]),
            "top5": len(set(found) & set(expected)) / len(expected),
            "probability_error": float(difference),
        }

    def as_json(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        """`ranking`: index, name and score of the likeliest classes."""
        return {
            "ranking": [
                {"class": index, "name": name_of(index, names), "score": round(float(self.probabilities[index]), 5)}
                for index in self.classes
            ]
        }


@dataclass(frozen=True, slots=True)
class ClassifyHead:
    """Takes the first output that is one vector of scores; call it with the outputs.

    Scores that are not probabilities already become so by a softmax.
    """

    def __call__(self, outputs: Any) -> Ranking:
        """The ranking.

        Args:
          outputs: of any structure, on the CPU.

        Raises:
          ModelError: no output is a vector of two classes or more.
        """
        for leaf in pytree.tree_leaves(outputs):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel() == max(leaf.shape, default=0) > 1:
                scores = leaf.detach().float().flatten()
                is_given = float(scores.min()) >= 0 and abs(float(scores.sum()) - 1) < _SUM
                return Ranking((scores if is_given else torch.softmax(scores, 0)).numpy())
        raise ModelError(
            f"outputs are {shapes_of(outputs)}, and none is a vector of classes (1, classes): "
            "give --task raw, or a network for classification"
        )
