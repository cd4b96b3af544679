"""Input size of the network for pictures of a given size: the meaning of `--size`."""

from __future__ import annotations

import re

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel

DEFAULT_LONG_SIDE_PX = 640
LARGEST_SIDE_PX = 8192


def parse_size(text: str) -> int | tuple[int, int]:
    """Parses "640" (long side) or "384x640" (height x width), in pixels.

    Raises:
      OptionError: the text is neither, or a side is too large.
    """
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text.strip())
    sides = [int(group) for group in match.groups() if group is not None] if match else []
    if not sides or not all(1 <= side <= LARGEST_SIDE_PX for side in sides):
        raise OptionError(
            f"--size (={text!r}) must be a long side such as 640, or HEIGHTxWIDTH such as 384x640, "
            f"of at most {LARGEST_SIDE_PX} px"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def image_shape(size: str | None, picture: tuple[int, int], stride_px: int = 32) -> tuple[int, int]:
    """Size (H, W) of images for a network that takes any.

    A single number is the long side; the short side follows the picture's aspect ratio. Both are rounded up to
    multiples of the network's stride, at least 32 px.

    Args:
      size: text of `--size`; None takes a long side of 640 px.
      picture: (h, w) of the pictures.
      stride_px: of the network.

    Raises:
      OptionError: the text cannot be parsed.
    """
    wanted = DEFAULT_LONG_SIDE_PX if size is None else parse_size(size)
    if not isinstance(wanted, int):
        return wanted
    step = max(stride_px, 32)
    long_side = -(-wanted // step) * step
    short_side = -(-(wanted * min(picture) // max(picture)) // step) * step
    short_side = max(step, short_side)
    return (long_side, short_side) if picture[0] > picture[1] else (short_side, long_side)


def network_shape(size: str | None, picture: tuple[int, int], loaded: LoadedModel) -> tuple[int, int]:
    """Input size (H, W) that the network is compiled for.

    What it means is what `image_shape` says.

    Args:
      size: text of `--size`; None takes the network's own size, the one of a saved model that fits the pictures best,
        or a long side of 640 px.
      picture: (h, w) of the pictures.
      loaded: network.

    Raises:
      OptionError: the text cannot be parsed, or the network does not accept the size.
    """
    if loaded.saved is not None:
        return _saved_shape(size, picture, loaded.saved.image_sizes, loaded.stride_px)
    own = loaded.input_shape if size is None else None
    shape = own or image_shape(size, picture, loaded.stride_px)
    if loaded.input_shape is not None and shape != loaded.input_shape:
        height, width = loaded.input_shape
        raise OptionError(f"--size (={size}) must be {height}x{width}: the program was exported for that size")
    if any(side % loaded.stride_px for side in shape):
        raise OptionError(
            f"--size (={size}) must have sides that are multiples of the network's stride, {loaded.stride_px} px"
        )
    return shape


def _saved_shape(
    size: str | None, picture: tuple[int, int], saved: tuple[tuple[int, int], ...], stride_px: int
) -> tuple[int, int]:
    if size is not None:
        shape = image_shape(size, picture, stride_px)
        if shape not in saved:
            known = ", ".join(f"{height}x{width}" for height, width in saved)
            raise OptionError(
                f"--size (={size}) is {shape[0]}x{shape[1]} for these pictures, and the model was saved for {known}: "
                "give one of these, or export the model for this size, too"
            )
        return shape

    def waste(shape: tuple[int, int]) -> tuple[float, int]:
        """Share of the image that the letterbox leaves empty; the larger of equals."""
        scale = min(shape[0] / picture[0], shape[1] / picture[1])
        empty = 1 - scale * scale * picture[0] * picture[1] / (shape[0] * shape[1])
        return round(empty, 2), -shape[0] * shape[1]

    return min(saved, key=waste)
