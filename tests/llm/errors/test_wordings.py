"""Wordings of servers: too long questions, used up quotas, roles that a template refuses."""

from __future__ import annotations

import pytest

from service.llm.errors.bodies import ErrorFacts
from service.llm.errors.wordings import (
    find_prompt_tokens,
    find_window_tokens,
    is_context_refusal,
    refuses_role_order,
    refuses_system_role,
)

# Sentences as servers send them, with the window and the tokens of the prompt that they state.
TOO_LONG: list[tuple[str, int | None, int | None]] = [
    (
        (
            "This model's maximum context length is 8192 tokens. However, your messages "
            "resulted in 9000 "
            "tokens. Please reduce the length of the messages."
        ),
        8192,
        9000,
    ),
    (
        (
            "This model's maximum context length is 2048 tokens. However, you requested 3000 "
            "tokens (2000 "
            "in the messages, 1000 in the completion)."
        ),
        2048,
        3000,
    ),
    (
        (
            "This model's maximum context length is 262144 tokens. However, you requested 0 "
            "output tokens "
            "and your prompt contains at least 262145 input tokens"
        ),
        262144,
        262145,
    ),
    (
        (
            "max_tokens is too large: 1024. This model's maximum context length is 2048 tokens "
            "and your "
            "request has 1500 input tokens (1024 > 2048 - 1500)."
        ),
        2048,
        1500,
    ),
    ("Your input exceeds the context window of this model. Please adjust your input.", None, None),
    ("Input length (265330) exceeds model's maximum context length (262144).", 262144, 265330),
    (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        4096,
        5000,
    ),
    (
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        4096,
        5000,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 4096 tokens.",
        4096,
        None,
    ),
    (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        4096,
        5000,
    ),
    ("the request exceeds the available context size, try increasing it", None, None),
    ("Context size has been exceeded.", None, None),
    ("the input length exceeds the context length", None, None),
    ("prompt too long; exceeded max context length by 4 tokens", None, None),
    (
        (
            "Trying to keep the first 5000 tokens when context the overflows. However, the "
            "model is loaded "
            "with context length of only 4096 tokens, which is not enough."
        ),
        4096,
        5000,
    ),
    (
        "The number of tokens to keep from the initial prompt is greater than the context length.",
        None,
        None,
    ),
    ("prompt is too long: 213462 tokens > 200000 maximum", 200000, 213462),
    (
        (
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, "
            "decrease input "
            "length or `max_tokens` and try again"
        ),
        200000,
        None,
    ),
    (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        1048576,
        1200000,
    ),
    (
        (
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 "
            "maximum context "
            "length"
        ),
        32768,
        40000,
    ),
    (
        (
            "Please reduce the length of the messages or completion. Current length is 9000 "
            "while limit is "
            "8192"
        ),
        8192,
        9000,
    ),
    ("Input is too long for requested model.", None, None),
    (
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: "
            "4000 "
            "`inputs` tokens and 1000 `max_new_tokens`"
        ),
        4096,
        4000,
    ),
    (
        "This model's maximum prompt length is 131072 but the request contains 150000 tokens.",
        131072,
        150000,
    ),
    (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000",
        4081,
        5000,
    ),
    (
        "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
        8192,
        9000,
    ),
    ("Range of input length should be [1, 30720]", 30720, None),
    ("context window exceeds limit (2013)", 2013, None),
    ("Request body too large for gpt-4o model. Max size: 8000 tokens.", 8000, None),
    ("Prompt too long: 5152 tokens exceeds max_seq_len 2048", 2048, 5152),
    (
        "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
        131040,
        131393,
    ),
]


@pytest.mark.parametrize(("sentence", "window", "prompt"), TOO_LONG)
def test_a_too_long_question_is_recognized_in_every_wording(
    sentence: str, window: int | None, prompt: int | None
) -> None:
    facts = ErrorFacts(sentence)
    assert is_context_refusal(facts)
    assert find_window_tokens(facts) == window
    assert find_prompt_tokens(facts) == prompt


def test_numeric_fields_take_precedence_over_the_sentence() -> None:
    facts = ErrorFacts("no numbers", numbers={"n_ctx": 4096, "n_prompt_tokens": 5000})
    assert (find_window_tokens(facts), find_prompt_tokens(facts)) == (4096, 5000)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.",
        "Too many tokens, please wait before trying again.",
        "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000.",
        "The model `x` does not exist.",
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "Invalid image: the file is too large.",
        "Number of request tokens has exceeded your per-minute rate limit",
        "Invalid value for 'context': expected a string.",
    ],
)
def test_other_refusals_are_not_about_the_window(sentence: str) -> None:
    assert not is_context_refusal(ErrorFacts(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "System role not supported",
        "System role is not supported in this template.",
        "Only user and assistant roles are supported!",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Developer instruction is not enabled for models/gemma-3-4b-it",
        "System messages are not supported by this model",
        "Unexpected role 'system' in messages",
        "This model does not support the system role",
    ],
)
def test_a_refused_system_role_is_recognized(sentence: str) -> None:
    assert refuses_system_role(ErrorFacts(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "Conversation roles must alternate user/assistant/user/assistant/...",
        (
            "After the optional system message, conversation roles must alternate "
            "user/assistant/user/assistant/..."
        ),
        'messages: roles must alternate between "user" and "assistant"',
        'messages: first message must use the "user" role',
        "Multiple consecutive user messages are not supported",
    ],
)
def test_a_refused_order_of_roles_is_recognized(sentence: str) -> None:
    assert refuses_role_order(ErrorFacts(sentence))
    assert not refuses_system_role(ErrorFacts(sentence))
