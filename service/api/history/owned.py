"""The caller's conversations, for every address that reads or deletes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NotRequired

from service.api.history.history import format_time, read_partial_answer
from service.api.http.degraded import DegradedFields, degraded_fields
from service.api.http.principal import Principal
from service.api.http.query import is_valid_id
from service.api.openai.schemas import ToolCallShown
from service.errors import RequestError
from service.messages import format_tool_call
from service.runs.runs import Runs
from service.store.conversations import Conversations
from service.store.records import Conversation, ConversationTurn


class StoredMessage(DegradedFields):
    """A message of a conversation; `run_id` and `status` name its run, `error` states a failure.

    `tool_calls` are calls of the caller's tools by a model.
    """

    role: str
    content: str
    created_at: str
    run_id: NotRequired[str]
    status: NotRequired[Literal["running", "completed", "failed", "cancelled", "interrupted"]]
    error: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallShown]]


class OwnConversations:
    """Conversations of the principal of a request. Every method raises StorageUnavailable."""

    def __init__(self, runs: Runs, kept: Conversations) -> None:
        self.kept = kept
        self._runs = runs

    async def find(self, principal: Principal, conversation_id: str) -> Conversation:
        """Return a conversation. Raises RequestError 404, also for another owner's."""
        if is_valid_id(conversation_id):
            conversation = await self.kept.get(principal.owner, conversation_id)
            if conversation is not None:
                return conversation
        raise conversation_not_found()

    async def turns(self, principal: Principal, conversation_id: str) -> Sequence[ConversationTurn]:
        """Return the turns; the answer of a running run as far as it is written."""
        turns: list[ConversationTurn] = []
        for turn in await self.kept.list_turns(principal.owner, conversation_id):
            turns.append(turn)
            if turn.state != "running" or turn.run_id is None:
                continue
            so_far = await read_partial_answer(self._runs, principal.owner, turn.run_id)
            if so_far:
                turns.append(replace(turn, role="assistant", content=so_far))
        return turns

    async def delete(self, principal: Principal, conversation_id: str) -> None:
        """Cancel the runs of a conversation, then delete it with all its data.

        Raises RequestError 404.
        """
        await self.find(principal, conversation_id)
        running = await self.kept.list_running_run_ids(principal.owner, conversation_id)
        await self._runs.cancel_all(principal.owner, running)
        if not await self.kept.delete(principal.owner, conversation_id):
            raise conversation_not_found()


def message_json(turn: ConversationTurn) -> dict[str, Any]:
    """Return a turn as a StoredMessage."""
    return {
        "role": turn.role,
        "content": turn.content,
        "created_at": format_time(turn.created_at),
        **({"run_id": turn.run_id, "status": turn.state} if turn.run_id else {}),
        **({"error": turn.error} if turn.error else {}),
        **degraded_fields(turn),
        **(
            {"tool_calls": [format_tool_call(each) for each in turn.tool_calls]}
            if turn.tool_calls
            else {}
        ),
    }


def conversation_not_found() -> RequestError:
    """Return the error for an unknown conversation."""
    return RequestError("conversation_not_found", "There is no such conversation.")
