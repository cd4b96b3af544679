"""Where a map lies in a picture."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.models.detections.mask_moves import Pair


@dataclass(frozen=True, slots=True)
class Placement:
    """From the pixels of a picture to those of what a map describes.

    Attributes:
      size: (H, W) of what the map describes: the network's image, or the canvas.
      scale: (y, x) pixels of that per picture pixel.
      offset: (y, x) position of the picture's upper left corner in that.
    """

    size: tuple[int, int]
    scale: Pair = (1.0, 1.0)
    offset: Pair = (0.0, 0.0)

    def of_picture(self, scale: Pair, offset: Pair) -> Placement:
        """The same map below another picture.

        Args:
          scale: (y, x) pixels of the picture so far per pixel of the other one.
          offset: (y, x) position of the other one's upper left corner in the picture so far.
        """
        return Placement(
            size=self.size,
            scale=(self.scale[0] * scale[0], self.scale[1] * scale[1]),
            offset=(self.offset[0] + self.scale[0] * offset[0], self.offset[1] + self.scale[1] * offset[1]),
        )
