"""Wordings of model servers for errors that the service handles in a special way. Sans-IO.

Few servers send a code for them. Each expression is searched in the sentence in lower case.
"""

from __future__ import annotations

import re

from service.llm.errors.bodies import ErrorFacts

# --- the question does not fit into the model's window ---

_CONTEXT_CODES = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, DeepSeek, Groq, Mistral
        "contextwindowexceedederror",  # LiteLLM
        "exceed_context_size_error",  # llama.cpp
        "model_context_window_exceeded",  # Anthropic
        "tokens_limit_reached",  # GitHub Models
        "string_above_max_length",  # OpenAI
    }
)
_CONTEXT = re.compile(
    "|".join(
        (
            r"maximum context length",  # OpenAI, vLLM, OpenRouter, DeepSeek, Mistral, SGLang
            r"context[ _](length|window|size|limit)[^.]{0,40}(exceed|overflow)",
            r"exceed\w*[^.]{0,60}context[ _](length|window|size|limit)",  # OpenAI, llama.cpp
            r"context (window|length|size|limit) exceeds",  # MiniMax
            r"context (the )?overflows|greater than the context length",  # LM Studio
            r"reached context length of",  # LM Studio
            r"longer than the (model's context|maximum model) length",  # SGLang, Together, vLLM
            r"exceeds? (the )?max_?(model_len|seq_len|imum model length)",  # vLLM
            r"(prompt|input|question|conversation) (is |was )?too long",  # Anthropic, Bedrock
            r"prompt exceeds (the )?(max|length)",  # Zhipu
            r"maximum (prompt|input|allowed input) length",  # xAI, Poolside
            r"(exceed\w*|beyond)[^.]{0,80}input tokens",
            r"input (token count|tokens?)[^.]{0,60}exceed",  # Gemini, OpenAI
            r"maximum number of (input )?tokens allowed",  # Gemini
            r"too many input tokens",  # Bedrock
            r"tokens? > \d[\d,]* maximum",  # Anthropic
            r"(exceeded|exceeds)( the)? model token limit",  # Moonshot
            r"reduce (the|your) (length|size) of (the |your )?(messages|prompt|input)",  # Groq
            r"inputs?`? tokens \+ `?max_new_tokens`? must be",  # TGI
            r"inputs`? must have less than \d+ tokens",  # TGI
            r"range of input length should be",  # DashScope
            r"total number of tokens[^.]{0,40}cannot exceed",  # Cohere
            r"request body too large for .{0,60}max size: \d+ tokens",  # GitHub Models
            r"prompt contains \d+ tokens[^.]{0,60}too large",  # Mistral
        )
    )
)
# A rate limit in tokens is not a window: "tokens per min (TPM): Limit 30000, Requested 40000".
_RATE = re.compile(r"per[ -](min|hour|day|sec)|\b[tr]p[md]\b|rate[ _-]limit|throttl|please wait")
_WINDOW = re.compile(
    r"(?:context (?:length|window|size|limit)|(?:model|prompt|input|allowed input) length|"
    r"input length should be|tokens? allowed|token limit|limit|max size|max_\w+_len|must be <=|"
    r"cannot exceed|less than|>)(?: of| is|:)?(?: only)?\s*[(\[]?(?:1, ?)?(\d[\d,]*)(?! \+)\b|"
    r"(\d[\d,]*) (?:maximum|max)\b"
)
_PROMPT = re.compile(
    r"(?:resulted in|request(?:ed)?(?: about| contains)?|contains(?: at least)?|your request has|"
    r"too long|input length|the input|prompt \(length|token count|requested:|received|given:|"
    r"current length is|keep the first)\W{0,3}(?:of |is )?\(?(\d[\d,]*)"
)


def is_context_refusal(facts: ErrorFacts) -> bool:
    """Return whether the messages of the request are too long for the model."""
    if any(code.lower() in _CONTEXT_CODES for code in facts.codes):
        return True
    sentence = facts.sentence.lower()
    return bool(_CONTEXT.search(sentence)) and not _RATE.search(sentence)


def find_window_tokens(facts: ErrorFacts) -> int | None:
    """Return the size of the model's window, in tokens, that a context refusal states."""
    if "n_ctx" in facts.numbers:  # llama.cpp
        return facts.numbers["n_ctx"]
    sizes = _find_numbers(_WINDOW, facts.sentence)
    return min((each for each in sizes if each >= 16), default=None)


def find_prompt_tokens(facts: ErrorFacts) -> int | None:
    """Return the tokens of the messages that a context refusal states, by the server's count."""
    if "n_prompt_tokens" in facts.numbers:  # llama.cpp
        return facts.numbers["n_prompt_tokens"]
    return max(_find_numbers(_PROMPT, facts.sentence), default=None)


def _find_numbers(pattern: re.Pattern[str], sentence: str) -> list[int]:
    found = (next(filter(None, match.groups())) for match in pattern.finditer(sentence.lower()))
    return [int(each.replace(",", "")) for each in found if len(each) < 12]


# --- the account has no money: waiting does not help ---

_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",  # OpenAI
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",  # Anthropic
        "budget_exceeded",  # LiteLLM
        "exceeded_current_quota_error",  # Moonshot
        "insufficient_balance",
        "credit_balance_exhausted",
    }
)
_QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|credits?|funds)|(credit|account) balance is too low|"
    r"out of credits|requires more credits|(no|not enough) (remaining )?credits|billing hard limit|"
    r"exceeded your current quota|account is not active|budget has been exceeded|余额不足|"
    r"payment required"
)


def is_quota_refusal(facts: ErrorFacts) -> bool:
    """Return whether the account's quota or credit is used up.

    Gemini sends OpenAI's sentence for limits per minute too, with the delay until the next request.
    """
    if any(code.lower() in _QUOTA_CODES for code in facts.codes):
        return True
    sentence = facts.sentence.lower()
    is_transient = "retry in" in sentence or "RESOURCE_EXHAUSTED" in facts.codes
    return bool(_QUOTA.search(sentence)) and not is_transient


# --- the key ---

_KEY = re.compile(
    r"\b(api[-_ ]?keys?|keys?|token|credentials?|bearer|authorization header|authenticat\w+|"
    r"unauthori[sz]ed|not authori[sz]ed|authori[sz]ation required|unauthenticated|"
    r"invalid_api_key)\b"
)
_KEY_CODES = frozenset({"invalid_api_key", "authentication_error", "unauthenticated"})


def is_about_key(facts: ErrorFacts) -> bool:
    """Return whether a refusal concerns the API key, or gives no reason at all."""
    if any(code.lower() in _KEY_CODES for code in facts.codes):
        return True
    return not facts.sentence or bool(_KEY.search(facts.sentence.lower()))


def is_about_address(facts: ErrorFacts) -> bool:
    """Return whether a 404 or 405 concerns the address of the request: it names no model."""
    return not re.search(r"model|deployment|engine", facts.sentence.lower())


# --- roles of messages ---

_NO_SYSTEM = re.compile(
    r"system role (is )?not supported|system (role|message|prompt|instruction)s?[^.]{0,40}"
    r"(not|un)[ -]?(supported|allowed|enabled|permitted)|only user and assistant roles|"
    r"does not support (the )?'?(system|developer)'?|developer instruction is not enabled|"
    r"(not|un)[ -]?(support|allow)\w*[^.]{0,30}(system|developer)\W{0,2} (role|message|prompt)|"
    r"(unexpected|invalid|unsupported|unknown) role:?\W{0,3}(system|developer)"
)
_ALTERNATION = re.compile(
    r"roles? must alternate|must alternate (between )?['\"]?user|alternat\w+ (between )?['\"]?user|"
    r"(consecutive|multiple|successive) [^.]{0,20}(messages|turns)|"
    r"(first|initial)( non-system)? message[^.]{0,30}['\"]?user|"
    r"expected last role user|should (start|begin) with [^.]{0,10}user"
)


def refuses_system_role(facts: ErrorFacts) -> bool:
    """Return whether the model's chat template has no system role (Gemma, o1-mini)."""
    return bool(_NO_SYSTEM.search(facts.sentence.lower()))


def refuses_role_order(facts: ErrorFacts) -> bool:
    """Return whether the template requires user and assistant in turn (Mistral, Gemma, Llama 2)."""
    return bool(_ALTERNATION.search(facts.sentence.lower()))
