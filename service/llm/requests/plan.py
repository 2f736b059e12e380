"""The messages and rules of an agent's requests in one run, corrected after refusals.

A refusal that states its reason is corrected once: a parameter is left out, the roles are changed,
or, when the messages are too long, the oldest exchange is dropped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from service.domain import Message, RunRequest, Usage
from service.ensembles.agents import Agent
from service.errors import UpstreamContextExceeded, UpstreamError
from service.llm.content_parts import adapt_messages, list_part_types
from service.llm.protocol import Call
from service.llm.requests.continuation import (
    Continuation,
    choose_form,
    learn_refused_prefix,
    requests_format,
)
from service.llm.requests.json_form import JsonForm, find_weaker_form, make_json_options
from service.llm.requests.learned import LearnedTraits, ModelTraits
from service.llm.requests.rules import Correction, RequestRules, choose_rules, find_correction
from service.llm.tokens.counter import TokenCounter
from service.llm.tokens.window import (
    MESSAGE_TOKENS,
    drop_oldest_exchanges,
    estimate_max_tokens,
    has_history,
    trim_history,
)
from telemetry import AgentOperation

_log = logging.getLogger(__name__)

_MOST_CORRECTIONS = 4  # of one call: servers name one refused parameter at a time
_LEAST_COUNTED = 64  # tokens; with fewer the overhead of the template dominates


class RequestPlan:
    """The messages to send and the rules of each model; changed by refusals."""

    def __init__(
        self,
        agent: Agent,
        request: RunRequest,
        messages: Sequence[Message],
        tokens: TokenCounter,
        learned: LearnedTraits,
    ) -> None:
        self.messages = adapt_messages(agent, messages)
        self._agent = agent
        self._max_tokens = min(agent.max_tokens, request.max_tokens or agent.max_tokens)
        self._options = request.options.parameters
        self._tokens = tokens
        self._learned = learned
        self._operation: AgentOperation | None = None
        self._corrections: list[Correction] = []
        self._was_shortened = False
        self._json_form: JsonForm | None = None  # after a refusal of a stronger one
        self._counts: dict[str, int] = {}
        self._continuation: Continuation | None = None

    def build_call(
        self, model: str, *, target: Agent, key: str | None, is_watched: bool, timeout_s: float
    ) -> Call:
        """Return the next request to `model` at the address of `target`.

        `is_watched` if a client receives its text.
        """
        agent = target
        default_key = f"LLM_KEY (or OPENAI_API_KEY, GROQ_API_KEY), or key_env of {agent.name}"
        call = Call(
            model=model,
            base_url=agent.base_url,
            provider=agent.provider,
            messages=self.messages,
            max_tokens=self._max_tokens,
            key=key,
            key_name=agent.key_env or default_key,
            key_header=agent.key_header,
            temperature=agent.temperature,
            top_p=agent.top_p,
            stream=agent.stream,
            watched=is_watched,
            extra_body=agent.extra_body,
            options=self._make_options(model),
            first_token_timeout_s=agent.first_token_timeout_s,
            idle_timeout_s=agent.idle_timeout_s,
            timeout_s=timeout_s,
            rules=self._rules_of(target, model),
        )
        if self._continuation is None:
            return call
        return self._continuation.apply(call, choose_form(target, self._traits_at(target, model)))

    @property
    def has_format(self) -> bool:
        """Whether the answer must have a format, such as JSON."""
        given = {**self._agent.extra_body, **self._options}
        return self._agent.json_schema is not None or requests_format(given)

    async def continue_from(self, text: str) -> None:
        """Request the rest of an answer whose start is `text` from now on."""
        if text.strip():
            used = sum(await self._count([text], self._traits(self._agent.model).token_ratio))
            self._continuation = Continuation(text, max(1, self._max_tokens - used))

    def _make_options(self, model: str) -> Mapping[str, Any]:
        """Return the fields of the caller; copies of an agent send different seeds."""
        options, agent = dict(self._options), self._agent
        if agent.instance:
            seed = options.get("seed", agent.extra_body.get("seed"))
            options["seed"] = (seed if isinstance(seed, int) else 0) + agent.instance
        if agent.json_schema is not None:
            form = self._json_form or self._traits(model).json_form
            options |= make_json_options(agent.json_schema, form)
        return options

    def _rules_of(self, target: Agent, model: str) -> RequestRules:
        if self._corrections:
            return self._corrections[-1].rules
        learned = self._traits_at(target, model).rules
        rules = choose_rules(target, model)
        return rules.merge(learned) if learned else rules

    def start_model(self) -> None:
        """Forget the corrections that were made for another model."""
        self._corrections = []
        self._json_form = None

    async def fit_context(self, operation: AgentOperation | None) -> None:
        """Leave out the oldest exchanges that do not fit into the window beside the answer."""
        self._operation = operation
        traits = self._traits(self._agent.model)
        room = self._room(traits)
        counting = partial(self._count, ratio=traits.token_ratio)
        self._replace_messages(
            await trim_history(self.messages, room, counting, traits.token_ratio)
        )

    async def record_answer(self, call: Call, usage: Usage | None) -> None:
        """Learn from an accepted request: its rules, and the server's count of its tokens."""
        traits = self._learned.of(call.base_url, call.model)
        if self._corrections:
            traits.rules = call.rules
        if self._json_form:
            traits.json_form = self._json_form
        if usage is None or not self._is_countable(call):
            return
        ours = sum(await self._count([each.content for each in call.messages]))
        ours += MESSAGE_TOKENS * len(call.messages)
        if ours >= _LEAST_COUNTED and usage.input_tokens > 0:
            traits.record_tokens(ours, usage.input_tokens)

    async def correct(self, error: UpstreamError, call: Call) -> str | None:
        """Change the plan after a refusal; return the change, None if a retry cannot help.

        The change completes "it is called again …".
        """
        if isinstance(error, UpstreamContextExceeded):
            return await self._shorten(error, call)
        if self._continuation and learn_refused_prefix(
            error, call, self._learned.of(call.base_url, call.model)
        ):
            return "with the start of the answer in another message"
        if len(self._corrections) >= _MOST_CORRECTIONS:
            return None
        correction = find_correction(error, call.rules, call.fields, call.messages)
        if correction is None:
            return self._weaken_json_form(error, call.model)
        self._corrections.append(correction)
        _log.warning(
            "%s refused a request; it is repeated %s, and so are later ones for an hour: %s",
            call.model,
            correction.change,
            error.report.sentence,
            extra={"agent": self._agent.name},
        )
        return correction.change

    def _weaken_json_form(self, error: UpstreamError, model: str) -> str | None:
        if self._agent.json_schema is None:
            return None
        form = self._json_form or self._traits(model).json_form
        self._json_form = find_weaker_form(error, form) or self._json_form
        return None if self._json_form in (None, form) else f"without response_format {form}"

    async def _shorten(self, error: UpstreamContextExceeded, call: Call) -> str | None:
        """Learn the window from a refusal, and drop at least the oldest exchange, once."""
        traits = self._traits(call.model)
        texts = [each.content for each in self.messages]
        counts = await self._count(texts)
        total = sum(counts) + MESSAGE_TOKENS * len(counts)
        traits.learn_window(error.report, total, self._max_tokens, is_second=self._was_shortened)
        if self._was_shortened:
            return None
        room = int(min(self._room(traits) / traits.token_ratio, total - 1))
        shorter = drop_oldest_exchanges(self.messages, counts, room)
        if len(shorter) == len(self.messages):
            return None  # only the question is left
        self._was_shortened = True
        dropped = self._replace_messages(shorter)
        return f"without the oldest {dropped} messages"

    def _replace_messages(self, messages: Sequence[Message]) -> int:
        dropped = len(self.messages) - len(messages)
        if dropped:
            self.messages = messages
            if self._operation:
                self._operation.record_context_trim(dropped)
        return dropped

    def _room(self, traits: ModelTraits) -> int:
        """Return the tokens, by the server's count, that the messages may have."""
        room = self._agent.context_tokens - self._max_tokens
        return min(room, traits.room_tokens or room)

    def _is_countable(self, call: Call) -> bool:
        """Return whether counts can be compared, and the window may matter soon."""
        if "tools" in call.options or list_part_types(call.messages):
            return False  # the server counts them, the service does not
        if not has_history(call.messages):
            return False
        room = self._room(self._traits(call.model))
        return 2 * estimate_max_tokens(call.messages) > room

    async def _count(self, texts: Sequence[str], ratio: float = 1.0) -> Sequence[int]:
        missing = [text for text in texts if text not in self._counts]
        if missing:
            counts = await self._tokens.count(missing, self._agent.model, self._operation)
            self._counts |= zip(missing, counts, strict=True)
        return [math.ceil(self._counts[text] * ratio) for text in texts]

    def _traits(self, model: str) -> ModelTraits:
        return self._traits_at(self._agent, model)

    def _traits_at(self, target: Agent, model: str) -> ModelTraits:
        return self._learned.of(target.base_url, model)
