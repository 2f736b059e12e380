"""Reasoning between tags in an answer's text."""

from __future__ import annotations

import pytest

from service.llm.decoding.content import Content
from service.llm.decoding.think_tags import ThinkTags, ThinkTagSplitter

MODEL = "some-model"
HARMONY = "<|channel|>analysis<|message|>secret<|end|><|start|>assistant<|channel|>final<|message|>"


def _divide(text: str, size: int, mode: ThinkTags = "auto", model: str = MODEL) -> tuple[str, str]:
    """Return the answer and the reasoning of `text` in pieces of `size` characters."""
    content = Content(ThinkTagSplitter(mode, model))
    for at in range(0, len(text), size):
        content.add_text(text[at : at + size], model)
    content.finish(model)
    return "".join(content.parts), "".join(content.thoughts)


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("<think>\nsecret\n</think>\n\nFour.", "Four.", "\nsecret\n"),
        (" \n<think>secret</think>Four.", "Four.", "secret"),
        ("<THINK>secret</Think> Four.", "Four.", "secret"),
        ("<thinking>secret</thinking>\nFour.", "Four.", "secret"),
        ("<thought>secret</thought>\nFour.", "Four.", "secret"),
        ("<reasoning>secret</reasoning>\nFour.", "Four.", "secret"),
        ("<seed:think>secret</seed:think>Four.", "Four.", "secret"),
        ("[THINK]secret[/THINK]Four.", "Four.", "secret"),
        ("◁think▷secret◁/think▷Four.", "Four.", "secret"),
        ("<|begin_of_thought|>secret<|end_of_thought|>Four.", "Four.", "secret"),
        (
            f"{HARMONY}4",
            "4",
            "secret",
        ),
        ("<think>one</think>\n<think>two</think>\n\nFour.", "Four.", "onetwo"),
        ("<think></think>\n\nFour.", "Four.", ""),
        ("<think>never closed", "", "never closed"),
        ("<think>İİİ</think>Four.", "Four.", "İİİ"),
        ("secret\n</think>\n\nFour.", "Four.", "secret\n"),
        ("secret</think>Four.", "Four.", "secret"),
        ("\n</think>\n\nFour.", "Four.", "\n"),
        ('<think type="long">secret</think>Four.', "Four.", "secret"),
        ("<Think >secret</think>Four.", "Four.", "secret"),
        ("<think/>Four.", "Four.", ""),
        ("<thinking effort='1' />\nFour.", "Four.", ""),
        ("\ufeff<think>secret</think>Four.", "Four.", "secret"),
        ("<reflection>secret</reflection>Four.", "Four.", "secret"),
        ("<|START_THINKING|>secret<|END_THINKING|>Four.", "Four.", "secret"),
        (
            f"<|start|>assistant{HARMONY}4",
            "4",
            "secret",
        ),
        ("Sure.\n<think>secret</think>\n\nFour.", "Sure.\nFour.", "secret"),
        ("Sure.\n  [THINK]secret[/THINK]Four.", "Sure.\n  Four.", "secret"),
        ("<think>a</think>Two.\n\n<think>b</think>\nFour.", "Two.\n\nFour.", "ab"),
    ],
)
def test_tagged_text_is_reasoning_in_pieces_of_any_size(
    text: str, answer: str, reasoning: str
) -> None:
    assert {_divide(text, size) for size in range(1, len(text) + 1)} == {(answer, reasoning)}


@pytest.mark.parametrize(
    "text",
    [
        "Four.",
        "  Four. ",
        "1 < 2 and 3 > 2",
        "<thinner than paper",
        "<",
        "[1] is a list",
        "Models write <think>this</think> first.",
        "Close it with `</think>`.",
        'Write "</think>" at the end.',
        "```\n</think>\n```",
        "```xml\n<think>\nthis\n</think>\n```\nis a block.",
        "Write:\n`<think>` and `</think>`.",
        "<think twice",
        "a </thi",
    ],
)
def test_other_text_stays_unchanged_in_pieces_of_any_size(text: str) -> None:
    assert {_divide(text, size) for size in range(1, len(text) + 1)} == {(text, "")}


def test_ordinary_text_is_returned_at_once() -> None:
    splitter = ThinkTagSplitter("auto", MODEL)
    pieces = ["Four", " is", " the answer", "."]
    assert [splitter.split(piece, []).text for piece in pieces] == pieces


@pytest.mark.parametrize("text", ["<think>a</think>b", "a</think>b"])
def test_tags_are_text_when_they_are_off(text: str) -> None:
    assert _divide(text, 3, "off") == (text, "")


@pytest.mark.parametrize("text", ["secret\n</think>\n\nFour.", "<think>secret\n</think>Four."])
def test_text_before_the_closing_tag_is_reasoning_at_once_when_the_template_opens_it(
    text: str,
) -> None:
    splitter = ThinkTagSplitter("open", MODEL)
    first = splitter.split(text[:12], [])
    assert first.text == ""
    assert first.reasoning
    assert _divide(text, 4, "open") == ("Four.", "secret\n")


@pytest.mark.parametrize(
    "model", ["deepseek-ai/DeepSeek-R1", "QwQ-32B", "qwen3-235b-a22b-thinking-2507", "GLM-Z1-9B"]
)
def test_models_whose_template_opens_the_tag_are_known(model: str) -> None:
    assert ThinkTagSplitter("auto", model).is_open


@pytest.mark.parametrize("model", ["gpt-4o-mini", "qwen3-8b", "deepseek-chat", "llama3.1:8b"])
def test_other_models_are_not_assumed_to_reason(model: str) -> None:
    assert not ThinkTagSplitter("auto", model).is_open


def test_without_a_closing_tag_the_text_of_an_open_template_is_the_answer() -> None:
    content = Content(ThinkTagSplitter("open"))
    content.add_text("Four.", MODEL)
    content.finish(MODEL)
    content.accept_open_reasoning()
    assert (content.parts, content.thoughts) == (["Four."], [])


def test_reasoning_in_a_field_ends_the_search_for_tags() -> None:
    content = Content(ThinkTagSplitter("open"))
    content.add_reasoning("secret")
    content.add_text("Four.", MODEL)
    assert (content.parts, content.thoughts) == (["Four."], ["secret"])


def test_a_tag_on_a_later_line_that_is_never_closed_is_text() -> None:
    text = "It starts with\n<think>\nand more."
    assert {_divide(text, size)[0] for size in range(1, len(text) + 1)} == {text}


def test_reasoning_on_a_later_line_that_was_cut_off_is_not_text() -> None:
    content = Content(ThinkTagSplitter("auto", MODEL))
    content.add_text("Sure.\n<think>secret", MODEL)
    content.finish(MODEL, is_cut_off=True)
    assert ("".join(content.parts), "".join(content.thoughts)) == ("Sure.\n", "secret")


def test_many_mentions_of_a_tag_take_no_quadratic_time() -> None:
    splitter = ThinkTagSplitter("auto", MODEL)
    text = "a <think> b " * 100_000
    assert splitter.split(text, []).text + splitter.end().text == text
