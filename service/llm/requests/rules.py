"""The form of a request that a model's server accepts, known in advance or from a refusal.

Sans-IO.

A parameter whose loss would change the meaning of the answer is never left out: a response format,
tools, stop sequences. There the server's refusal is the result.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from service.domain import Message
from service.ensembles.agents import Agent
from service.ensembles.model_families import LimitField, family_of
from service.errors import UpstreamError
from service.llm.errors.bodies import ErrorFacts
from service.llm.errors.wordings import refuses_role_order, refuses_system_role
from service.llm.requests.message_order import alternate_roles, fold_system_message

# Parameters that only tune an answer or its report; each can be left out.
_OPTIONAL = frozenset(
    {
        "temperature", "top_p", "top_k", "top_a", "min_p", "typical_p", "tfs_z", "mirostat",
        "mirostat_tau", "mirostat_eta", "presence_penalty", "frequency_penalty",
        "repetition_penalty", "repeat_penalty", "length_penalty", "no_repeat_ngram_size", "seed",
        "random_seed", "reasoning_effort", "reasoning", "reasoning_format", "include_reasoning",
        "thinking", "enable_thinking", "thinking_budget", "chat_template_kwargs", "verbosity",
        "stream_options", "service_tier", "metadata", "store", "user", "safety_identifier",
        "prompt_cache_key", "prompt_cache_retention", "cache_prompt", "keep_alive", "logprobs",
        "top_logprobs", "num_ctx", "options", "prediction",
    }
)  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
_OTHER_LIMIT: Mapping[str, LimitField] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
# Statuses of a refused parameter; None: an error object in a stream.
_STATUSES = frozenset({400, 404, 405, 422, None})
# Wordings of OpenAI, Azure, Groq, Gemini ("Cannot find field"), Mistral, vLLM and FastAPI
# (pydantic), LiteLLM ("does not support parameters"), Anthropic, TGI and serde ("unknown field").
_REFUSAL = re.compile(
    r"unsupported|not (currently |yet )?support|n't support|unrecogni[sz]ed|not recogni[sz]ed|"
    r"unknown|unexpected|not permitted|not allowed|not available|not enabled|not accept|"
    r"cannot find field|no such (field|parameter|argument)|extra (inputs|fields|input|field)|"
    r"additional propert|invalid (request )?(argument|parameter|field|option)|deprecated|"
    r"not a valid (parameter|field)|cannot (both )?be (used|set|specified)|only the default|"
    r"must be (omitted|removed|unset)|\bremove\b|instead|is forbidden|does not exist|"
    r"不支持|不允许|未知|无效"
)
# Further wordings for parameters that can be left out: also their values may be refused.
_REFUSED_VALUE = re.compile(
    r"\binvalid\b|\bonly\b|must (not )?be|(do not|don't) (send|use|set)|out of range|should be"
)
_NO_PENALTY = "penalty is not enabled"  # Gemini, about either penalty
_UNEXPECTED_ARGUMENT = re.compile(r"unexpected keyword argument")  # a server's fault, so status 500
_SEPARATORS = re.compile(r"[.\[\]/#$]+")


@dataclass(frozen=True, slots=True)
class RequestRules:
    """The differences of a request from the usual one that its server requires."""

    limit_field: LimitField = "max_tokens"
    left_out: frozenset[str] = frozenset()
    folds_system: bool = False
    alternates: bool = False

    def merge(self, learned: RequestRules) -> RequestRules:
        """Return these rules with those that were learned from refusals."""
        is_renamed = _OTHER_LIMIT[learned.limit_field] in learned.left_out
        return RequestRules(
            limit_field=learned.limit_field if is_renamed else self.limit_field,
            left_out=self.left_out | learned.left_out,
            folds_system=self.folds_system or learned.folds_system,
            alternates=self.alternates or learned.alternates,
        )

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request without those that the server refuses.

        A refused token limit has its other name.
        """
        accepted = {name: each for name, each in fields.items() if name not in self.left_out}
        for name, other in _OTHER_LIMIT.items():
            if name in fields and name in self.left_out:
                accepted.setdefault(other, fields[name])
        return accepted

    def arrange(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return `messages` with the roles and their order that the server accepts."""
        if self.folds_system:
            messages = fold_system_message(messages)
        return alternate_roles(messages) if self.alternates else messages

    def list_left_out(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the parameters with values of their own that `apply` leaves out of `fields`."""
        return tuple(
            name
            for name, value in fields.items()
            if name in self.left_out and name not in _OTHER_LIMIT and name != "stream_options"
            if value is not None and value != _DEFAULTS.get(name)
        )


@dataclass(frozen=True, slots=True)
class Correction:
    """Rules with which a refused request can be repeated; `change` completes "again …"."""

    rules: RequestRules
    change: str


def choose_rules(agent: Agent, model: str) -> RequestRules:
    """Return what is known about a model and its server before the first request."""
    family = family_of(model)
    by_server: LimitField = "max_completion_tokens" if agent.provider == "openai" else "max_tokens"
    left_out = family.refused if agent.stream_options else family.refused | {"stream_options"}
    return RequestRules(
        limit_field=family.limit_field or by_server,
        left_out=left_out,
        folds_system=not family.has_system_role,
    )


def find_correction(
    error: UpstreamError,
    rules: RequestRules,
    fields: Mapping[str, Any],
    messages: Sequence[Message],
) -> Correction | None:
    """Return the correction for a refused request of these fields; None if there is none."""
    facts = ErrorFacts(error.report.sentence)
    has_system = any(each.role == "system" for each in messages)
    if has_system and not rules.folds_system and refuses_system_role(facts):
        change = "with the system message as a part of the first question"
        return Correction(replace(rules, folds_system=True), change)
    if not rules.alternates and refuses_role_order(facts):
        return Correction(replace(rules, alternates=True), "with user and assistant in turn")
    named = tuple(_find_refused(error, rules.apply(fields)))
    if not named:
        return None
    limits = [name for name in named if name in _OTHER_LIMIT]
    if any(_OTHER_LIMIT[name] in rules.left_out for name in limits):
        return None  # both names are refused
    changed = replace(rules, left_out=rules.left_out.union(named))
    if limits:
        changed = replace(changed, limit_field=_OTHER_LIMIT[limits[0]])
    return Correction(changed, _describe(named))


def _find_refused(error: UpstreamError, sent: Collection[str]) -> Iterator[str]:
    """Yield the parameters of `sent` that the error refuses and that can be left out."""
    report, sentence = error.report, error.report.sentence.lower()
    if report.status not in _STATUSES and not _UNEXPECTED_ARGUMENT.search(sentence):
        return
    in_field = {part for each in report.fields for part in _SEPARATORS.split(each)[:2]}
    if "both" in sentence and {"temperature", "top_p"} <= set(sent):  # Anthropic
        in_field, sentence = in_field - {"temperature"}, sentence.replace("temperature", "")
    is_refused = bool(_REFUSAL.search(sentence))
    is_refused_value = is_refused or bool(_REFUSED_VALUE.search(sentence))
    for name in sent:
        is_named = _is_named(name, sentence)
        is_optional_refused = name in in_field or (is_named and is_refused_value)
        if (
            (name in _OPTIONAL and is_optional_refused)
            or (name in _OTHER_LIMIT and is_refused and (is_named or name in in_field))
            or (name.endswith("_penalty") and _NO_PENALTY in sentence)
        ):
            yield name


def _is_named(name: str, sentence: str) -> bool:
    """Return whether a sentence in lower case has the name, also as `topP` or `top p`."""
    words = name.replace("_", "[_ -]?")
    names = rf"(?:{words}|include_usage)" if name == "stream_options" else words
    return bool(re.search(rf"(?<![\w-]){names}(?![\w-])", sentence))


def _describe(names: Sequence[str]) -> str:
    parts = [
        f"with {_OTHER_LIMIT[name]} instead of {name}"
        if name in _OTHER_LIMIT
        else f"without {name}"
        for name in names
    ]
    return " and ".join(parts)
