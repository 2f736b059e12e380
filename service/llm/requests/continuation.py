"""Requests that continue a text which broke off, in the form that a model's server accepts.

Sources: https://docs.mistral.ai/guides/prefix, https://api-docs.deepseek.com/guides/chat_prefix_completion,
https://docs.anthropic.com/en/docs/build-with-claude/prompt-engineering/prefill-claudes-response,
https://console.groq.com/docs/prefilling, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
(`continue_final_message`, also SGLang), https://github.com/ggml-org/llama.cpp/pull/13174.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from service.base_url import host_of, is_local
from service.domain import Message
from service.ensembles.agents import Agent
from service.errors import UpstreamError, UpstreamInvalidRequest
from service.llm.protocol import Call
from service.llm.requests.learned import ModelTraits
from service.messages import make_prefix

ContinuationForm = Literal[
    "flag",  # the text is the last message, the assistant's, marked as a prefix
    "open",  # the text is the last message, the assistant's, which the server leaves open
    "open_by_fields",  # the same, with fields that request it
    "instruction",  # the text is the assistant's message, and the user asks for the rest
]
_BY_PROVIDER: Mapping[str, ContinuationForm] = {
    "mistral_ai": "flag",
    "anthropic": "open",
    "groq": "open",
    "mock": "open",
}
_OPENING_FIELDS: Mapping[str, Any] = {
    "continue_final_message": True,
    "add_generation_prompt": False,
}
_LIMIT_FIELDS: Final = ("max_tokens", "max_completion_tokens")
# Formats of vLLM, SGLang, llama.cpp and Ollama.
_FORMAT_FIELDS = frozenset(
    {
        "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs",
        "regex", "ebnf", "json_schema", "grammar", "format",
    }
)  # fmt: skip
_LAST_WORDS = 8
_LAST_CHARS = 120
_TASK = (
    "Your answer above broke off because of a technical fault. Continue it exactly where it ends. "
    "Begin with its last words, repeated exactly: «{last}». Then write only what follows them. "
    "Do not start again and do not mention the fault."
)


def choose_form(target: Agent, traits: ModelTraits) -> ContinuationForm:
    """Return the form for a server. Unknown local servers are those that leave the message open.

    OpenAI and most others answer the last message of the assistant instead of continuing it.
    """
    if traits.refuses_prefix or target.continues_by == "instruction":
        return "instruction"
    if target.provider == "deepseek":
        return "flag" if urlsplit(target.base_url).path.startswith("/beta") else "instruction"
    if form := _BY_PROVIDER.get(target.provider):
        return form
    is_open = target.provider == "openai_compatible" and is_local(host_of(target.base_url))
    return "open_by_fields" if is_open or target.continues_by == "prefix" else "instruction"


@dataclass(frozen=True, slots=True)
class Continuation:
    """The text to continue, and the tokens that the rest of the answer may have."""

    text: str
    max_tokens: int

    def apply(self, call: Call, form: ContinuationForm) -> Call:
        """Return `call` as a request for the rest of the answer."""
        fields = _OPENING_FIELDS if form == "open_by_fields" else {}
        return replace(
            call,
            messages=[*call.messages, *self._make_messages(form)],
            max_tokens=self.max_tokens,
            extra_body={**self._limit(call.extra_body), **fields},
            options=self._limit(call.options),
        )

    def _make_messages(self, form: ContinuationForm) -> Sequence[Message]:
        if form == "instruction":
            task = _TASK.format(last=find_last_words(self.text))
            return [Message("assistant", self.text), Message("user", task)]
        text = self.text.rstrip() if form == "open" else self.text  # Anthropic refuses it
        return [make_prefix(text, is_marked=form == "flag")]

    def _limit(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        limits = {name: self.max_tokens for name in _LIMIT_FIELDS if name in fields}
        return {**fields, **limits}


def find_last_words(text: str) -> str:
    """Return the last words of a text, at most 120 characters."""
    return " ".join(text.split()[-_LAST_WORDS:])[-_LAST_CHARS:]


def learn_refused_prefix(error: UpstreamError, call: Call, traits: ModelTraits) -> bool:
    """Learn from the refusal of a call whose last message is a prefix; return whether it is one."""
    has_prefix = call.messages[-1].role == "assistant" and not traits.refuses_prefix
    if not has_prefix or not isinstance(error, UpstreamInvalidRequest):
        return False
    traits.refuses_prefix = True
    return True


def requests_format(fields: Mapping[str, Any]) -> bool:
    """Return whether the fields of a request demand a format, which a server would start anew."""
    form = fields.get("response_format")
    is_text = form is None or (isinstance(form, dict) and form.get("type") == "text")
    return not is_text or any(name in _FORMAT_FIELDS for name in fields)
