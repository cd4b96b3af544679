"""How decoded pixels are turned and mirrored before they are shown. Without torch: a process without it decodes videos.

Sources: FFmpeg's display matrix (libavutil/display.h); EXIF 2.3, tag 0x0112 (Orientation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideData
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """Rows and columns are exchanged first, if they are; then the picture is mirrored.

    Attributes:
      transposed: rows become columns.
      flips_y: rows are in reverse order.
      flips_x: columns are.
    """

    transposed: bool = False
    flips_y: bool = False
    flips_x: bool = False

    @property
    def upright(self) -> bool:
        """Pixels are shown as they were decoded."""
        return not (self.transposed or self.flips_y or self.flips_x)

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The pixels `(h, w, ...)` as they are shown; a view."""
        shown = picture.swapaxes(0, 1) if self.transposed else picture
        return shown[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of what is shown."""
        return (width, height) if self.transposed else (height, width)


# by EXIF's number: how the first row and the first column of what is stored lie in what is shown
_OF_EXIF = {
    2: Orientation(flips_x=True),
    3: Orientation(flips_y=True, flips_x=True),
    4: Orientation(flips_y=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, flips_x=True),
    7: Orientation(transposed=True, flips_y=True, flips_x=True),
    8: Orientation(transposed=True, flips_y=True),
}


def orientation_of_exif(number: object) -> Orientation:
    """By the value of EXIF's tag; upright where it says nothing that is known."""
    return _OF_EXIF.get(number, Orientation()) if isinstance(number, int) else Orientation()


# by the number of counterclockwise quarter turns that make pixels upright
_OF_TURNS = (Orientation(), _OF_EXIF[8], _OF_EXIF[3], _OF_EXIF[6])


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """By the display matrix that a decoded frame carries, to the nearest quarter turn."""
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # a frame with side data of a kind that this PyAV has no name for; mirrored pictures look turned
        return _OF_TURNS[round(frame.rotation / 90) % 4]
    if not isinstance(found, SideData):
        return Orientation()
    matrix = np.frombuffer(bytes(found), np.int32).tolist()
    # column x and row y of what is stored are shown at column a x + c y and row b x + d y, up to where these begin
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flips_y=d < 0, flips_x=a < 0)
    return Orientation(transposed=True, flips_y=b < 0, flips_x=c < 0)
