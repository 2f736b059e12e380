"""The request of OpenAI's chat protocol. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from service.domain import Message
from service.ensembles.providers import BEARER
from service.llm.requests.rules import RequestRules
from service.messages import encode_chat_message


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one model, with its deadlines in seconds.

    `key` is a secret, `key_name` its setting and `key_header` its header. `watched` is true if a
    client receives the text while it arrives. `extra_body` has further fields of the request,
    `options` fields from the caller, which override all others. A hedge repeats a request whose
    first token is late.
    """

    model: str
    base_url: str
    provider: str
    messages: Sequence[Message]
    max_tokens: int
    key: str | None = field(default=None, repr=False)
    key_name: str = "LLM_KEY"
    key_header: str = BEARER
    temperature: float | None = None
    top_p: float | None = None
    stream: bool = True
    watched: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    first_token_timeout_s: float
    idle_timeout_s: float
    timeout_s: float
    rules: RequestRules = field(default_factory=RequestRules)
    is_hedge: bool = False

    def body(self) -> bytes:
        """Return the request's JSON.

        Source: https://platform.openai.com/docs/api-reference/chat/create
        """
        messages = [encode_chat_message(each) for each in self.rules.arrange(self.messages)]
        fields = self.rules.apply(self.fields)
        return msgspec.json.encode({"model": self.model, "messages": messages, **fields})

    @property
    def fields(self) -> Mapping[str, Any]:
        """The wanted fields of the request besides model and messages, before its rules."""
        given = {**self.extra_body, **self.options}
        fields: dict[str, Any] = {"stream": self.stream}
        if not given.keys() & {"max_tokens", "max_completion_tokens"}:
            fields[self.rules.limit_field] = self.max_tokens
        if self.stream:
            fields["stream_options"] = {"include_usage": True}
        if self.temperature is not None:
            fields["temperature"] = self.temperature
        if self.top_p is not None:
            fields["top_p"] = self.top_p
        return {**fields, **given}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The wanted parameters that the request leaves out because its server refuses them."""
        if not self.rules.left_out:
            return ()
        return self.rules.list_left_out(self.fields)
