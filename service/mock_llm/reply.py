"""Replies of the mock: text, JSON or tool calls, with delays and a finish reason.

A pure function from a request and its script to a MockReply; `plan.py` adds faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, islice
from random import Random
from uuid import uuid4

from service.mock_llm.dialects.servers import find_dialect
from service.mock_llm.request import MockRequest
from service.mock_llm.script import Script
from service.mock_llm.skills.skills import answer_with_skills
from service.mock_llm.text import Prompt, answer_tokens, reasoning_tokens, split_tokens
from service.mock_llm.tools import MockTool, NamedTool, ObjectFormat, SampleMaker, SchemaFormat
from service.mock_llm.wire import MockReply, MockToolCall, encode

# Characters of 2, 3 and 4 bytes, and a line separator that is no line end in an event stream.
MULTIBYTE_TEXT = "Grüße 👋 an alle: naïve Ärzte\u2028sagen für 5 € „ja“ 🚀🧑‍🚀 und gehen."

# As with real models, most gaps are near the median and a few are several times as long.
_FIRST_SIGMA, _GAP_SIGMA, _MAX_FACTOR = 0.35, 0.5, 8.0
_STRING_WORDS = 4  # in each string of a JSON answer
_PIECE_CHARS = 7  # of a tool's arguments


@dataclass(frozen=True, slots=True)
class TokenPace:
    """Medians of the random delays; 0 means no delay."""

    first_s: float = 0.25
    gap_s: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class MockCall:
    """A request with the values that the mock adds to it."""

    request: MockRequest
    script: Script
    prompt: Prompt
    pace: TokenPace
    id: str
    created: int
    seed: int = 0  # of the mock; that of the prompt may be the request's or the script's


def make_reply(call: MockCall) -> MockReply:
    """Return the reply to a request."""
    script, tools = call.script, _choose_tools(call)
    calls = [_make_tool_call(tool, call.prompt) for tool in tools]
    reasoning = _make_reasoning(call)
    tokens, finish_reason = (
        ((), "tool_calls")
        if calls
        else _apply_limits(_make_tokens(call), call.request, used=len(reasoning))
    )
    pieces = len(reasoning) + len(tokens) + sum(len(each.pieces) for each in calls)
    return MockReply(
        id=call.id,
        created=call.created,
        model=call.request.model,
        tokens=tokens,
        calls=calls,
        delays=_draw_delays(pieces, call.prompt, call.pace, script.first_ms, script.gap_ms),
        finish_reason=finish_reason,
        prompt_tokens=call.request.prompt_tokens,
        reasoning=reasoning,
    )


def _make_reasoning(call: MockCall) -> Sequence[str]:
    """Return the tokens of reasoning that is not part of the text."""
    dialect = find_dialect(call.script.dialect)
    if dialect is None or dialect.reasoning is None or call.script.reasoning in ("0", "tags"):
        return ()
    return reasoning_tokens(call.prompt)[: call.request.token_limit]


def _has_tags(script: Script) -> bool:
    """Return whether the text starts with reasoning in tags."""
    dialect = find_dialect(script.dialect)
    has_form = dialect is not None and dialect.reasoning is not None
    return script.reasoning == "tags" or (script.reasoning == "1" and not has_form)


def _choose_tools(call: MockCall) -> Sequence[MockTool]:
    """Return the tools to call: the named one, else as many as the script requests."""
    request, offered = call.request, call.request.tools or []
    choice, number = request.tool_choice, call.script.tool_calls or 0
    if isinstance(choice, NamedTool):
        return [tool for tool in offered if tool.function.name == choice.function.name]
    if not offered or choice == "none" or (request.tool_results and choice != "required"):
        return []
    if choice == "required":
        number = max(1, number)
    if request.parallel_tool_calls is False:
        number = min(1, number)
    return list(islice(cycle(offered), number))


def _make_tool_call(tool: MockTool, prompt: Prompt) -> MockToolCall:
    arguments = encode(SampleMaker(tool.function.parameters, prompt.question).make()).decode()
    starts = range(0, len(arguments), _PIECE_CHARS)
    pieces = [arguments[start : start + _PIECE_CHARS] for start in starts]
    return MockToolCall(f"call_{uuid4().hex[:24]}", tool.function.name, pieces)


def _make_tokens(call: MockCall) -> Sequence[str]:
    tokens = _make_answer(call)
    started = call.request.started_text
    if started.strip() and (text := "".join(tokens)).startswith(started.rstrip()):
        return split_tokens(text[len(started.rstrip()) :])
    if not _has_tags(call.script):
        return tokens
    dialect = find_dialect(call.script.dialect)
    tag = dialect.reasoning_tag if dialect else "think"
    thoughts = "".join(reasoning_tokens(call.prompt))
    return split_tokens(f"<{tag}>\n{thoughts}\n</{tag}>\n\n{''.join(tokens)}")


def _make_answer(call: MockCall) -> Sequence[str]:
    if call.script.fault == "empty":
        return ()
    if call.script.fault == "split_utf8":
        return split_tokens(MULTIBYTE_TEXT)
    skilled = answer_with_skills(call.request, call.script, call.seed)
    if skilled is not None:
        return split_tokens(skilled)
    tokens = answer_tokens(call.prompt, call.script.tokens)
    form = call.request.response_format
    if isinstance(form, ObjectFormat | SchemaFormat):
        schema = form.json_schema.schema if isinstance(form, SchemaFormat) else _ANY_OBJECT
        words = "".join(tokens[:_STRING_WORDS])
        sample = SampleMaker(schema, words, repr(call.prompt)).make()
        return split_tokens(encode(sample).decode())
    return tokens if call.script.tokens is not None else (*tokens, *_describe_inputs(call.request))


_ANY_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def _describe_inputs(request: MockRequest) -> Sequence[str]:
    """Return tokens that mention the images and the tool results in the request."""
    images = sum(len(message.images) for message in request.messages)
    mentions = [f" Pictures shown: {images}."] if images else []
    mentions += [f" A tool said “{message.text}”." for message in request.tool_results]
    return split_tokens("".join(mentions))


def _apply_limits(
    tokens: Sequence[str], request: MockRequest, used: int
) -> tuple[Sequence[str], str]:
    """Return the tokens before a stop text and within the limit, and the finish reason.

    The reasoning has `used` tokens of the limit.
    """
    text = "".join(tokens) if request.stops else ""
    positions = [at for at in map(text.find, filter(None, request.stops)) if at >= 0]
    if positions:
        tokens = split_tokens(text[: min(positions)])
    limit = request.token_limit
    if limit is not None and limit - used < len(tokens):
        return tokens[: limit - used], "length"
    return tokens, "stop"


@lru_cache(maxsize=512)
def _draw_delays(
    count: int, prompt: Prompt, pace: TokenPace, first_ms: float | None, gap_ms: float | None
) -> tuple[float, ...]:
    """Return the delay before each of `count` tokens in seconds, but at least one delay."""
    random = Random(repr(prompt))  # noqa: S311  # the same request gets the same pace

    def draw(median_s: float, sigma: float) -> float:
        return median_s * min(random.lognormvariate(0.0, sigma), _MAX_FACTOR)

    first_s = draw(pace.first_s, _FIRST_SIGMA) if first_ms is None else first_ms / 1000
    if gap_ms is not None:
        return (first_s, *[gap_ms / 1000] * (count - 1))
    return (first_s, *(draw(pace.gap_s, _GAP_SIGMA) for _ in range(count - 1)))
