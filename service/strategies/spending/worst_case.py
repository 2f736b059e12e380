"""The most that one call of a model can cost, in tokens and money, before it is sent.

The prompt is counted as for the model's window, with its tools and images. The answer may have as
many tokens as the request allows; all of them may be reasoning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from service.domain import Message, Usage
from service.ensembles.agents import Agent
from service.ensembles.model_families import family_of
from service.ensembles.prices import Price
from service.llm.protocol import Call
from service.llm.requests.learned import LearnedTraits
from service.llm.tokens.counter import TokenCounter
from service.llm.tokens.window import MESSAGE_TOKENS
from service.messages import has_tool_calls, list_content_parts

_START_TOKENS = 3  # of every answer; see MESSAGE_TOKENS
_LIMITS = ("max_tokens", "max_completion_tokens")
_COUNTED_FIELDS = ("tools", "functions", "response_format")  # models read them as text
_IMAGES = "image_url"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Tokens, and money in billionths of a US dollar."""

    tokens: int = 0
    nano_usd: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.tokens + other.tokens, self.nano_usd + other.nano_usd)

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(self.tokens - other.tokens, self.nano_usd - other.nano_usd)

    @property
    def lacking(self) -> Amounts:
        """The amounts by which these are negative."""
        return Amounts(max(0, -self.tokens), max(0, -self.nano_usd))


@dataclass(frozen=True, slots=True)
class WorstCases:
    """Computes the worst case of calls. A model without a price costs no money.

    `learned` has the ratios between servers' counts of tokens and that of the service.
    """

    tokens: TokenCounter
    learned: LearnedTraits
    prices: Mapping[str, Price]

    async def of_call(self, agent: Agent, call: Call, further_tokens: int = 0) -> Amounts:
        """Return the most that `call` can cost; `further_tokens` of its prompt are not known yet.

        Audio and files are not counted: with them a prompt may fill the model's window.
        """
        fields = call.rules.apply(call.fields)
        output = limit_output(agent, fields)
        media = [kind for each in call.messages for kind in _list_media(each)]
        images = media.count(_IMAGES) * family_of(call.model).image_tokens
        prompt = further_tokens + await self._count_prompt(call, fields)
        if len(media) > media.count(_IMAGES):
            prompt = max(prompt, agent.context_tokens)
        price = self.prices.get(call.model)
        money = price.limit_nano_usd(prompt, images, output) if price else 0
        return Amounts(prompt + images + output, money)

    def of_usage(self, model: str, usage: Usage) -> Amounts:
        """Return the tokens and the cost of a call that has ended."""
        price = self.prices.get(model)
        return Amounts(usage.total_tokens, price.cost_nano_usd(usage) if price else 0)

    async def _count_prompt(self, call: Call, fields: Mapping[str, Any]) -> int:
        texts = [_read_text(each) for each in call.messages]
        texts += [_encode(fields[name]) for name in _COUNTED_FIELDS if fields.get(name)]
        counts = await self.tokens.count(texts, call.model)
        ratio = max(1.0, self.learned.of(call.base_url, call.model).token_ratio)
        return math.ceil((sum(counts) + MESSAGE_TOKENS * len(texts) + _START_TOKENS) * ratio)


def limit_output(agent: Agent, fields: Mapping[str, Any]) -> int:
    """Return the most tokens of an answer to a request of these `fields`.

    Without a valid limit, which `extra_body` can remove, an answer may fill the window.
    """
    limits = [value for name in _LIMITS if type(value := fields.get(name)) is int and value > 0]
    choices = fields.get("n")
    times = choices if type(choices) is int and choices > 1 else 1
    return times * (max(limits) if limits else agent.context_tokens)


def _list_media(message: Message) -> Iterator[str]:
    """Yield the types of the parts that are not text."""
    if message.raw:
        yield from (each["type"] for each in list_content_parts(message) if each["type"] != "text")


def _read_text(message: Message) -> str:
    """Return the text that a model reads: of tool calls their JSON."""
    return message.raw or "" if has_tool_calls(message) else message.content


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()
