"""Options for the mock in a model's name, after a question mark.

With `name?tokens=200&gap_ms=5&fault=reset` any client can script the behaviour of model `name`.
`reply.py` and `plan.py` apply the options.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from service.mock_llm.dialects.servers import find_dialect
from service.mock_llm.request import BadRequestError

Fault = Literal[
    "status",  # answer with `status`, and `retry_after`
    "refuse",  # the connection is refused
    "hang",  # the request is accepted, but no headers are sent
    "reset",  # the connection is reset after `after` tokens
    "pause",  # no data for `pause_ms` after `after` tokens, then the rest
    "stall",  # no more data after `after` tokens
    "cut",  # a clean end of file after `after` tokens, without finish_reason or [DONE]
    "drip",  # one byte of the stream every `drip_ms`
    "garbage",  # an event that is not JSON after `after` tokens, then the rest of the answer
    "error_object",  # an error event after `after` tokens, then the end
    "binary",  # 200 with bytes that are not an event stream
    "split_utf8",  # characters split across network blocks, U+2028 in the text
    "crlf",  # CRLF line ends, comments between events
    "no_done",  # no [DONE]
    "double_done",  # [DONE] twice
    "no_usage",  # no usage, even if requested
    "empty",  # a complete answer without text
]

Reasoning = Literal[
    "0",  # none
    "1",  # before the answer: as the dialect sends it, in `<think>` tags where it has no form
    "tags",  # in `<think>` tags at the start of the text, as from a server without a parser
]
Combining = Literal[
    "majority",  # the most frequent of the answers that it is sent
    "longest",  # the longest of them
    "right",  # a right one if there is any, else the first
]
_PositiveInt = Annotated[int, Meta(ge=1)]
_Probability = Annotated[float, Meta(ge=0, le=1)]
_Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000)]


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """The options in a model's name. Delays given here are exact; others are random."""

    tokens: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    # The number of tools to call, unless the request forbids tools or names one.
    tool_calls: Annotated[int, Meta(ge=0, le=128)] | None = None
    first_ms: _Milliseconds | None = None
    gap_ms: _Milliseconds | None = None
    seed: int | None = None
    fault: Fault | None = None
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    after: Annotated[int, Meta(ge=0)] = 3
    drip_ms: _Milliseconds = 1000.0
    pause_ms: _Milliseconds = 8000.0
    times: _PositiveInt | None = None
    rate: _Probability = 1.0
    # The server whose format the response has; `dialects/servers.py` lists them. Default: OpenAI's.
    dialect: str | None = None
    # Answer arithmetic and the questions of `service/evaluation/sample/`, right with this
    # probability.
    skill: _Probability | None = None
    # The only topic of the skill; the probability of the others is `elsewhere`.
    topic: str | None = None
    elsewhere: _Probability = 0.2
    # The part of the questions on which all agents with this option make the same errors.
    shared: _Probability = 0.0
    # Sentences before the answer, for judges that prefer long ones.
    pad: Annotated[int, Meta(ge=0, le=100)] = 0
    # Judge answers: prefer the right one with this probability, unless it is one of the biased
    # parts, or of those with a reply that is no verdict.
    judge: _Probability | None = None
    prefers_first: _Probability = 0.0
    prefers_longer: _Probability = 0.0
    nonsense: _Probability = 0.0
    # Combine answers by repeating one of them.
    combine: Combining | None = None
    # Default: 1 in a dialect that has a form of reasoning, else 0.
    reasoning: Reasoning | None = None


@lru_cache(maxsize=1024)
def parse_script(model: str) -> Script:
    """Return the options in a model's name. Raises BadRequestError that names the wrong one."""
    _, _, query = model.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        script = msgspec.convert(dict(pairs), Script, strict=False)
        find_dialect(script.dialect)
    except (ValueError, LookupError, msgspec.ValidationError) as error:
        raise BadRequestError(
            f"The options in the model's name are invalid: {error}.", "model"
        ) from error
    return script
