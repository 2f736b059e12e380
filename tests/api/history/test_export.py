"""Export of a conversation as Markdown: readable, and messages cannot imitate its structure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from service.api.history.export import file_name, format_heading, format_turn
from service.store.records import Conversation, ConversationTurn

THEN = datetime(2026, 11, 21, 7, 10, tzinfo=UTC)


def a_conversation(title: str = "Tides") -> Conversation:
    return Conversation(id="conv_1", title=title, created_at=THEN, updated_at=THEN)


def an_answer(text: str, state: str = "completed", error: str | None = None) -> ConversationTurn:
    return ConversationTurn(
        role="assistant", content=text, created_at=THEN, run_id="run_1", state=state, error=error
    )


def to_markdown(conversation: Conversation, turns: Sequence[ConversationTurn]) -> str:
    pieces = (piece for turn in turns for piece in format_turn(turn))
    return f"{format_heading(conversation)}{''.join(pieces)}"


def test_a_conversation_is_a_title_dates_and_quoted_turns() -> None:
    asked = ConversationTurn(
        role="user", content="Why?", created_at=THEN, run_id="run_1", state="completed"
    )
    assert to_markdown(a_conversation(), [asked, an_answer("The *moon*.\n\nIt pulls.")]) == (
        "# Tides\n\n"
        "Created 2026-11-21 07:10 UTC, last changed 2026-11-21 07:10 UTC\n\n"
        "## Question, 2026-11-21 07:10 UTC\n\n"
        "> Why?\n\n"
        "## Answer, 2026-11-21 07:10 UTC\n\n"
        "> The *moon*.\n>\n> It pulls.\n"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\n   "])
def test_an_answer_cannot_forge_a_heading_of_the_document(end: str) -> None:
    text = f"So.{end}# Tides{end}## Question, 2026-11-21 07:10 UTC{end}Title{end}====={end}"
    page = to_markdown(a_conversation(), [an_answer(text)])
    headings = [line for line in re.split("[\r\n]", page) if line.lstrip().startswith("#")]
    assert headings == ["# Tides", "## Answer, 2026-11-21 07:10 UTC"]
    assert "\r" not in page
    assert "\n=" not in page


def test_what_the_model_wrote_keeps_its_own_markup() -> None:
    code = "```python\nprint(1)  # one\n```\n| a | b |  \nnext"
    quoted = "".join(f"> {line}\n" for line in code.split("\n"))
    assert quoted in to_markdown(a_conversation(), [an_answer(code)])


def test_a_title_is_one_line_of_plain_text() -> None:
    page = to_markdown(a_conversation("[x](y)\n## <b>*Forged*</b> `c`"), [])
    assert page.startswith("# \\[x\\](y) \\#\\# \\<b\\>\\*Forged\\*\\</b\\> \\`c\\`\n\n")


def test_an_answer_that_ended_badly_says_so() -> None:
    page = to_markdown(a_conversation(), [an_answer("Half", "failed", "It broke\n# off.")])
    assert page.endswith("> Half\n\n(failed: It broke \\# off.)\n")
    assert to_markdown(a_conversation(), [an_answer("", "interrupted")]).endswith("(interrupted)\n")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Why is the sky blue?", "why-is-the-sky-blue-2026-11-21.md"),
        ('../../etc/passwd"; rm\r\n', "etc-passwd-rm-2026-11-21.md"),
        ("Où est le café?", "ou-est-le-cafe-2026-11-21.md"),
        ("Привет 世界", "conversation-2026-11-21.md"),
        ("x" * 300, f"{'x' * 60}-2026-11-21.md"),
    ],
)
def test_a_file_name_is_safe_anywhere(title: str, name: str) -> None:
    assert file_name(a_conversation(title), "md") == name
