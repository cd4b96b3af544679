"""One frame of a video as input of a network."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.motion import MotionField, MotionSource
from fluxshard.video.letterbox import Letterbox, to_image, to_planes
from fluxshard.video.packet import Packet


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A letterboxed picture and its motion since the previously yielded frame.

    Sessions take `planes`, or `pixels`, as well as `image`, which is made when it is asked for.

    Attributes:
      motion: motion since the previously yielded frame, whole pixels of `image`, on cells of 8 px; None where unknown.
      index: frame number in the source from 0, dropped frames included.
      time_s: seconds since the first frame of the source.
      motion_source: "codec" (vectors of the stream itself), "block_matching" (a search in the images), "encoder"
        (vectors of a fast encoder that the images run through) or "none" (no motion).
      letterbox: how the picture was placed into `image`.
      picture: `(h, w, 3)` uint8, RGB, the frame as it was decoded.
      pixels: `(H, W, 3)` uint8, RGB, what `image` was made from: the letterboxed picture, or what is decoded from its
        packet where packets are encoded here.
      packets: packets of the stream since the previously yielded frame, those of dropped frames included. The last one
        holds this frame. Empty unless asked for.
      packet_number: number of the packet that holds this frame; None without packets.
      captured_s: when the frame was there, on this machine's monotonic clock.
      starts_anew: nothing that was computed of earlier frames may be reused: the pictures have another size from here
        on, or a live source has begun again.
      gap_s: seconds without pictures before this frame, where a live source broke off or was paused.
    """

    motion: MotionField | None
    index: int
    time_s: float
    motion_source: MotionSource
    letterbox: Letterbox
    picture: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    packets: tuple[Packet, ...] = ()
    packet_number: int | None = None
    captured_s: float = field(default_factory=time.monotonic)
    starts_anew: bool = False
    gap_s: float = 0.0
    _image: Tensor | None = field(default=None, init=False, repr=False)

    def __repr__(self) -> str:
        height, width = self.letterbox.size
        packets = f", {len(self.packets)} packets" if self.packets else ""
        motion = f"motion from {self.motion_source}"
        return f"Frame({self.index} at {self.time_s:.3f} s, {height}x{width} px, {motion}{packets})"

    @property
    def image(self) -> Tensor:
        """`(1, 3, H, W)` float32, RGB, 0..1, letterboxed; made of `pixels` the first time, and kept."""
        if self._image is None:
            object.__setattr__(self, "_image", to_image(self.pixels))
        assert self._image is not None
        return self._image

    @property
    def planes(self) -> Tensor:
        """`(1, 3, H, W)` uint8, RGB, letterboxed: a view of `pixels`."""
        return to_planes(self.pixels)
