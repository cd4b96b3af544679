"""Maps of classes: semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ModelError
from fluxshard.models.detections.mask_moves import Pair
from fluxshard.models.tasks.maps import maps_among, shapes_of
from fluxshard.models.tasks.placed_map import Placement
from fluxshard.models.tasks.result import name_of


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """The class of every cell.

    Attributes:
      labels: `(h, w)` uint8 or int32 class indices.
      classes: number of classes; of a map of labels, one more than the largest.
      placement: of the map in the picture.
      shape: (H, W) of the picture.
    """

    labels: NDArray[Any]
    classes: int
    placement: Placement
    shape: tuple[int, int]

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> ClassMap:
        """The same map in another picture; see `Detections.to_picture`."""
        return replace(self, placement=self.placement.of_picture(scale, offset), shape=shape)

    def cropped(self) -> NDArray[Any]:
        """Labels of the cells that the picture covers, `(h, w)`: of all that it covers at least half."""
        rows, columns = self.placement.cells(self.labels.shape, self.shape)
        return self.labels[rows.start : rows.stop, columns.start : columns.stop]

    def of_pixels(self) -> NDArray[Any]:
        """Class of every pixel of the picture, `(H, W)`: that of the nearest cell."""
        rows, columns = self.placement.nearest(self.labels.shape, self.shape)
        classes: NDArray[Any] = self.labels[rows[:, None], columns[None, :]]
        return classes

    def shares(self) -> dict[int, float]:
        """Share of the picture that each class has, those with none left out, by index."""
        counts = np.bincount(self.cropped().ravel().astype(np.int64), minlength=1)
        total = max(int(counts.sum()), 1)
        return {int(index): float(counts[index] / total) for index in np.flatnonzero(counts)}

    def agreement(self, reference: ClassMap) -> Mapping[str, float | None]:
        """`same`: share of the cells with the same class; `miou`: mean IoU of the classes that either map has."""
        found, expected = self.cropped(), reference.cropped()
        if found.shape != expected.shape:  # of a canvas, which may begin within a cell
            rows, columns = (
                np.minimum(np.arange(n) * m // max(n, 1), m - 1)
                for n, m in zip(expected.shape, found.shape, strict=True)
            )
            found = found[rows[:, None], columns[None, :]]
        if not found.size:
            return {"same": None, "miou": None}
        count = int(max(found.max(), expected.max())) + 1
        pairs = np.bincount((expected.astype(np.int64) * count + found).ravel(), minlength=count * count).reshape(
            count, count
        )
        both, either = np.diagonal(pairs), pairs.sum(0) + pairs.sum(1) - np.diagonal(pairs)
        seen = either > 0
        return {"same": float(both.sum() / pairs.sum()), "miou": float((both[seen] / either[seen]).mean())}

    def as_json(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        """`classes`: index, name and share of each; `map`: run lengths of the labels, row by row, over the picture."""
        shares = sorted(self.shares().items(), key=lambda entry: -entry[1])
        labels = self.cropped()
        flat = labels.ravel()
        starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1]))) if flat.size else np.zeros(0, np.int64)
        return {
            "classes": [
                {"class": index, "name": name_of(index, names), "share": round(share, 5)} for index, share in shares
            ],
            "map": {
                "size": list(labels.shape),
                "labels": flat[starts].tolist(),
                "counts": np.diff(np.concatenate((starts, [flat.size]))).tolist(),
            },
        }


@dataclass(frozen=True, slots=True)
class SemanticHead:
    """Takes the class with the highest score of every cell; call it with the outputs.

    The first output that is a map counts (see `maps_among`): others are those of training. Integers of one channel are
    classes already. Of one channel of scores, those above 0, or above 0.5 where all are in 0..1, are class 1.

    Attributes:
      shape: (H, W) of what the outputs describe: the image, or the canvas.
    """

    shape: tuple[int, int]

    def __call__(self, outputs: Any) -> ClassMap:
        """The map of classes.

        Args:
          outputs: of any structure, on the CPU.

        Raises:
          ModelError: no output is a map.
        """
        maps = maps_among(outputs, self.shape)
        if not maps:
            raise ModelError(
                f"outputs are {shapes_of(outputs)}, and none is a map of classes (1, classes, h, w) of an image of "
                f"{self.shape[0]}x{self.shape[1]}: give --task raw, or a network for semantic segmentation"
            )
        scores = maps[0].detach()
        scores = scores.reshape(-1, *scores.shape[-2:])
        labels, classes = _labels(scores)
        return ClassMap(labels, classes, Placement(self.shape), self.shape)


def _labels(scores: Tensor) -> tuple[NDArray[Any], int]:
    count = len(scores)
    if count > 1:
        best = scores.max(0).indices  # argmax takes up to five times as long
    elif not scores.is_floating_point():
        best = scores[0].long().clamp_min(0)
        count = int(best.max()) + 1
    else:
        is_share = float(scores.min()) >= 0 and float(scores.max()) <= 1
        best, count = (scores[0] > (0.5 if is_share else 0.0)).long(), 2
    return best.to(torch.uint8 if count <= 256 else torch.int32).numpy(), count
