"""Rankings of classes: which output is taken, and how two of them agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.errors import ModelError
from fluxshard.models.tasks.ranking import ClassifyHead

HEAD = ClassifyHead()


def test_logits_become_probabilities_and_probabilities_stay():
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    found = HEAD(logits)
    assert found.classes == [1, 2, 0] and found.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(HEAD(torch.softmax(logits, 1)).probabilities, found.probabilities)


@pytest.mark.parametrize(
    "outputs",
    [
        torch.tensor([0.0, 3.0, 1.0]),
        torch.tensor([0.0, 3.0, 1.0]).reshape(1, 3, 1, 1),
        (torch.zeros(1, 8, 4, 4), {"logits": torch.tensor([[0.0, 3.0, 1.0]])}, torch.zeros(1, 3)),
        torch.tensor([[0.0, 3.0, 1.0]]).half(),
    ],
)
def test_the_first_vector_counts(outputs):
    assert HEAD(outputs).classes[0] == 1


def test_outputs_without_a_vector_are_refused():
    with pytest.raises(ModelError, match=r"outputs are \(1, 8, 4, 4\), and none is a vector of classes"):
        HEAD(torch.zeros(1, 8, 4, 4))
    with pytest.raises(ModelError, match="none is a vector"):
        HEAD(torch.zeros(1, 1))


def test_five_at_most_are_ranked_the_first_of_equals_first():
    assert HEAD(torch.zeros(1, 9)).classes == [0, 1, 2, 3, 4]


def test_agreement_of_rankings():
    one = HEAD(torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]]))
    other = HEAD(torch.tensor([[4.0, 5.0, 3.0, 2.0, 0.0, 1.0]]))
    measures = one.agreement(other)
    assert measures["top1"] == 0.0 and measures["top5"] == pytest.approx(0.8)
    assert measures["probability_error"] == pytest.approx(float(np.abs(one.probabilities - other.probabilities).max()))
    assert one.agreement(one) == {"top1": 1.0, "top5": 1.0, "probability_error": 0.0}


def test_a_record_holds_names_and_scores():
    record = HEAD(torch.tensor([[0.25, 0.75]])).as_json(("cat",))
    assert record == {"ranking": [{"class": 1, "name": "1", "score": 0.75}, {"class": 0, "name": "cat", "score": 0.25}]}
    assert HEAD(torch.zeros(1, 3)).to_picture((2.0, 2.0), (0.0, 0.0), (4, 4)).classes == [0, 1, 2]
