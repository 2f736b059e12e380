"""A growing Markdown text in blocks: the same for every division, and bounded in size."""

from __future__ import annotations

import random
import re
from html import unescape

import pytest

from service.pages.markdown.blocks import (
    COLOURED_CHARS,
    FORMATTED_MARKS,
    MAX_BLOCK_CHARS,
    MarkdownBlocks,
    render_blocks,
)
from service.pages.markdown.rendering import render_fragment
from tests._support.pages.hostile_markdown import HOSTILE

CODE = "Before\n\n```python\n" + "def f(x):\n    return x\n\n\n" * 900 + "```\n\nAfter **all**.\n"
TEXTS = {
    "prose": "Some *text*.\n\nMore `code`.\n\n# Title\ntext\n\n" * 40,
    "one paragraph": "lorem ipsum " * 4_000,
    "one line": "x" * 30_000,
    "code": CODE,
    "one line of code": "```\n" + "x" * 30_000,
    "table": "|a|b|\n|-|-|\n" + "|1|2|\n" * 3_000 + "\nafter\n",
    "list": "- a\n\n- b\n\n  more\n\n      code\n\nafter\n\n1. c\n\n2. d\n\n> e\n\n> f\n",
    "list with code": "- ```\n  a\n\n  b\n  ```\n\nafter\n\n1. ```\n   c\n   ```\n2. d\n\nend\n",
    "setext": "a\nb\n===\n\nc\n---\n\nd\n",
    "line ends": "a\r\nb\r\n\r\nc\r\n",
    "hostile": "\n\n".join(HOSTILE),
    "code that is not closed": "~~~ c\nint x;\n```\n\n~~~~~\n\nafter",
}  # fmt: skip


def divide(text: str, longest: int) -> list[str]:
    """Return the text in pieces of random length."""
    chance, pieces, start = random.Random(7), [], 0
    while start < len(text):
        end = start + chance.randint(1, longest)
        pieces.append(text[start:end])
        start = end
    return pieces


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("longest", [2, 50, 9_000])
def test_the_blocks_do_not_depend_on_the_pieces(name: str, longest: int) -> None:
    text = TEXTS[name]
    blocks = MarkdownBlocks()
    found = [html for piece in divide(text, longest) for html in blocks.add(piece)]
    assert blocks.count == len(found)
    assert blocks.length == len(text)
    rest = blocks.render_open()
    assert found + ([rest] if rest else []) == render_blocks(text)


@pytest.mark.parametrize("name", ["prose", "list", "list with code", "setext", "line ends"])
def test_blocks_together_are_the_whole_text(name: str) -> None:
    text = TEXTS[name].replace("\r", "")
    assert "".join(render_blocks(text)) == render_fragment(text)


@pytest.mark.parametrize("name", ["one paragraph", "one line", "code", "one line of code", "table"])
def test_no_block_is_long(name: str) -> None:
    blocks = MarkdownBlocks()
    sources = [*blocks._divide(TEXTS[name])]
    assert len(sources) > 2
    assert max(map(len, sources)) < 2 * MAX_BLOCK_CHARS


def test_parts_of_long_code_are_code_and_the_text_behind_it_is_not() -> None:
    *parts, last = render_blocks(CODE)
    assert parts[0] == "<p>Before</p>\n"
    assert all(each.startswith("<pre><code>") for each in parts[1:])
    assert last == "<p>After <strong>all</strong>.</p>\n"


def test_parts_of_a_long_table_have_its_head() -> None:
    *parts, last = render_blocks(TEXTS["table"])
    assert all(each.count("<th>") == 2 for each in parts)
    assert sum(each.count("<td>1</td>") for each in parts) == 3_000
    assert last == "<p>after</p>\n"


def test_skipped_blocks_are_counted_like_added_ones() -> None:
    text = TEXTS["prose"]
    skipped, added = MarkdownBlocks(), MarkdownBlocks()
    skipped.skip(text[:1_000])
    before = [*added.add(text[:1_000])]
    assert skipped.count == added.count == len(before)
    assert skipped.render_open() == added.render_open()
    assert [*skipped.add(text[1_000:])] == [*added.add(text[1_000:])]


def test_code_behind_a_long_text_has_no_colours() -> None:
    code = "```python\nx = 1\n```\n"
    early, *_, late = render_blocks(f"{code}\n{'word ' * (COLOURED_CHARS // 4)}\n\n{code}")
    assert "tok-" in early
    assert late == "<pre><code>x = 1\n</code></pre>\n"


@pytest.mark.parametrize(
    "unit",
    [
        "| a | **b** | `c` | d |\n",
        "- *a* and `b`\n",
        "**a** " * 50 + "\n",
        "word\n",
        "~~a~~\n\n",
        "1. 2. 3. 4. 5. 6. 7. 8. a\n\nb\n\n",
        ">>>> a\n> a\n",
        "```\n```\n| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 400 + "\n",
    ],
)
def test_a_text_has_a_bounded_number_of_elements_and_loses_no_letter(unit: str) -> None:
    head = "| a | b | c | d |\n|---|---|---|---|\n" if unit.startswith("| a | **") else ""
    count = 5 * FORMATTED_MARKS // 4 // sum(map(unit.count, "|*`~\n"))
    parts = render_blocks(head + unit * count + "last word\n")
    assert sum(part.count("<") for part in parts) < 6 * FORMATTED_MARKS
    assert parts[-1].startswith("<pre>")
    assert parts[-1].endswith("last&#32;word&#10;</pre>")
    assert re.search("<(table|ul|ol|blockquote|strong|br|s)>", parts[0])
    written = "".join(re.sub(r"<[^>]*>", "", unescape(part)) for part in parts)
    assert written.count("a") + written.count("w") >= unit.count("a") * count


def test_long_code_stays_code() -> None:
    parts = render_blocks("```\n" + "| a | *b* |\n" * 30_000 + "```\n")
    assert all(part.startswith("<pre><code>") for part in parts)


def test_elements_are_bounded_for_a_reader_who_comes_late() -> None:
    text = "- *a* and `b`\n" * (FORMATTED_MARKS // 4)
    whole, late = MarkdownBlocks(), MarkdownBlocks()
    late.skip(text[:-40])
    assert [*whole.add(text)][late.count :] == [*late.add(text[-40:])]
    assert whole.render_open() == late.render_open() != ""
