"""Matches in titles, as HTML."""

from __future__ import annotations

import pytest

from service.pages.conversations.found import mark_words


@pytest.mark.parametrize(
    ("title", "text", "html"),
    [
        ("About tides", "TIDE", "About <mark>tide</mark>s"),
        ("<b>tides", "tides b", "&lt;<mark>b</mark>&gt;<mark>tides</mark>"),
        ("a.b and axb", "a.b", "<mark>a.b</mark> and axb"),
        ("tides", "", "tides"),
        ("<script>", "<script>", "<mark>&lt;script&gt;</mark>"),
        ("&amp;", "amp", "&amp;<mark>amp</mark>;"),
        ("tide tides", "tide tides", "<mark>tide</mark> <mark>tides</mark>"),
    ],
)  # fmt: skip
def test_the_words_are_marked_and_everything_else_is_escaped(
    title: str, text: str, html: str
) -> None:
    assert str(mark_words(title, text)) == html
