"""ATen ops that only change how elements are read, or move them: `op name -> rule(builder, *args, **kwargs)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from fluxshard.codegen.common.islands.builder import Builder, Unsupported
from fluxshard.codegen.common.islands.tensors import View

Result = View | tuple["Result | None", ...]
Rule = Callable[..., Result]
Axis = int


def _same(b: Builder, x: View, *_: object, **__: object) -> View:
    return x


def _reshape(b: Builder, x: View, shape: Sequence[int]) -> View:
    return b.reshape(x, shape)


def _reshape_as(b: Builder, x: View, other: View) -> View:
    return b.reshape(x, other.shape)


def _expand_as(b: Builder, x: View, other: View) -> View:
    return x.expanded(other.shape)


def _flatten(b: Builder, x: View, start_dim: int = 0, end_dim: int = -1) -> View:
    start, end = x.axis(start_dim), x.axis(end_dim)
    return b.reshape(x, (*x.shape[:start], prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def _unflatten(b: Builder, x: View, dim: int, sizes: Sequence[int]) -> View:
    axis = x.axis(dim)
    known = prod(n for n in sizes if n != -1)
    inner = [x.shape[axis] // known if n == -1 else n for n in sizes]
    return b.reshape(x, (*x.shape[:axis], *inner, *x.shape[axis + 1 :]))


def _permute(b: Builder, x: View, dims: Sequence[int]) -> View:
    return x.permuted(dims)


def _transpose(b: Builder, x: View, dim0: int, dim1: int) -> View:
    return x.transposed(dim0, dim1)


def _t(b: Builder, x: View) -> View:
    return x.transposed(0, 1) if len(x.shape) == 2 else x


def _turned(b: Builder, x: View) -> View:
    return x.permuted(range(len(x.shape))[::-1])


def _last_turned(b: Builder, x: View) -> View:
    return x.transposed(-2, -1)


def _slice(
    b: Builder, x: View, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> View:  # fmt: skip
    low, high, _ = slice(start, end).indices(x.shape[x.axis(dim)])
    return x.cut(dim, low, max(low, high), step)


def _narrow(b: Builder, x: View, dim: int, start: int, length: int) -> View:
    start %= x.shape[x.axis(dim)]
    return x.cut(dim, start, start + length)


def _select(b: Builder, x: View, dim: int, index: int) -> View:
    return x.picked(dim, index)


def _unsqueeze(b: Builder, x: View, dim: int) -> View:
    return x.with_axis(dim)


def _squeeze(b: Builder, x: View, dim: int | Sequence[int] | None = None) -> View:
    return x.without_axes(range(len(x.shape)) if dim is None else [dim] if isinstance(dim, int) else dim)


def _expand(b: Builder, x: View, size: Sequence[int], implicit: bool = False) -> View:
    return x.expanded(size)


def _repeat(b: Builder, x: View, repeats: Sequence[int]) -> View:
    missing = len(repeats) - len(x.shape)
    for _ in range(missing):
        x = x.with_axis(0)
    shape = x.shape
    for axis in range(len(shape)):
        x = x.with_axis(2 * axis)
    both = [n for pair in zip(repeats, shape, strict=True) for n in pair]
    return b.reshape(x.expanded(both), [one * two for one, two in zip(repeats, shape, strict=True)])


def _split_sizes(b: Builder, x: View, split_sizes: Sequence[int], dim: int = 0) -> Result:
    parts, start = [], 0
    for n in split_sizes:
        parts.append(x.cut(dim, start, start + n))
        start += n
    return tuple(parts)


def _split(b: Builder, x: View, split_size: int | Sequence[int], dim: int = 0) -> Result:
    if not isinstance(split_size, int):
        return _split_sizes(b, x, split_size, dim)
    n = x.shape[x.axis(dim)]
    return tuple(x.cut(dim, start, min(start + split_size, n)) for start in range(0, n, split_size))


def _chunk(b: Builder, x: View, chunks: int, dim: int = 0) -> Result:
    return _split(b, x, -(-x.shape[x.axis(dim)] // chunks), dim)


def _unbind(b: Builder, x: View, dim: int = 0) -> Result:
    return tuple(x.picked(dim, i) for i in range(x.shape[x.axis(dim)]))


def _getitem(b: Builder, parts: tuple[Result | None, ...], index: int) -> Result:
    found = parts[index]
    if found is None:
        raise Unsupported("indices of a maximum")
    return found


def _cat(b: Builder, tensors: Sequence[View], dim: int = 0) -> View:
    return b.cat(tensors, dim)


def _stack(b: Builder, tensors: Sequence[View], dim: int = 0) -> View:
    axis = dim % (len(tensors[0].shape) + 1)
    return b.cat([view.with_axis(axis) for view in tensors], axis)


def _pad(b: Builder, x: View, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> View:
    if mode != "constant":
        raise Unsupported(f"padding of mode {mode}")
    last = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    return b.padded(x, [*[(0, 0)] * (len(x.shape) - len(last)), *last], value or 0.0)


def _constant_pad(b: Builder, x: View, pad: Sequence[int], value: float = 0.0) -> View:
    return _pad(b, x, pad, "constant", value)


def _roll(b: Builder, x: View, shifts: Sequence[int], dims: Sequence[int] = ()) -> View:
    if not dims:
        raise Unsupported("a roll of flattened elements")
    for shift, dim in zip(shifts, dims, strict=True):
        n = x.shape[x.axis(dim)]
        if shift % n:
            at = n - shift % n
            x = b.cat([x.cut(dim, at, n), x.cut(dim, 0, at)], dim)
    return x


def _flip(b: Builder, x: View, dims: Sequence[int]) -> View:
    for dim in dims:
        x = x.flipped(dim)
    return x


def _pixel_shuffle(b: Builder, x: View, upscale_factor: int) -> View:
    (n, c, h, w), r = x.shape, upscale_factor
    return b.reshape(b.reshape(x, (n, c // r**2, r, r, h, w)).permuted((0, 1, 4, 2, 5, 3)), (n, -1, h * r, w * r))


def _pixel_unshuffle(b: Builder, x: View, downscale_factor: int) -> View:
    (n, c, h, w), r = x.shape, downscale_factor
    parts = b.reshape(x, (n, c, h // r, r, w // r, r)).permuted((0, 1, 3, 5, 2, 4))
    return b.reshape(parts, (n, c * r * r, h // r, w // r))


def _channel_shuffle(b: Builder, x: View, groups: int) -> View:
    n, c, *rest = x.shape
    return b.reshape(b.reshape(x, (n, groups, c // groups, *rest)).transposed(1, 2), x.shape)


def _to(b: Builder, x: View, *args: object, **kwargs: object) -> View:
    kinds = [a for a in (*args, *kwargs.values()) if isinstance(a, str) and a.startswith("torch.")]
    names = [
        kind for kind in kinds if kind not in ("torch.strided", "torch.contiguous_format", "torch.preserve_format")
    ]
    if any(name != "torch.float32" for name in names):
        raise Unsupported(f"numbers of {', '.join(names)}")
    return x


VIEW_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("alias", "clone", "contiguous", "detach", "detach_", "dropout", "lift_fresh_copy"), _same),
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _reshape),
    **dict.fromkeys(("view_as", "reshape_as"), _reshape_as),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _to),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
    **dict.fromkeys(("split_with_sizes",), _split_sizes),
    "flatten": _flatten, "unflatten": _unflatten, "permute": _permute, "transpose": _transpose, "t": _t,
    "numpy_T": _turned, "mT": _last_turned, "slice": _slice, "narrow": _narrow, "select": _select,
    "unsqueeze": _unsqueeze, "squeeze": _squeeze, "expand": _expand, "expand_as": _expand_as, "repeat": _repeat,
    "split": _split, "chunk": _chunk, "unbind": _unbind, "cat": _cat, "stack": _stack, "pad": _pad,
    "constant_pad_nd": _constant_pad, "roll": _roll, "flip": _flip, "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle, "getitem": _getitem,
}  # fmt: skip
