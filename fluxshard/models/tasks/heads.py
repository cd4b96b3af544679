"""The reader of a network's outputs, by its task."""

from __future__ import annotations

from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import MAP_TASKS, Task
from fluxshard.models.tasks.class_map import SemanticHead
from fluxshard.models.tasks.ranking import ClassifyHead
from fluxshard.models.tasks.result import Read
from fluxshard.models.tasks.value_map import DepthHead, ValueHead


def head_for(task: Task, shape: tuple[int, int]) -> Read:
    """What reads the outputs of a network without detections.

        head = head_for("semantic", (384, 640))
        classes = head(session.run(image, motion))

    Args:
      task: "semantic": `ClassMap`; "classify": `Ranking`; "depth": `ValueMap`; "raw": `ValueMap`, or None where no
        output is a map.
      shape: (H, W) of what the outputs describe: the image, or the canvas.

    Raises:
      OptionError: the task has detections, which `pipeline.detection_head` reads, or there is none of that name.
    """
    if task == "semantic":
        return SemanticHead(shape)
    if task == "classify":
        return ClassifyHead()
    if task == "depth":
        return DepthHead(shape)
    if task == "raw":
        return ValueHead(shape)
    raise OptionError(f"task (={task!r}) must be one of {', '.join(MAP_TASKS)}")
