"""How numbers are written, and that text stays text in Markdown."""

from __future__ import annotations

import math

import pytest

from fluxshard.evaluate.report.text_table import (
    Cell,
    Table,
    count,
    markdown_paragraph,
    markdown_text,
    number,
    percent,
    words,
)


@pytest.mark.parametrize(
    ("cell", "text", "value"),
    [
        (number(0.71249), "0.712", 0.71249),
        (number(-0.0001), "0.000", -0.0001),
        (number(0.0123, signed=True), "+0.012", 0.0123),
        (number(None), "—", None),
        (number(math.nan), "—", None),
        (percent(0.12345), "12.3%", 0.12345),
        (percent(0.0104, (-0.0004, 0.021), digits=2), "1.04% [0.0, 2.1]", 0.0104),
        (percent(None, (0.1, 0.2)), "—", None),
        (count(7), "7", 7),
        (count(7.25), "7.2", 7.25),
        (count(1.6), "1.6", 1.6),
        (count(None), "—", None),
        (words("a"), "a", "a"),
    ],
)
def test_numbers_have_sensible_digits(cell, text, value):
    assert cell == Cell(text, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("planned@1%", "planned@1%"),
        ("bmx_trees [0.1, 0.2]", "bmx_trees [0.1, 0.2]"),
        ("<b>", "\\<b>"),
        ("a|b", "a\\|b"),
        ("*a* _b_ `c` ~~d~~", "\\*a\\* \\_b\\_ \\`c\\` \\~\\~d\\~\\~"),
        ("[a](b)", "[a\\](b)"),
        ("&lt;\\", "\\&lt;\\\\"),
        ("two\nlines", "two lines"),
    ],
)
def test_markup_in_text_is_escaped(text, expected):
    assert markdown_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("- a", "\\- a"), ("# a", "\\# a"), ("> a", "\\> a"), ("1. a", "1\\. a"), ("-", "\\-")]
)
def test_paragraphs_do_not_become_lists_or_headings(text, expected):
    assert markdown_paragraph(text) == expected


def test_a_table_is_notes_headings_alignment_and_rows():
    table = Table(
        notes=("all of it",),
        headings=("name", "n"),
        numeric=(False, True),
        rows=((words("a|b"), count(1)), (words("c"), count(None))),
    )
    assert table.markdown().splitlines() == [
        "- all of it",
        "",
        "| name | n |",
        "|---|---:|",
        "| a\\|b | 1 |",
        "| c | — |",
    ]
