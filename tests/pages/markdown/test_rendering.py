"""Markdown as HTML: what models write is formatted, and what could run or load is text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from service.pages.markdown.blocks import render_blocks, render_markdown
from service.pages.markdown.rendering import render_fragment
from tests._support.pages.hostile_markdown import HOSTILE

ELEMENTS = {
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


class Elements(HTMLParser):
    """A browser's view of HTML: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_harmless(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert tag in ELEMENTS
        assert set(attributes) <= {"href", "title", "rel", "class", "start"}
        href = attributes.get("href")
        assert href is None or href.lower().startswith(("http://", "https://", "mailto:"))
        if tag == "a":
            assert attributes["rel"] == "noopener noreferrer nofollow"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_has_no_element_that_runs_or_loads(text: str) -> None:
    assert_harmless(render_fragment(text))
    for end in range(1, len(text), 3):  # while it grows, every part of it is shown
        assert_harmless(render_fragment(text[:end]))


def test_all_hostile_texts_together_are_harmless() -> None:
    for joined in ("\n\n".join(HOSTILE), "\n".join(HOSTILE), " ".join(HOSTILE)):
        assert_harmless(render_markdown(joined))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** `d`", "<p>a <em>b</em> <strong>c</strong> <code>d</code></p>"),
        ("# a\n## b", "<h3>a</h3>\n<h4>b</h4>"),
        ("7. a\n8. b", '<ol start="7">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("a\nb", "<p>a<br>\nb</p>"),
        ("~~a~~", "<p><s>a</s></p>"),
        ("$x < y$", "<p>$x &lt; y$</p>"),
        ("|a|\n|-:|\n|b|", '<th class="end">a</th>'),
        ("```python\nx = 1\n```", '<span class="tok-n">x</span>'),
        ("```no-such-language\na<b\n```", "<pre><code>a&lt;b\n</code></pre>"),
        ("![a](https://b.example/c.png)", 'href="https://b.example/c.png"'),
    ],
)
def test_markdown_is_formatted(text: str, html: str) -> None:
    assert html in render_fragment(text)


def test_a_text_without_markdown_keeps_every_character() -> None:
    text = "Zoë 😀 <b> & \"quotes\" 'single' \u2028 مرحبا"
    assert Elements(render_fragment(text)).text.strip() == text


def test_a_definition_of_a_link_applies_to_later_blocks() -> None:
    assert "https://b.example" in render_blocks("[a]: https://b.example\n\nText\n\nSee [a].")[-1]
