"""Tensors of an island: a buffer read through a shape, strides and an offset, as in numpy. Views cost nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Numbers of a buffer as a tensor.

    Attributes:
      buffer: index of the buffer in its program.
      shape: sizes of the axes.
      strides: floats between neighbours along each axis; 0 repeats, negative runs backwards.
      offset: of the first element, in floats.
    """

    buffer: int
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in order, one after another."""
        wanted = contiguous_strides(self.shape)
        return all(n == 1 or one == two for n, one, two in zip(self.shape, self.strides, wanted, strict=True))

    @property
    def has_neighbours(self) -> bool:
        """Whether elements next to one another along the last axis of more than one are so in memory."""
        return next((step == 1 for n, step in zip(self.shape[::-1], self.strides[::-1], strict=True) if n > 1), True)

    def axis(self, axis: int) -> int:
        """An axis counted from the front."""
        return axis % max(len(self.shape), 1)

    def permuted(self, axes: Sequence[int]) -> View:
        """The axes in another order."""
        order = [self.axis(axis) for axis in axes]
        return replace(
            self, shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order)
        )  # fmt: skip

    def transposed(self, one: int, two: int) -> View:
        """Two axes exchanged."""
        order = list(range(len(self.shape)))
        one, two = self.axis(one), self.axis(two)
        order[one], order[two] = order[two], order[one]
        return self.permuted(order)

    def cut(self, axis: int, start: int, stop: int, step: int = 1) -> View:
        """Elements `start, start + step, ...` before `stop` along an axis; both are inside."""
        axis = self.axis(axis)
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = max(0, -(-(stop - start) // step))
        strides[axis] *= step
        offset = self.offset + start * self.strides[axis]
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def picked(self, axis: int, index: int) -> View:
        """One element along an axis, which disappears."""
        axis = self.axis(axis)
        index %= self.shape[axis]
        return replace(
            self,
            shape=self.shape[:axis] + self.shape[axis + 1 :],
            strides=self.strides[:axis] + self.strides[axis + 1 :],
            offset=self.offset + index * self.strides[axis],
        )

    def flipped(self, axis: int) -> View:
        """An axis that runs backwards."""
        axis = self.axis(axis)
        strides = list(self.strides)
        strides[axis] = -strides[axis]
        offset = self.offset + (self.shape[axis] - 1) * self.strides[axis]
        return replace(self, strides=tuple(strides), offset=offset)

    def with_axis(self, axis: int) -> View:
        """A new axis of size 1 before `axis`."""
        axis %= len(self.shape) + 1
        return replace(
            self,
            shape=(*self.shape[:axis], 1, *self.shape[axis:]),
            strides=(*self.strides[:axis], 0, *self.strides[axis:]),
        )

    def without_axes(self, axes: Sequence[int]) -> View:
        """Those of the axes that have size 1 disappear."""
        gone = {self.axis(axis) for axis in axes}
        kept = [i for i, n in enumerate(self.shape) if i not in gone or n != 1]
        return replace(self, shape=tuple(self.shape[i] for i in kept), strides=tuple(self.strides[i] for i in kept))

    def expanded(self, shape: Sequence[int]) -> View:
        """Broadcast to a shape, in which -1 keeps a size."""
        missing = len(shape) - len(self.shape)
        sizes = (1,) * missing + self.shape
        strides = (0,) * missing + self.strides
        wanted = tuple(n if want == -1 else want for n, want in zip(sizes, shape, strict=True))
        assert all(n in (1, want) for n, want in zip(sizes, wanted, strict=True)), (self.shape, shape)
        return replace(
            self,
            shape=wanted,
            strides=tuple(
                0 if n == 1 and want != 1 else step for n, want, step in zip(sizes, wanted, strides, strict=True)
            ),
        )

    def reshaped(self, shape: Shape) -> View | None:
        """The same elements under another shape, or None where that takes a copy."""
        assert prod(shape) == self.size, (self.shape, shape)
        blocks = [*_blocks(self)]  # (size, stride) of runs of axes that are one
        strides: list[int] = []
        left, step = 1, 0  # what of the current block is not dealt out yet
        for n in reversed(shape):
            if n == 1:
                strides.append(0)
                continue
            if left == 1:
                left, step = blocks.pop()
            if left % n:
                return None
            strides.append(step)
            left, step = left // n, step * n
        return replace(self, shape=shape, strides=tuple(reversed(strides)))


def contiguous_strides(shape: Shape) -> Shape:
    """Strides of elements in order."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def resolved(shape: Sequence[int], size: int) -> Shape:
    """A shape of which one entry may be -1: what the others leave."""
    known = prod(n for n in shape if n != -1)
    return tuple(size // known if n == -1 else n for n in shape)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape of elementwise results."""
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*padded, strict=True))


def merged(shape: Shape, strides: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
    """As few axes as several tensors of one shape can be walked over together with; at least one.

    Args:
      shape: of all.
      strides: of each.

    Returns:
      the sizes, and the strides of each.
    """
    axes: list[tuple[int, tuple[int, ...]]] = []
    for i, n in enumerate(shape):
        steps = tuple(one[i] for one in strides)
        if n == 1:
            continue
        if axes and all(before == step * n for before, step in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = axes[-1][0] * n, steps
        else:
            axes.append((n, steps))
    if not axes:
        axes = [(1, (1,) * len(strides))]
    return tuple(n for n, _ in axes), [tuple(steps[k] for _, steps in axes) for k in range(len(strides))]


def strided(array: NDArray[np.float32], meta: Sequence[int]) -> NDArray[np.float32]:
    """The numbers of a tensor in order, flat.

    Args:
      array: the buffer.
      meta: offset, then the shape, then as many strides.
    """
    rank = (len(meta) - 1) // 2
    shape, strides = meta[1 : 1 + rank], [4 * step for step in meta[1 + rank :]]
    flat = np.ascontiguousarray(array).reshape(-1)
    return np.lib.stride_tricks.as_strided(flat[meta[0] :], shape, strides).reshape(-1)


def _blocks(view: View) -> Iterator[tuple[int, int]]:
    sizes, (strides,) = merged(view.shape, [view.strides])
    yield from zip(sizes, strides, strict=True)
