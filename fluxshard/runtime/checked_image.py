"""What a session takes as an image."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import ShapeError, warn
from fluxshard.motion import CELL_PX, MotionField, cells
from fluxshard.options import OBJECT, SMALL_OBJECT


@runtime_checkable
class VideoFrame(Protocol):
    """A frame of `fluxshard.video`, as far as sessions take it."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """`(H, W, 3)` uint8 RGB."""
        ...

    @property
    def motion(self) -> MotionField | None:
        """Since the frame before."""
        ...


Picture: TypeAlias = Tensor | NDArray[Any] | VideoFrame

_EXPECTED = "(1, C, H, W) torch.float32 or torch.uint8, or a picture (H, W, 3) of uint8"
_CHANNELS = (1, 3, 4)  # of pictures that lie the other way round
_FAR = 8.0  # from the range of pixels, in widths of it; normalised images stay within 3 or so
_EVERY = 8  # pixel of a row and row that is looked at


def checked_image(given: Any) -> Tensor:
    """An image, or a picture as one: `(1, C, H, W)` float32, or uint8 of any strides.

    Nothing is copied but what torch has no view of, arrays that are mirrored or read-only, and what is converted, other
    floating types.

    Args:
      given: `(1, C, H, W)` of any floating type or uint8, or `(H, W, 3)` uint8, of torch or numpy; or a frame of a
        video, whose pixels are taken.

    Raises:
      ShapeError: anything else.
    """
    if not isinstance(given, (Tensor, np.ndarray)) and isinstance(given, VideoFrame):
        given = given.pixels
    name = type(given).__name__
    if isinstance(given, np.ndarray):
        given = _tensor(given)
    if not isinstance(given, Tensor):
        raise ShapeError(f"image is a {name}; expected a tensor, an array or a frame of a video: {_EXPECTED}")
    if given.dtype != torch.uint8 and not given.is_floating_point():
        raise ShapeError(f"{_seen(given)}; expected {_EXPECTED}: pass image.float(), or image.to(torch.uint8) of bytes")
    if given.dim() == 3 and given.dtype == torch.uint8 and given.shape[2] == 3:
        image = given.permute(2, 0, 1)[None]
    elif given.dim() == 4:
        image = given
    else:
        raise ShapeError(f"{_seen(given)}; expected {_EXPECTED}: {_way_out(given)}")
    _check_layout(image, given)
    return image if image.dtype in (torch.float32, torch.uint8) else image.float()


def checked_motion(given: Any, size: tuple[int, int]) -> MotionField | None:
    """Motion that covers an image of (H, W) pixels.

    Raises:
      ShapeError: no motion field, or one of other cells.
    """
    if given is None:
        return None
    if not isinstance(given, MotionField):
        raise ShapeError(
            f"motion is a {type(given).__name__}; expected a MotionField or None: make one of blocks with "
            "MotionField(displacement, valid), of dense optical flow with MotionField.from_flow"
        )
    given.check_covers(*size)
    return given


def checked_regions(given: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Regions of `Session.focus` for outputs that describe (H, W) pixels.

    Raises:
      ShapeError: another shape, type or value.
    """
    expected = cells(size[0], CELL_PX), cells(size[1], CELL_PX)
    if not isinstance(given, np.ndarray) or given.shape != expected or given.dtype not in (np.bool_, np.uint8):
        seen = f"{given.shape} {given.dtype}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise ShapeError(
            f"regions are {seen}; expected {expected} uint8 or bool: one per 8 px of the outputs' "
            f"{size[0]}x{size[1]} px"
        )
    if given.max(initial=0) > SMALL_OBJECT:
        raise ShapeError(
            f"regions have values up to {given.max()}; allowed are 0, {OBJECT} where there is an object, and "
            f"{SMALL_OBJECT} for a small one"
        )
    return given.astype(np.uint8)


def motion_of(image: Any, motion: MotionField | None) -> Any:
    """The motion that is given with an image: that of a video's frame where nothing else is."""
    if motion is None and not isinstance(image, (Tensor, np.ndarray)) and isinstance(image, VideoFrame):
        return image.motion
    return motion


def placed(image: Tensor, given: Any, expected: torch.device) -> Tensor:
    """The image where its model runs: arrays and frames are copied there, tensors have to be there.

    Args:
      image: what `checked_image` made of `given`.
      given: by the caller.
      expected: device of the model.

    Raises:
      ShapeError: a tensor on another device.
    """
    if not isinstance(given, Tensor):
        return image.to(expected)
    if image.is_cpu and expected.type == "cpu":
        return image
    if image.device.type != expected.type or (expected.index is not None and image.device.index != expected.index):
        move = "image.cpu()" if expected.type == "cpu" else f"image.to('{expected}')"
        raise ShapeError(f"image is on {image.device}; this model was compiled for {expected}: pass {move}")
    return image


def notice_range(image: Tensor, pixel_range: tuple[float, float]) -> bool:
    """Warns of an image whose values are far above those that black and white are said to have.

    Args:
      image: float32.
      pixel_range: values of black and white, see `PlannedOptions`.

    Returns:
      whether it has warned.
    """
    low, high = pixel_range
    part = image.detach()[..., ::_EVERY, ::_EVERY]
    most = float(part.amax()) if part.numel() else high
    if not high + _FAR * (high - low) < most < float("inf"):
        return False
    warn(
        f"image has values of up to {most:.4g}, and black and white are said to be {low:g} and {high:g}: results are "
        "wrong where the network was trained on images of this range. Pass bytes as uint8, which stand for p / 255, or "
        f"image / 255; for a network of such values, say PlannedOptions(pixel_range=(0, {max(255.0, most):g}))"
    )
    return True


def _tensor(given: NDArray[Any]) -> Tensor | NDArray[Any]:
    """An array as a tensor, without a copy where torch has a view of it."""
    whole = given if min(given.strides, default=0) >= 0 and given.flags.writeable else given.copy("C")
    try:
        return torch.from_numpy(whole)
    except TypeError:  # of a type that torch does not have
        return given


def _seen(given: Tensor) -> str:
    return f"image is {tuple(given.shape)} {given.dtype}"


def _check_layout(image: Tensor, given: Tensor) -> None:
    batch, channels, height, width = image.shape
    if not (batch and channels and height and width):
        raise ShapeError(f"{_seen(given)}; expected {_EXPECTED}: this image is empty")
    if width in _CHANNELS and channels not in _CHANNELS:
        one = "one at a time: pass image[0]" if image.dtype == torch.uint8 and width == 3 else ""
        raise ShapeError(
            f"{_seen(given)}; expected {_EXPECTED}, {one or 'channels first: pass image.permute(0, 3, 1, 2)'}"
        )
    if batch != 1:
        raise ShapeError(
            f"image has batch {batch}; a session runs one frame at a time: make one session per stream, and "
            "pass image[:1]"
        )


def _way_out(given: Tensor) -> str:
    """What to do about a wrong number of dimensions, or of channels."""
    shape, is_bytes = given.shape, given.dtype == torch.uint8
    if given.dim() == 2:
        return (
            "pass a grey picture as image[None, None], or to a network of colours as image[..., None].expand(-1, -1, 3)"
        )
    if given.dim() != 3:
        return "one image at a time"
    if shape[2] not in _CHANNELS or shape[0] in _CHANNELS:
        return "pass planes as image[None]"
    if is_bytes:
        return (
            "pass image[..., :3] without its fourth channel" if shape[2] == 4 else "pass image.permute(2, 0, 1)[None]"
        )
    return "channels first, in the range that the network expects: pass image.permute(2, 0, 1)[None]"
