"""The dense network on pictures that were sent as JPEG."""

from __future__ import annotations

import numpy as np
import torch

from fluxshard.cloud.wire.pixels.jpeg_stream import decode_jpeg, encode_jpeg
from fluxshard.evaluate.methods.jpeg_sent import JpegSent
from fluxshard.evaluate.methods.method import dense_method
from fluxshard.testing.evaluation import SIZE, bright_network
from fluxshard.testing.networks import square
from fluxshard.video.letterbox import to_image


def test_the_network_sees_what_is_decoded() -> None:
    network, noise = bright_network(), torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    image = 0.7 * square(8, 16, SIZE) + 0.3 * noise
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).mul(255).round().byte().numpy())
    decoded = to_image(decode_jpeg(encode_jpeg(pixels, 30), *SIZE))
    expected, plain = (dense_method().start(network)(one, None).found for one in (decoded, image))
    found = JpegSent(quality=30).start(network)(image, None)
    np.testing.assert_array_equal(found.found.scores, expected.scores)
    assert found.compute_ratio == 1 and len(plain) and not np.array_equal(expected.scores, plain.scores)


def test_qualities_are_methods_of_their_own() -> None:
    assert JpegSent(quality=30).name == "jpeg quality=30" and JpegSent().facts == {"quality": 90}
