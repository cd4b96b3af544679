"""Zstandard for parts of a message whose uncompressed size both sides know."""

from __future__ import annotations

import zstandard

from fluxshard.errors import WireError

LEVEL = 3
MAX_BYTES = 64 << 20  # of one part, uncompressed: an image of 4096 x 5461 pixels


def compress(content: bytes) -> bytes:
    """One frame that declares the size of its content."""
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True).compress(content)


def compress_noise(content: bytes) -> bytes:
    """The same for bytes that repeat by chance only, such as residuals of a prediction.

    Nearly without a search: matches that are found by chance cost more bytes than the entropy coding that they replace,
    so levels that search better give larger frames.
    """
    parameters = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST, window_log=18, hash_log=6, min_match=7, write_content_size=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def decompress(data: bytes, n_bytes: int, what: str) -> bytes:
    """What `compress` or `compress_noise` was given.

    The size that the frame declares is read first: a frame of 13 bytes can declare a terabyte, and python-zstandard
    allocates what is declared, whatever the most that it was allowed.

    Args:
      data: one frame, and nothing else.
      n_bytes: that it must hold.
      what: it is, for messages.

    Raises:
      WireError: not a frame, another size, damaged, or followed by something.
    """
    if n_bytes > MAX_BYTES:
        raise WireError(f"{what} would take {n_bytes} bytes; {MAX_BYTES} are allowed")
    try:
        declared = zstandard.get_frame_parameters(data).content_size
    except zstandard.ZstdError:
        raise WireError(f"{what} is not a zstandard frame") from None
    if declared != n_bytes:
        raise WireError(f"{what} declares another size than the {n_bytes} bytes of this stream")
    try:
        content = zstandard.ZstdDecompressor().decompress(data, max_output_size=n_bytes, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError):
        raise WireError(f"{what} is a damaged zstandard frame") from None
    if len(content) != n_bytes:
        raise WireError(f"{what} holds another size than it declares")
    return content
