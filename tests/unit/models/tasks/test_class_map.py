"""Maps of classes: what is read from outputs, where it lies, and how two of them agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import ModelError
from fluxshard.models.tasks.class_map import SemanticHead

SIZE = (64, 96)
HEAD = SemanticHead(SIZE)


def scores(*squares, classes=3, cells=(8, 12)):
    """Logits where class 0 wins, but for squares `(class, rows, columns)`."""
    logits = torch.zeros(1, classes, *cells)
    logits[0, 0] = 1.0
    for index, rows, columns in squares:
        logits[0, index, rows, columns] = 2.0
    return logits


def test_the_highest_score_wins():
    found = HEAD(scores((2, slice(2, 4), slice(3, 6))))
    assert found.labels.dtype == np.uint8 and found.labels.shape == (8, 12) and found.classes == 3
    expected = np.zeros((8, 12))
    expected[2:4, 3:6] = 2
    assert np.array_equal(found.labels, expected)


@pytest.mark.parametrize(
    "outputs",
    [
        {"out": scores((1, 0, 0)), "aux": scores((2, 0, 0))},
        (scores((1, 0, 0)), torch.zeros(1, 10)),
        scores((1, 0, 0))[0],
        scores((1, 0, 0)).argmax(1),
        scores((1, 0, 0)).argmax(1)[0].to(torch.uint8),
        scores((1, 0, 0))[:, 1:2] - 1,
        (scores((1, 0, 0))[:, 1:2] / 2),
        scores((1, 0, 0)).half(),
        scores((1, 0, 0)).to(memory_format=torch.channels_last),
    ],
)
def test_outputs_of_all_kinds_are_read(outputs):
    labels = HEAD(outputs).labels
    assert labels[0, 0] == 1 and labels.sum() == 1


def test_outputs_without_a_map_are_refused_with_what_they_are():
    with pytest.raises(ModelError, match=r"outputs are \(1, 10\), and none is a map of classes .* give --task raw"):
        HEAD(torch.zeros(1, 10))
    with pytest.raises(ModelError, match="outputs are no tensors"):
        HEAD(None)


def test_many_classes_need_wider_numbers():
    logits = torch.zeros(1, 300, 8, 12)
    logits[0, 299] = 1
    found = HEAD(logits)
    assert found.labels.dtype == np.int32 and (found.labels == 299).all()


def test_a_map_lies_where_the_picture_is():
    found = HEAD(scores((1, slice(1, 7), slice(None)))).to_picture((0.5, 0.5), (8.0, 0.0), (96, 192))
    assert (found.cropped() == 1).all() and found.cropped().shape == (6, 12)  # bars of a cell above and below are cut
    assert found.of_pixels().shape == (96, 192) and (found.of_pixels() == 1).all()
    assert found.shares() == {1: 1.0}


def test_pixels_have_the_class_of_their_cell():
    found = HEAD(scores((1, 2, 3))).to_picture((0.5, 0.5), (0.0, 0.0), (128, 192))
    pixels = found.of_pixels()
    assert (pixels[32:48, 48:64] == 1).all() and (pixels == 1).sum() == 16 * 16


def test_agreement_counts_cells_and_means_over_classes():
    found, reference = HEAD(scores((1, slice(0, 4), slice(None)))), HEAD(scores((1, slice(0, 2), slice(None))))
    measures = found.agreement(reference)
    assert measures["same"] == pytest.approx(0.75)
    assert measures["miou"] == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert found.agreement(found) == {"same": 1.0, "miou": 1.0}


def test_classes_that_one_map_does_not_have_count():
    found, reference = HEAD(scores()), HEAD(scores((2, 0, slice(None))))
    assert found.agreement(reference)["miou"] == pytest.approx((7 / 8 + 0) / 2)
    assert reference.agreement(found) == found.agreement(reference)


def test_maps_of_a_canvas_are_compared_where_the_image_is():
    wide = SemanticHead((96, 128))(scores((1, slice(5, 7), slice(5, 7)), cells=(12, 16)))
    found = wide.to_picture((1.0, 1.0), (16.0, 24.0), SIZE)
    reference = HEAD(scores((1, slice(3, 5), slice(2, 4))))
    assert found.agreement(reference) == {"same": 1.0, "miou": 1.0}
    shifted = wide.to_picture((1.0, 1.0), (17.0, 21.0), (60, 93))
    assert 0.9 < shifted.agreement(reference)["same"] <= 1.0


def test_a_record_holds_shares_and_the_map():
    record = HEAD(scores((2, slice(0, 2), slice(None)))).as_json(("road", "car"))
    assert record["classes"] == [
        {"class": 0, "name": "road", "share": 0.75},
        {"class": 2, "name": "2", "share": 0.25},
    ]
    encoded = record["map"]
    labels = np.repeat(encoded["labels"], encoded["counts"]).reshape(encoded["size"])
    assert np.array_equal(labels, HEAD(scores((2, slice(0, 2), slice(None)))).labels)
    assert encoded["labels"] == [2, 0] and all(isinstance(n, int) for n in encoded["counts"])
