"""Domain values: messages, requests, usage and cost, agents' reports, answers. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Literal, get_args

from service.access.principal import ANONYMOUS, Principal
from service.conversation import History

Role = Literal["system", "user", "assistant", "tool"]

CHARS_PER_TOKEN = 4  # a rule of thumb, used only for usage marked `estimated`


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `content` is its text. `raw` is the complete message where it is more than role and text, such
    as images, tool calls and their results: JSON that only `service.messages` reads and writes.
    """

    role: Role
    content: str
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the client's functions by a model, or a piece of one while it streams.

    Pieces of one call have the same `index`. The first has the `id` and `name`; the `arguments`,
    which are JSON, are joined from all pieces. `extra` has the fields that only the model's server
    knows, such as signatures of thoughts; it needs them back with the call's result.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """A piece of a model's reasoning, which is not a part of its answer.

    `recalls`: the text that was passed on before it was reasoning, too; `text` repeats it.
    """

    text: str
    recalls: bool = False


ReasoningEvents = Literal["none", "answer", "all"]
"""The reasoning that becomes events of a run: of the answer's model alone, or of all agents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """Options of one request, stored with its run.

    `parameters` are OpenAI's request parameters, passed on to models unchanged; `instructions` are
    a system message for this question alone; `echo` holds fields of the request that the API
    returns with the answer. A run in the `background` continues without readers.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    instructions: str = ""
    echo: Mapping[str, Any] = field(default_factory=dict)
    background: bool = False
    reasoning: ReasoningEvents = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A question with everything that its run needs to know.

    The last of `messages` is the question; `history` states how the earlier ones relate to the
    stored conversation. A conversation that starts gets `title`, or one made of the question, and
    is listed under `user_id` if there is one.
    """

    messages: tuple[Message, ...]
    message_id: str
    history: History
    ensemble: str
    stream_agents: bool = False
    max_tokens: int | None = None
    timeout_s: float | None = None
    principal: Principal = ANONYMOUS
    title: str | None = None
    user_id: str | None = None
    options: RequestOptions = RequestOptions()

    @property
    def owner(self) -> str:
        """The owner of the run and its conversation."""
        return self.principal.owner

    @property
    def conversation_id(self) -> str:
        return self.history.conversation_id

    @property
    def question(self) -> str:
        """The text of the last message."""
        return self.messages[-1].content

    def without_parameter(self, name: str) -> RunRequest:
        """Return the same request without one of its parameters for models."""
        if name not in self.options.parameters:
            return self
        parameters = {key: each for key, each in self.options.parameters.items() if key != name}
        return replace(self, options=replace(self.options, parameters=parameters))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one or several upstream calls consumed.

    Cached and image tokens are a part of the input, reasoning tokens of the output. `estimated` is
    set when the service counted any part, because upstream reported no usage.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    image_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
            self.image_tokens + other.image_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @classmethod
    def estimate(cls, messages: Sequence[Message], text: str) -> Usage:
        """Return an estimate for a call that ended before upstream reported its usage."""
        input_chars = sum(len(message.content) for message in messages)
        return cls(
            -(-input_chars // CHARS_PER_TOKEN), -(-len(text) // CHARS_PER_TOKEN), estimated=True
        )


def add_costs(*costs: float | None) -> float | None:
    """Return the sum of the known costs in US dollars; None when none is known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """The result of one agent in one run: its text, times, usage and cost.

    `text` is the received text, also of an agent that failed or was cut off (`partial`).
    `reasoning` is its reasoning, unless that was sent as events. `finish_reason` is OpenAI's, or
    `error`. `first_token_ms` is None when no token arrived. `config_hash` is that of the agent;
    `reused`: the answer and its cost belong to an earlier run. `left_out` are the parameters that
    were not sent because the model refuses them. `retries` and `hedges` count further calls: None
    in reports of an older version.
    """

    agent: str
    model: str
    text: str
    usage: Usage
    cost: float | None
    elapsed_ms: float
    first_token_ms: float | None
    finish_reason: str = ""
    partial: bool = False
    config_hash: str = ""
    reused: bool = False
    left_out: tuple[str, ...] = ()
    reasoning: str = ""
    retries: int | None = None
    hedges: int | None = None


DegradedBy = Literal["agents", "combiner", "judge"]
"""Why an answer is degraded: agents are missing, a substitute wrote it, a judge was unusable."""


@dataclass(frozen=True, slots=True)
class MissingAgent:
    """An agent that failed or was skipped; `code` states why."""

    agent: str
    code: str


def degraded_by(
    missing: Sequence[MissingAgent], is_substitute: bool, is_unjudged: bool = False
) -> tuple[DegradedBy, ...]:
    """Return all reasons why an answer is degraded; an empty tuple for a complete answer."""
    holds = (bool(missing), is_substitute, is_unjudged)
    return tuple(compress(get_args(DegradedBy), holds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of a strategy once the complete answer has been emitted.

    `source` is the name under which the text was sent, `answered_by` the agent that wrote it.
    `missing` are the agents without a complete answer, also where their partial text was used.
    `finish_reason` is OpenAI's. `is_substitute`: a fallback model or another agent than the
    intended one wrote the answer. `is_unjudged`: a judge gave no usable verdict, and a fixed rule
    decided in its place.
    """

    source: str
    answered_by: str
    usage: Usage
    cost: float | None
    finish_reason: str = ""
    missing: tuple[MissingAgent, ...] = ()
    is_substitute: bool = False
    is_unjudged: bool = False
    combiner: AgentReport | None = None

    @property
    def degraded_by(self) -> tuple[DegradedBy, ...]:
        """The reasons why the answer is degraded; empty for a complete answer."""
        return degraded_by(self.missing, self.is_substitute, self.is_unjudged)
