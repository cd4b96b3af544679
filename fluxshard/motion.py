"""Motion fields: the displacement of the content of each cell since an earlier frame.

Motion is `(dy, dx)` in whole pixels of the network's input, with `source = position - motion` (the paper's m).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import OptionError, ShapeError

_NEAR_PX = 2.0  # flow of pixels that move along with their cell
CELL_PX = 8  # resolves every H.264 partition that decoders report

# Where a frame's motion comes from. A video says "codec" (vectors of the stream itself), "encoder" (vectors of an
# encoder that the images are run through), "block_matching" (a search) or "none"; a session, which only sees what it is
# handed, says "given" or "none".
MotionSource = Literal["codec", "encoder", "block_matching", "given", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class MotionField:
    """Block motion of one frame.

    Attributes:
      displacement: `(Hc, Wc, 2)` int16 `(dy, dx)` in input pixels; zero where invalid. Any integers are taken; cells
        whose displacement does not fit int16 become invalid.
      valid: `(Hc, Wc)` bool; False where the source is unknown: such cells are recomputed.
      cell_px: side of a cell in input pixels; `Hc = ceil(H / cell_px)`, `Wc = ceil(W / cell_px)`.

    Raises:
      ShapeError: wrong shapes or dtypes, or `cell_px` below 1.
    """

    displacement: NDArray[Any]  # any integers in; int16 after construction
    valid: NDArray[np.bool_]
    cell_px: int = CELL_PX

    def __repr__(self) -> str:
        rows, columns = self.valid.shape
        return f"MotionField({rows}x{columns} cells of {self.cell_px} px, {self.valid.mean():.0%} valid)"

    def __post_init__(self) -> None:
        displacement = np.asarray(self.displacement)
        valid = np.asarray(self.valid)
        if displacement.ndim != 3 or displacement.shape[2] != 2 or valid.shape != displacement.shape[:2]:
            raise ShapeError(
                f"motion: displacement has shape {displacement.shape} and valid {valid.shape}; "
                "expected (Hc, Wc, 2) and (Hc, Wc)"
            )
        if not np.issubdtype(displacement.dtype, np.integer) or valid.dtype != np.bool_:
            raise ShapeError(
                f"motion: displacement is {displacement.dtype} and valid is {valid.dtype}; "
                "expected whole pixels (int16) and bool"
            )
        _check_cell(self.cell_px)
        # vectors beyond int16 point outside every frame that the engine accepts: the source is unknown
        limit = np.iinfo(np.int16).max
        far = displacement.size and (displacement.min() < -limit or displacement.max() > limit)
        if far or displacement.dtype not in (np.int16, np.int32):
            inside = np.asarray((np.abs(displacement.astype(np.int64)) <= limit).all(-1))
            valid = np.logical_and(valid, inside)
            displacement = np.where(inside[..., None], displacement, 0).astype(np.int16)
        valid = np.ascontiguousarray(valid)
        displacement = displacement.astype(np.int16, order="C")
        if not valid.all():
            displacement[~valid] = 0
        object.__setattr__(self, "displacement", displacement)
        object.__setattr__(self, "valid", valid)

    @classmethod
    def trusted(cls, displacement: NDArray[np.int16], valid: NDArray[np.bool_], cell_px: int = CELL_PX) -> MotionField:
        """The field of arrays that are known to be as the attributes say, without looking at them or copying them.

        Args:
          displacement: contiguous, zero where invalid, and above -32768.
          valid: contiguous.
          cell_px: side of a cell in input pixels.
        """
        field = object.__new__(cls)
        object.__setattr__(field, "displacement", displacement)
        object.__setattr__(field, "valid", valid)
        object.__setattr__(field, "cell_px", cell_px)
        return field

    @classmethod
    def zero(cls, height: int, width: int, cell_px: int = CELL_PX) -> MotionField:
        """The field of a still frame of `(height, width)` pixels."""
        return cls.uniform(height, width, 0, 0, cell_px)

    @classmethod
    def uniform(cls, height: int, width: int, dy: int, dx: int, cell_px: int = CELL_PX) -> MotionField:
        """The field of a frame whose content moved as a whole.

        Args:
          height: of the frame in pixels.
          width: of the frame in pixels.
          dy: motion along y in pixels.
          dx: motion along x in pixels.
          cell_px: side of a cell in pixels.

        Raises:
          ShapeError: what is no whole number, or a size without pixels.
        """
        _check_cell(cell_px)
        for name, value, least in (("height", height, 1), ("width", width, 1), ("dy", dy, None), ("dx", dx, None)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or (least is not None and value < least):
                at_least = "" if least is None else f" of at least {least}"
                raise ShapeError(f"motion: {name} (={value!r}) must be a whole number{at_least}, in pixels")
        shape = cells(height, cell_px), cells(width, cell_px)
        displacement = np.empty((*shape, 2), np.int64)
        displacement[...] = (dy, dx)
        return cls(displacement, np.ones(shape, np.bool_), cell_px)

    @classmethod
    def from_flow(
        cls, flow: NDArray[Any], direction: Literal["backward", "forward"], *, cell_px: int = CELL_PX
    ) -> MotionField:
        """The field of dense optical flow, as OpenCV and networks give it.

            flow = cv2.calcOpticalFlowFarneback(grey, grey_before, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            motion = MotionField.from_flow(flow, "backward")

        A cell gets the median of its pixels, rounded to whole pixels. It is valid where at least half of the pixels
        have a flow within 2 px of that.

        Args:
          flow: `(H, W, 2)` floats or integers, x before y, in pixels of the network's image.
          direction: "backward": from this picture to the one before, `flow(picture, before)`: pixel p was at
            `p + flow[p]`; exact, and the one to prefer. "forward": from the picture before to this one,
            `flow(before, picture)`: the pixel that was at q is at `q + flow[q]`; cells that less than half of their
            pixels have come to are invalid.
          cell_px: side of a cell in pixels.

        Raises:
          ShapeError: a flow of another shape or type.
          OptionError: a direction that there is not.
        """
        given = np.asarray(flow)
        if direction not in ("backward", "forward"):
            raise OptionError(f"direction (={direction!r}) must be 'backward' or 'forward'")
        if given.ndim != 3 or given.shape[2] != 2 or not given.size:
            turned = ": pass flow.transpose(1, 2, 0)" if given.ndim == 3 and given.shape[0] == 2 else ""
            raise ShapeError(f"flow is {given.shape} {given.dtype}; expected (H, W, 2), x before y, in pixels{turned}")
        if not (np.issubdtype(given.dtype, np.floating) or np.issubdtype(given.dtype, np.integer)):
            raise ShapeError(f"flow is {given.shape} {given.dtype}; expected floats or integers, in pixels")
        _check_cell(cell_px)
        towards = given[..., ::-1].astype(np.float32)
        if direction == "backward":
            return cls(*_reduced(-towards, np.asarray(np.isfinite(towards).all(-1)), cell_px), cell_px)
        return cls(*_reduced(*_arrived(towards), cell_px), cell_px)

    def check_covers(self, height: int, width: int) -> None:
        """Checks that the field has one entry per cell of a frame of `(height, width)` pixels.

        Raises:
          ShapeError: it has other cells.
        """
        expected = cells(height, self.cell_px), cells(width, self.cell_px)
        if self.valid.shape != expected:
            raise ShapeError(
                f"motion: {self.valid.shape} cells of {self.cell_px} px do not cover an image of {height}x{width} px; "
                f"expected {expected}"
            )


def _check_cell(cell_px: object) -> None:
    if isinstance(cell_px, bool) or not isinstance(cell_px, int) or cell_px < 1:
        raise ShapeError(f"motion: cell_px (={cell_px!r}) must be a whole number of at least 1")


def _arrived(forward: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The displacement of what has come to each pixel, and where anything has; of several, one.

    Args:
      forward: `(H, W, 2)` (dy, dx) at the pixels that they start from.
    """
    height, width = forward.shape[:2]
    known: NDArray[np.bool_] = np.asarray(np.isfinite(forward).all(-1))
    steps = np.rint(np.where(known[..., None], np.clip(forward, -1e6, 1e6), 0)).astype(np.int64)
    y, x = np.indices((height, width)) + np.moveaxis(steps, -1, 0)
    known &= (y >= 0) & (y < height) & (x >= 0) & (x < width)
    found, there = np.zeros_like(forward), np.zeros((height, width), np.bool_)
    found[y[known], x[known]] = forward[known]
    there[y[known], x[known]] = True
    return found, there


def _reduced(
    displacement: NDArray[np.float32], known: NDArray[np.bool_], cell_px: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Displacement and validity of cells from those of pixels, see `MotionField.from_flow`."""
    height, width = known.shape
    rows, columns = cells(height, cell_px), cells(width, cell_px)
    padded = np.full((rows * cell_px, columns * cell_px, 2), np.nan, np.float32)
    padded[:height, :width] = np.where(known[..., None], displacement, np.nan)
    inside = np.zeros(padded.shape[:2], np.bool_)
    inside[:height, :width] = True

    def by_cell(pixels: NDArray[Any]) -> NDArray[Any]:
        split = pixels.reshape(rows, cell_px, columns, cell_px, -1)
        return np.moveaxis(split, 1, 2).reshape(rows, columns, cell_px * cell_px, -1)

    values = np.sort(by_cell(padded), axis=2)  # what is not known comes last
    count = np.isfinite(values[..., 0]).sum(2)
    middle = np.maximum(count - 1, 0) // 2
    found = np.take_along_axis(values, middle[..., None, None], axis=2)[:, :, 0]
    near = (np.abs(by_cell(padded) - found[:, :, None]) <= _NEAR_PX).all(-1).sum(2)
    valid = (count > 0) & (2 * near >= by_cell(inside)[..., 0].sum(2))
    return np.rint(np.where(valid[..., None], np.clip(found, -1e6, 1e6), 0)).astype(np.int64), valid


def cells(length_px: int, cell_px: int) -> int:
    """Number of cells that cover `length_px` pixels."""
    return -(-length_px // cell_px)


def centres(length_px: int, cell_px: int = CELL_PX) -> NDArray[np.int64]:
    """Middle pixel of every cell along one axis, at most the last pixel of the frame."""
    return np.minimum(np.arange(cells(length_px, cell_px), dtype=np.int64) * cell_px + cell_px // 2, length_px - 1)


def accumulate(earlier: MotionField, later: MotionField, height: int, width: int) -> MotionField:
    """Composes two fields: `m(p) <- earlier(p - later(p)) + later(p)`.

    A cell is followed from its middle: the earlier motion is that of the cell that holds the source. The result is
    invalid where the source is invalid or outside the frame.

    Source: the paper's Eq. 15.

    Args:
      earlier: motion from an old frame to the previous one.
      later: motion from the previous frame to the current one, on the same cells.
      height: of the frame in pixels.
      width: of the frame in pixels.

    Raises:
      ShapeError: the fields have different cells.
    """
    if earlier.valid.shape != later.valid.shape or earlier.cell_px != later.cell_px:
        raise ShapeError(
            f"motion: cannot compose {earlier.valid.shape} cells of {earlier.cell_px} px with "
            f"{later.valid.shape} cells of {later.cell_px} px"
        )
    cell = later.cell_px
    # both axes at once, and one look-up of both: this is most of what a frame costs that is not computed
    limit = np.array((height, width), np.int32)
    middles = np.empty((*later.valid.shape, 2), np.int32)
    middles[..., 0], middles[..., 1] = centres(height, cell)[:, None], centres(width, cell)
    source = middles - later.displacement
    nearest = np.minimum(np.maximum(source, 0), limit - 1)
    kept = source == nearest
    inside = kept[..., 0] & kept[..., 1]
    nearest //= cell
    where = nearest[..., 0] * np.int32(later.valid.shape[1]) + nearest[..., 1]
    pairs = earlier.displacement.reshape(-1, 2).view(np.int32).ravel().take(where)
    total = pairs[..., None].view(np.int16).astype(np.int32) + later.displacement
    return MotionField(total, later.valid & inside & earlier.valid.take(where), cell)
