"""The request of OpenAI's chat protocol. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from service.domain import Message
from service.ensembles.providers import BEARER
from service.messages import encode_chat_message


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one model, with its deadlines in seconds.

    `key` is a secret, `key_name` its setting and `key_header` its header. `watched` is true if a
    client receives the text while it arrives. `extra_body` has further fields of the request,
    `options` fields from the caller, which override all others.
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

    def body(self) -> bytes:
        """Return the request's JSON.

        Source: https://platform.openai.com/docs/api-reference/chat/create
        """
        # OpenAI's newer models refuse max_tokens; other servers support nothing else.
        limit = "max_completion_tokens" if self.provider == "openai" else "max_tokens"
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [encode_chat_message(each) for each in self.messages],
            limit: self.max_tokens,
            "stream": self.stream,
        }
        if self.stream:
            fields["stream_options"] = {"include_usage": True}
        if self.temperature is not None:
            fields["temperature"] = self.temperature
        if self.top_p is not None:
            fields["top_p"] = self.top_p
        return msgspec.json.encode({**fields, **self.extra_body, **self.options})
