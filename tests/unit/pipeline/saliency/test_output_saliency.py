"""Laws of saliency: what moved along is not salient, what changed is, and where nothing can be said nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fluxshard
from fluxshard.motion import CELL_PX, MotionField
from fluxshard.options import OBJECT, PlannedOptions, ReuseOptions
from fluxshard.pipeline.saliency.output_saliency import OutputSaliency

SIZE = (128, 192)
CELLS = (16, 24)


def scene(channels, stride, seed=0, margin_px=64):
    """A random map of a scene that reaches `margin_px` beyond the image on every side."""
    sides = [(px + 2 * margin_px) // stride for px in SIZE]
    return torch.rand(1, channels, *sides, generator=torch.Generator().manual_seed(seed))


def view(whole, stride, y_px=0, x_px=0, margin_px=64):
    top, left = ((margin_px + at) // stride for at in (y_px, x_px))
    return whole[:, :, top : top + SIZE[0] // stride, left : left + SIZE[1] // stride]


def blocks(channels, seed=0):
    """Coarse random areas, as maps have them: constant over 32 px."""
    coarse = torch.rand(1, channels, 4, 6, generator=torch.Generator().manual_seed(seed))
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


@given(
    stride=st.sampled_from([2, 4, 8, 16]),
    channels=st.integers(1, 4),
    steps=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
    seed=st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_a_translation_is_not_salient(stride, channels, steps, seed):
    """By whole cells, exactly; what has come into the image is."""
    dy, dx = (step * max(stride, CELL_PX) for step in steps)
    whole, saliency = scene(channels, stride, seed), OutputSaliency(SIZE)
    assert saliency.update(view(whole, stride)) is None
    marked = saliency.update(view(whole, stride, -dy, -dx), MotionField.uniform(*SIZE, dy, dx))
    # cells that come from the image, less those that are averaged with cells that do not
    y = np.arange(CELLS[0]) * CELL_PX
    x = np.arange(CELLS[1]) * CELL_PX
    reach = 2 * max(stride, CELL_PX)
    rows = (y - dy >= reach * (dy > 0)) & (y - dy < SIZE[0] - reach * (dy < 0))
    columns = (x - dx >= reach * (dx > 0)) & (x - dx < SIZE[1] - reach * (dx < 0))
    assert not marked[np.ix_(rows, columns)].any()


@given(dy=st.integers(-20, 20), dx=st.integers(-20, 20))
@settings(max_examples=20, deadline=None)
def test_a_translation_by_pixels_is_not_salient_either(dy, dx):
    """A map at the image's resolution, of areas larger than the cells; away from the border."""
    areas = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    whole, saliency = areas.repeat_interleave(32, 2).repeat_interleave(32, 3), OutputSaliency(SIZE)
    saliency.update(view(whole, 1))
    marked = saliency.update(view(whole, 1, -dy, -dx), MotionField.uniform(*SIZE, dy, dx))
    assert not marked[5:-5, 5:-5].any()
    saliency.reset()
    saliency.update(view(whole, 1))
    unexplained = saliency.update(view(whole, 1, -dy, -dx))
    assert unexplained.any() or max(abs(dy), abs(dx)) <= 2 * CELL_PX


@given(row=st.integers(2, 13), column=st.integers(2, 21), channel=st.integers(0, 3), stride=st.sampled_from([4, 8]))
@settings(max_examples=30, deadline=None)
def test_a_local_change_is_salient_there_and_nowhere_else(row, column, channel, stride):
    saliency = OutputSaliency(SIZE)
    before = blocks(4).repeat_interleave(8 // stride, 2).repeat_interleave(8 // stride, 3)
    after = before.clone()
    side = CELL_PX // stride
    after[0, channel, row * side : (row + 1) * side, column * side : (column + 1) * side] += 2.0
    saliency.update(before)
    marked = saliency.update(after)
    assert marked.dtype == np.uint8 and marked.shape == CELLS and set(np.unique(marked)) == {0, OBJECT}
    rows, columns = np.nonzero(marked)
    assert marked[row, column] and abs(rows - row).max() <= 1 and abs(columns - column).max() <= 1
    assert not saliency.update(after).any()  # it is over


@given(
    gain=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=3),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_units_and_offsets_of_outputs_do_not_matter(gain, offset, seed):
    """Of all channels at once; and nothing is salient where nothing has changed, whatever the values."""
    before, after = blocks(2, seed), blocks(2, seed)
    after[0, 0, 5:8, 5:8] += 0.5
    expected = OutputSaliency(SIZE)
    expected.update(before)
    wanted = expected.update(after)
    for factor in gain:
        saliency = OutputSaliency(SIZE)
        saliency.update(before * factor + offset * factor)
        assert not saliency.update(before * factor + offset * factor).any()
        assert np.array_equal(saliency.update(after * factor + offset * factor), wanted)


def test_a_map_that_is_the_same_everywhere_is_not_salient_until_something_appears():
    saliency = OutputSaliency(SIZE)
    empty = torch.zeros(1, 3, 16, 24)
    saliency.update(empty)
    assert not saliency.update(empty).any()
    found = empty.clone()
    found[0, 1, 4:8, 4:8] = 1.0
    marked = saliency.update(found)
    assert marked[4:8, 4:8].all() and not marked[10:].any()


@pytest.mark.parametrize("channels", [1, 17])
def test_one_cell_in_an_empty_map_is_salient(channels):
    saliency = OutputSaliency(SIZE)
    empty = torch.zeros(1, channels, *CELLS)
    found = empty.clone()
    found[0, 0, 5, 7] = 1e-3
    saliency.update(empty)
    marked = saliency.update(found)
    assert marked[5, 7] and marked.sum() <= 9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_salient_and_so_is_what_follows_them(value):
    saliency, fine = OutputSaliency(SIZE), blocks(2)
    broken = fine.clone()
    broken[0, 0, 3, 4] = value
    saliency.update(fine)
    assert np.argwhere(saliency.update(broken)).tolist() == [[3, 4]]
    moved = saliency.update(fine, MotionField.zero(*SIZE))
    assert moved[3, 4] and not moved[6:].any()
    assert not saliency.update(fine).any()
    nothing = torch.full_like(fine, value)
    assert saliency.update(nothing).all() and saliency.update(nothing).all() and saliency.update(fine).all()


def test_maps_of_several_strides_are_salient_where_one_is():
    saliency = OutputSaliency(SIZE)
    fine, coarse = blocks(2), torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    saliency.update({"heads": [fine, coarse], "vector": torch.rand(1, 10)})
    changed_fine, changed_coarse = fine.clone(), coarse.clone()
    changed_fine[0, 0, 1, 1] += 2
    changed_coarse[0, 0, 3, 5] += 2
    marked = saliency.update({"heads": [changed_fine, changed_coarse], "vector": torch.rand(1, 10)})
    assert marked[1, 1] and marked[12:, 20:].all() and not marked[5:9, 5:15].any()


def test_classes_are_salient_where_they_change_and_not_where_their_border_jitters():
    saliency = OutputSaliency(SIZE)
    labels = torch.zeros(1, *SIZE, dtype=torch.int64)
    labels[:, :, 100:] = 3
    saliency.update(labels)
    jittered = labels.clone()
    jittered[:, 10:40, 100:103] = 0
    assert not saliency.update(jittered).any()
    new = jittered.clone()
    new[:, 64:88, 32:56] = 7  # a class that was not there
    for labels in (new, jittered):  # it comes and goes
        marked = saliency.update(labels)
        assert marked[9, 5] and not marked[:, 10:].any()


def test_outputs_on_a_canvas_are_compared_where_the_image_lies():
    """The camera pans by 8 px to the right: the image's place on the canvas takes it up, and the scene stands still."""
    whole, saliency = scene(2, 8), OutputSaliency(SIZE)
    canvas = view(whole, 8)
    image = 96, 160
    saliency.update(canvas, None, (0, 0))
    assert not saliency.update(canvas, MotionField.uniform(*image, 0, -8), (0, 8)).any()
    # the image back at its first place: what it shows has moved on the canvas
    marked = saliency.update(view(whole, 8, 0, 8), MotionField.zero(*image), (0, 0))
    assert not marked[:, :-3].any()


@pytest.mark.parametrize(
    "outputs", [torch.rand(1, 1000), torch.rand(1, 84, 5040), [], None, {"logits": torch.rand(1, 5)}]
)
def test_outputs_without_a_map_say_nothing(outputs):
    saliency = OutputSaliency(SIZE)
    assert saliency.update(outputs) is None and saliency.update(outputs) is None


def test_outputs_of_another_kind_are_salient_everywhere():
    """A session that has once been told regions goes on without them otherwise."""
    saliency = OutputSaliency(SIZE)
    saliency.update(torch.rand(1, 2, 16, 24))
    for other in (torch.rand(1, 3, 16, 24), torch.rand(1, 3, 8, 12), [torch.rand(1, 3, 8, 12)] * 2, torch.rand(1, 9)):
        assert (saliency.update(other) == OBJECT).all()
    for _ in range(2):  # vectors stay vectors
        assert (saliency.update(torch.rand(1, 9)) == OBJECT).all()
    assert (saliency.update(torch.rand(1, 2, 16, 24)) == OBJECT).all()
    saliency.reset()
    assert saliency.update(torch.rand(1, 2, 16, 24)) is None


def test_outputs_may_be_overwritten_afterwards():
    """A session's outputs may live in buffers that its next frame is written to."""
    for stride in (4, 8, 32):
        saliency = OutputSaliency(SIZE)
        buffer = torch.rand(1, 2, SIZE[0] // stride, SIZE[1] // stride)
        saliency.update(buffer)
        buffer += torch.rand(buffer.shape) * 9
        assert saliency.update(buffer).any()


def test_a_session_does_less_where_its_outputs_do_not_react():
    """The network looks at the left half of the image: changes on the right cost no work once that is known."""
    looks = torch.zeros(1, 1, *CELLS)
    looks[..., : CELLS[1] // 2] = 1

    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 8, stride=8)

        def forward(self, image):
            return self.conv(image) * looks

    torch.manual_seed(0)
    options = fluxshard.CompileOptions(backend="reference")
    model = fluxshard.compile(Half().eval(), torch.zeros(1, 3, *SIZE), options=options)
    reuse = ReuseOptions(policy="planned", planned=PlannedOptions(), scene_cut=1.0)
    saliency = OutputSaliency(SIZE)
    areas = torch.rand(1, 3, 4, 6)
    with model.session(reuse) as told, model.session(reuse) as untold:
        for _ in range(6):
            shown = areas + 0.3 * torch.rand(1, 3, 4, 6)
            image = shown.repeat_interleave(32, 2).repeat_interleave(32, 3) / 1.3
            marked = saliency.update(told.run(image))
            if marked is not None:
                told.focus(marked)
            untold.run(image)
        work = told.work_map()
    assert untold.stats.compute_ratio > 0.8
    assert 0.4 < told.stats.compute_ratio < 0.75
    assert work[:, :10].mean() > 0.8 and work[:, 18:].max() == 0
