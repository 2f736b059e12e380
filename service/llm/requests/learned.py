"""Properties of models' servers that the service learns from their responses, for an hour.

Each process learns separately: a mistake costs one more request.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from service.errors import ServerReport
from service.llm.requests.json_form import JsonForm
from service.llm.requests.rules import RequestRules

_LIFETIME_S = 3_600.0
_MOST_MODELS = 1_024
# Bounds of the ratio between a server's count of tokens and that of the service.
_LEAST_RATIO = 0.8
_MOST_RATIO = 8.0
# The next room, as a part of refused messages' tokens, when a server does not state its window.
_AFTER_REFUSAL = 0.9
_AFTER_SECOND_REFUSAL = 0.5


@dataclass(slots=True)
class ModelTraits:
    """The properties of one model on one server.

    `rules` are those with which a request was accepted after a refusal. `token_ratio` is the
    server's count of tokens divided by the service's. `room_tokens` is the largest size of the
    messages, by the server's count, that may be accepted. `json_form` is the strongest form of a
    request for JSON that it accepts. `refuses_prefix`: it does not continue the start of an answer
    that is the last message.
    """

    learned_at: float
    rules: RequestRules | None = None
    token_ratio: float = 1.0
    room_tokens: int | None = None
    json_form: JsonForm = "json_schema"
    refuses_prefix: bool = False

    def record_tokens(self, ours: int, theirs: int) -> None:
        """Learn from two counts of the same messages. A higher ratio applies at once."""
        ratio = min(_MOST_RATIO, max(_LEAST_RATIO, theirs / ours))
        weight = 1.0 if ratio > self.token_ratio else 0.25
        self.token_ratio += weight * (ratio - self.token_ratio)

    def limit_room(self, tokens: int) -> None:
        """Learn that messages of more than `tokens` are refused."""
        self.room_tokens = min(tokens, self.room_tokens or tokens)

    def learn_window(
        self, report: ServerReport, total: int, max_tokens: int, *, is_second: bool
    ) -> None:
        """Learn from a refusal of messages that have `total` tokens by the service's count."""
        window, prompt = report.window_tokens, report.prompt_tokens
        if prompt and prompt > total:
            self.record_tokens(total, prompt)
        if window:
            self.limit_room(window - max_tokens if window > max_tokens else window // 2)
        if window is None or is_second:
            part = _AFTER_SECOND_REFUSAL if is_second else _AFTER_REFUSAL
            self.limit_room(int(total * self.token_ratio * part))


class LearnedTraits:
    """The traits of all models, by address and name."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], ModelTraits] = OrderedDict()

    def of(self, base_url: str, model: str) -> ModelTraits:
        """Return the traits of a model, new ones when nothing is known or it was long ago."""
        now, key = asyncio.get_running_loop().time(), (base_url, model)
        traits = self._known.get(key)
        if traits is None or now - traits.learned_at > _LIFETIME_S:
            traits = self._known[key] = ModelTraits(now)
        self._known.move_to_end(key)
        if len(self._known) > _MOST_MODELS:
            self._known.popitem(last=False)
        return traits
