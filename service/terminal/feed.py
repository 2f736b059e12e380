"""The events of a run, from a service over HTTP or from this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.ids import new_id

RunEventFields = dict[str, Any]
"""One event of `POST /api/process`: the fields of its JSON."""


class AskFailed(Exception):
    """A question that got no run, or a run that was lost, with a sentence for the user.

    `is_usage`: the arguments of the command are at fault.
    """

    def __init__(self, message: str, *, is_usage: bool = False) -> None:
        super().__init__(message)
        self.is_usage = is_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question and its options, as `POST /api/process` accepts them."""

    text: str
    ensemble: str | None = None
    conversation_id: str | None = None
    stream_agents: bool = False
    stream_reasoning: bool = False
    max_tokens: int | None = None
    timeout_s: float | None = None

    def to_fields(self) -> Mapping[str, Any]:
        """Return the body of the request, with a new `message_id`."""
        fields = {
            "message": self.text,
            "message_id": new_id("msg"),
            "ensemble": self.ensemble,
            "conversation_id": self.conversation_id,
            "stream_agents": self.stream_agents,
            "stream_reasoning": self.stream_reasoning,
            "max_tokens": self.max_tokens,
            "timeout_s": self.timeout_s,
        }
        return {name: value for name, value in fields.items() if value is not None}


class RunFeed(Protocol):
    """The events of one run, read once."""

    async def next_event(self) -> RunEventFields | None:
        """Return the next event, None behind the last one. Raises AskFailed."""

    async def cancel(self) -> None:
        """Cancel the run; its last events follow. Raises AskFailed."""

    async def close(self) -> None:
        """Stop reading."""


class QuestionService(Protocol):
    """Answers questions."""

    def ask(self, question: AskedQuestion) -> RunFeed:
        """Return the events of a new run."""

    def resume(self, run_id: str) -> RunFeed:
        """Return all events of an existing run, from the first."""
