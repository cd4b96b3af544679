"""A smaller picture made of the tiles of an image that hold flagged pixels, for codecs that know only rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.cloud.wire.mask_codec import Mask
from fluxshard.cloud.wire.pixels.flagged import put_flagged, take_flagged

TILE_PX = 8
BLOCK_PX = 16  # 2 x 2 tiles: what JPEG codes as one with 4:2:0
_TILES = 4  # of a block
_PIECE = np.dtype((np.void, 3 * TILE_PX))  # one row of a tile
_EMPTY = 128  # value of a sheet's pixels that belong to no tile


@dataclass(frozen=True, slots=True, eq=False)
class TileSheet:
    """Which tile of an image lies where. Both sides make it from the mask.

    Blocks of 16 px that are flagged in all four tiles come first, in raster order, so that neighbours stay together;
    the other tiles follow, four to a block. The image of a mask that is set everywhere is its own sheet.

    Attributes:
      size: (H, W) of the image.
      pieces: for each row of each tile on the sheet, its number in the image, which is padded to whole blocks; one more
        than there are where there is no tile. None for the image itself.
    """

    size: tuple[int, int]
    pieces: NDArray[np.intp] | None

    @staticmethod
    def of(mask: Mask, most_columns: int) -> TileSheet:
        """The sheet of a mask.

        Args:
          mask: `(H, W)`, not empty.
          most_columns: blocks in a row of the sheet.
        """
        height, width = mask.shape
        if mask.all():
            return TileSheet((height, width), None)
        padded = np.zeros(_padded(height, width), np.bool_)
        padded[:height, :width] = mask
        rows, columns = padded.shape[0] // TILE_PX, padded.shape[1] // TILE_PX
        eights = padded.view(np.uint64).reshape(rows, TILE_PX, columns)  # one number is a row of a tile
        flagged = _by_block(np.bitwise_or.reduce(eights, axis=1) != 0)
        first_pieces = np.arange(rows)[:, None] * (TILE_PX * columns) + np.arange(columns)
        numbers = _by_block(first_pieces)
        whole = flagged.all(1)
        tiles = np.concatenate([numbers[whole].reshape(-1), numbers[~whole][flagged[~whole]]])
        n_blocks = -(-len(tiles) // _TILES)
        across = min(n_blocks, most_columns)
        down = -(-n_blocks // across)
        pieces = np.full((down * across * _TILES, TILE_PX), rows * TILE_PX * columns, np.intp)
        pieces[: len(tiles)] = tiles[:, None] + columns * np.arange(TILE_PX)
        on_sheet = pieces.reshape(down, across, 2, 2, TILE_PX).transpose(0, 2, 4, 1, 3)
        return TileSheet((height, width), on_sheet.reshape(BLOCK_PX * down, 2 * across))

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the sheet in pixels."""
        return self.size if self.pieces is None else (self.pieces.shape[0], TILE_PX * self.pieces.shape[1])

    def pack(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The sheet of an image: its tiles as they are, with pixels that are not flagged.

        Args:
          pixels: `(H, W, 3)`; beyond its edges, they are repeated.
        """
        if self.pieces is None:
            return np.ascontiguousarray(pixels)
        (height, width), (rows, columns) = self.size, _padded(*self.size)
        padded = np.empty(3 * rows * columns + _PIECE.itemsize, np.uint8)
        padded[-_PIECE.itemsize :] = _EMPTY
        image = padded[: -_PIECE.itemsize].reshape(rows, columns, 3)
        image[:height, :width] = pixels
        image[:height, width:] = pixels[:, -1:]
        image[height:] = image[height - 1]
        return padded.view(_PIECE)[self.pieces].view(np.uint8).reshape(*self.shape, 3)

    def unpack(self, sheet: NDArray[np.uint8], mask: Mask, cached: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image: pixels of the sheet where the mask is set, the given ones elsewhere.

        Args:
          sheet: `(*shape, 3)`, contiguous.
          mask: `(H, W)`, that the sheet is of.
          cached: `(H, W, 3)`.
        """
        if self.pieces is None:
            return sheet
        (height, width), (rows, columns) = self.size, _padded(*self.size)
        padded = np.empty(3 * rows * columns + _PIECE.itemsize, np.uint8)
        padded.view(_PIECE)[self.pieces] = sheet.reshape(-1).view(_PIECE).reshape(self.pieces.shape)
        placed = padded[: -_PIECE.itemsize].reshape(rows, columns, 3)[:height, :width]
        image = np.array(cached, order="C")
        put_flagged(image, mask, take_flagged(placed, mask))
        return image


def _padded(height: int, width: int) -> tuple[int, int]:
    """Size of an image in whole blocks."""
    return -(-height // BLOCK_PX) * BLOCK_PX, -(-width // BLOCK_PX) * BLOCK_PX


def _by_block(tiles: NDArray[Any]) -> NDArray[Any]:
    """`(2 R, 2 C)` per tile as `(R C, 4)` per block."""
    rows, columns = tiles.shape[0] // 2, tiles.shape[1] // 2
    return tiles.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3).reshape(-1, _TILES)
