"""What a film says of its frames, and how past ones stay in sight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluxshard.models.drawing.colours import CARRIED, WHOLE, WORK
from fluxshard.pipeline.frame_record import FrameRecord
from fluxshard.pipeline.sinks.film_strip import FilmStrip, fields_of, how_made

SIZE = (360, 640)
RECORD = FrameRecord(frame=3, time_s=0.12, stats={"compute_ratio": 0.25}, incremental_ms=12.5, planned_work=0.25)


def drawn(strip, record):
    part = np.empty((strip.height, SIZE[1], 3), np.uint8)
    strip.draw(part, record)
    return part


def has(part, colour):
    return bool((part == np.array(colour)).all(-1).any())


def test_a_strip_says_what_is_known():
    texts = {name: field.text for name, field in fields_of(RECORD).items()}
    assert texts == {"how": "planned", "frame": "frame 3", "latency": "12.5 ms", "work": "work 25%"}
    stats = {"compute_ratio": 1.0, "recompute_ratio": 0.5, "keyframe": True}
    record = FrameRecord(frame=0, time_s=None, stats=stats, incremental_ms=2.0, dense_ms=4.0)
    texts = {name: field.text for name, field in fields_of(record).items()}
    assert texts == {
        "how": "whole", "frame": "frame 0", "latency": "2.0 ms", "dense": "dense 4.0 ms", "work": "work 100%",
    }  # fmt: skip
    unknown = replace(RECORD, stats={})
    assert "work" not in fields_of(unknown)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({}, ("planned", WORK)),
        ({"planned_work": None}, ("propagated", WORK)),
        ({"planned_work": None, "placement": {"answered_by": "cloud", "server_planned": True}}, ("planned", WORK)),
        ({"planned_work": None, "placement": {"answered_by": "cloud"}}, ("propagated", WORK)),
        ({"carried": 2}, ("carried", CARRIED)),
        ({"stats": {"keyframe": True}}, ("whole", WHOLE)),
        ({"calibrated": {"scale": 1.0, "error": 0.1}}, ("measured", WHOLE)),
        ({"calibrated": {"scale": 1.0, "error": None}}, ("planned", WORK)),
    ],
)
def test_how_a_frame_was_made_is_a_word_and_a_colour(change, how):
    assert how_made(replace(RECORD, **change)) == how


def test_who_answered_is_said():
    here = replace(RECORD, placement={"answered_by": "cloud"})
    assert fields_of(here)["place"].text == "answered: cloud"
    nobody = replace(RECORD, placement={"answered_by": "none"})
    assert how_made(nobody)[0] == "not answered" and "place" not in fields_of(nobody)


def test_a_whole_frame_has_an_edge_and_stays_in_the_chart():
    strip = FilmStrip(SIZE, shows_work=True)
    first = drawn(strip, RECORD)
    assert not has(first, WHOLE)
    key = drawn(strip, replace(RECORD, stats={"keyframe": True, "compute_ratio": 1.0}))
    assert (key[0] == WHOLE).all()
    after = drawn(strip, RECORD)
    assert has(after, WHOLE) and not (after[0] == WHOLE).all()


def test_only_films_that_show_work_explain_its_colour():
    record = replace(RECORD, carried=1)  # nothing else has the colour
    assert has(drawn(FilmStrip(SIZE, shows_work=True), record), WORK)
    assert not has(drawn(FilmStrip(SIZE, shows_work=False), record), WORK)
