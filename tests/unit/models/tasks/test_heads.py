"""Which head reads the outputs of a task."""

from __future__ import annotations

import pytest

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import MAP_TASKS
from fluxshard.models.tasks.class_map import SemanticHead
from fluxshard.models.tasks.heads import head_for
from fluxshard.models.tasks.ranking import ClassifyHead
from fluxshard.models.tasks.value_map import DepthHead, ValueHead


def test_every_task_without_detections_has_a_head():
    size = (64, 96)
    heads = [head_for(task, size) for task in MAP_TASKS]
    assert heads == [SemanticHead(size), ClassifyHead(), DepthHead(size), ValueHead(size)]


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "auto", "flow"])
def test_other_tasks_are_refused(task):
    with pytest.raises(OptionError, match=f"task \\(='{task}'\\) must be one of semantic, classify, depth, raw"):
        head_for(task, (64, 96))
