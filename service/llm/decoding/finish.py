"""Reasons for the end of an answer: other servers' names, as OpenAI's reasons or as failures.

The only place that decides on `finish_reason`.
Sources: the API references and enumerations of OpenAI, Azure, Anthropic, Gemini
(`FinishReason`), Mistral, Cohere, DeepSeek, Zhipu GLM, Bedrock (`stopReason`), watsonx.ai and xAI;
the servers of vLLM, SGLang, Text Generation Inference, llama.cpp, Ollama and LM Studio.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from service.errors import UpstreamBusy, UpstreamError, UpstreamFailed
from service.llm.surrogates import replace_lone_surrogates

_log = logging.getLogger(__name__)

FAILED: Final = "error"
CUT_OFF: Final = frozenset({"length", "content_filter"})
_MAX_SHOWN_CHARS = 64


class Finish(NamedTuple):
    """The end of an answer: OpenAI's reason, or `error` with the kind of the failure.

    `native` is the reason in the server's words.
    """

    reason: str
    native: str
    failure: type[UpstreamError] | None = None


# Reasons without case and separators: `end_turn`, `END-TURN` and `EndTurn` are one reason.
_STOP = """
    stop stopped stopsequence stopstring stopstringfound stoptoken stopword stopcriteria
    eos eosfound eostoken eogtoken end ended endturn endoftext endofturn endoftokens done
    complete completed finish finished success succeeded normal ok word
    pauseturn unexpectedend
"""
_LENGTH = """
    length maxlength maxlen maxtoken maxtokens maxtokensreached maxnewtokens maxoutputtokens
    maxcompletiontokens maxpredictedtokensreached modellength contextlength contextlengthreached
    contextlengthexceeded contextwindowexceeded modelcontextwindowexceeded maxcontext
    maxcontextlength limit tokenlimit outputlimit errorlimit incomplete truncated timelimit
    maxtime maxturns repetition
"""
_CALLS = """
    toolcalls toolcall tooluse functioncall functioncalls function tool
"""
_FILTER = """
    contentfilter contentfiltered contentfiltering filter filtered safety sensitive
    recitation blocklist blocked prohibitedcontent spii refusal refused guardrail guardrails
    guardrailintervened guardrailsintervened moderation moderated contentpolicy
    contentpolicyviolation policyviolation language errortoxic toxic copyright
    imagesafety imageprohibitedcontent imagerecitation modelarmor riskcontrol
"""
_FAILED = """
    error errored servererror internalerror internalservererror fail failed failure exception
    networkerror connectionerror abort aborted cancel cancelled canceled usercancel
    usercancelled userstopped interrupted timeout timedout unload unloaded modelunloaded other
    malformedfunctioncall malformedmodeloutput malformedtooluse malformedresponse
    unexpectedtoolcall toomanytoolcalls missingthoughtsignature imageother noimage killed oom
    outofmemory
"""
_BUSY = """
    insufficientsystemresource insufficientsystemresources overloaded ratelimit ratelimited
    ratelimitexceeded preempted
"""
# Not an end: the server has no reason yet.
_NO_REASON = """
    null none nil undefined false notfinished unfinished unspecified finishreasonunspecified
    inprogress continue load 0
"""
_NONE = frozenset(_NO_REASON.split())

_REASONS: Mapping[str, tuple[str, type[UpstreamError] | None]] = {
    name: (reason, failure)
    for names, reason, failure in (
        (_STOP, "stop", None),
        (_LENGTH, "length", None),
        (_CALLS, "tool_calls", None),
        (_FILTER, "content_filter", None),
        (_FAILED, FAILED, UpstreamFailed),
        (_BUSY, FAILED, UpstreamBusy),
    )
    for name in names.split()
}


def read_finish_reason(value: Any) -> Finish | None:
    """Return the end that a server's reason states; None while there is no reason.

    An object, as SGLang sends it, has its reason under `type`. An unknown reason is `stop`.
    """
    if value == "stop":  # nearly always
        return _STOPPED
    if isinstance(value, dict):
        value = next((value[key] for key in ("type", "reason", "name") if value.get(key)), None)
    if not value or not isinstance(value, str | int | float):
        return None
    native = replace_lone_surrogates(str(value).strip()[:_MAX_SHOWN_CHARS])
    for key in _list_keys(native):
        if not key or key in _NONE:
            return None
        if known := _REASONS.get(key):
            return Finish(known[0], native, known[1])
    reason, failure = _guess(native)
    _log_unknown(native, reason)
    return Finish(reason, native, failure)


_STOPPED = Finish("stop", "stop")
_WORD_BREAKS = re.compile(r"([a-z])([A-Z])")
_GUESSES: tuple[tuple[re.Pattern[str], str, type[UpstreamError] | None], ...] = (
    (
        re.compile(r"overload|rate.?limit|capacity|throttl|too.?many.?requests"),
        FAILED,
        UpstreamBusy,
    ),
    (
        re.compile(
            r"error|exception|fail|abort|cancel|crash|kill|timeout|timed.?out|disconnect|reset|"
            r"unavailable|interrupt|invalid|malformed|out.?of.?memory"
        ),
        FAILED,
        UpstreamFailed,
    ),
    (
        re.compile(r"filter|safety|moderat|guardrail|polic|block|prohibit|harm"),
        "content_filter",
        None,
    ),
    (re.compile(r"length|limit|truncat|max|exceed|budget"), "length", None),
)


def _list_keys(native: str) -> list[str]:
    """Return `native` without separators, then its parts: `content_filter: SPII`, `Reason.STOP`."""
    names = [native, native.partition(":")[0], native.rpartition(".")[2]]
    keys = ["".join(filter(str.isalnum, name)).casefold() for name in names]
    prefixes = ("finishreason", "stopreason", "reason")
    return [*keys, *(keys[0].removeprefix(prefix) for prefix in prefixes)]


def _guess(native: str) -> tuple[str, type[UpstreamError] | None]:
    """Return the meaning of an unknown reason by its words: `upstream_error` is a failure."""
    words = _WORD_BREAKS.sub(r"\1 \2", native).casefold()
    for pattern, reason, failure in _GUESSES:
        if pattern.search(words):
            return reason, failure
    return "stop", None


@lru_cache(maxsize=256)
def _log_unknown(native: str, reason: str) -> None:
    """Log an unknown reason, once."""
    _log.warning("unknown finish_reason %r of a model server, read as %s", native, reason)
