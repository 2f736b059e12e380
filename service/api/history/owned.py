"""The caller's conversations, for every address that shows, reads or ends one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NotRequired

from service.api.history.history import answer_so_far, written
from service.api.http.degraded import DegradedFields, degraded_fields
from service.api.http.principal import Principal
from service.api.http.query import may_be_id
from service.api.openai.schemas import ToolCallShown
from service.errors import RequestError
from service.messages import format_tool_call
from service.runs.runs import Runs
from service.store.conversations import Conversations
from service.store.records import Conversation, ConversationTurn


class StoredMessage(DegradedFields):
    """What somebody said; `run_id` and `status` when a run did it, `error` when it failed.

    A model that called the caller's tools said so in `tool_calls`.
    """

    role: str
    content: str
    created_at: str
    run_id: NotRequired[str]
    status: NotRequired[Literal["running", "completed", "failed", "cancelled", "interrupted"]]
    error: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallShown]]


class OwnConversations:
    """Conversations of whoever sent the request. Every method raises StorageUnavailable."""

    def __init__(self, runs: Runs, kept: Conversations) -> None:
        self.kept = kept
        self._runs = runs

    async def find(self, principal: Principal, conversation_id: str) -> Conversation:
        """Return one of them. Raises RequestError 404, also for somebody else's."""
        if may_be_id(conversation_id):
            conversation = await self.kept.get(principal.owner, conversation_id)
            if conversation is not None:
                return conversation
        raise missing()

    async def turns(self, principal: Principal, conversation_id: str) -> Sequence[ConversationTurn]:
        """Return what was said; of an answer that is being written, what there is so far."""
        turns: list[ConversationTurn] = []
        for turn in await self.kept.list_turns(principal.owner, conversation_id):
            turns.append(turn)
            if turn.state != "running" or turn.run_id is None:
                continue
            so_far = await answer_so_far(self._runs, principal.owner, turn.run_id)
            if so_far:
                turns.append(replace(turn, role="assistant", content=so_far))
        return turns

    async def delete(self, principal: Principal, conversation_id: str) -> None:
        """Delete one with all that belongs to it; its runs that go on are cancelled first.

        Raises RequestError 404.
        """
        await self.find(principal, conversation_id)
        running = await self.kept.list_running_run_ids(principal.owner, conversation_id)
        await self._runs.cancel_all(principal.owner, running)
        if not await self.kept.delete(principal.owner, conversation_id):
            raise missing()


def message_json(turn: ConversationTurn) -> dict[str, Any]:
    """Return a turn as a MessageShown."""
    return {
        "role": turn.role,
        "content": turn.content,
        "created_at": written(turn.created_at),
        **({"run_id": turn.run_id, "status": turn.state} if turn.run_id else {}),
        **({"error": turn.error} if turn.error else {}),
        **degraded_fields(turn),
        **(
            {"tool_calls": [format_tool_call(each) for each in turn.tool_calls]}
            if turn.tool_calls
            else {}
        ),
    }


def missing() -> RequestError:
    """Return the error for a conversation that there is not."""
    return RequestError("conversation_not_found", "There is no such conversation.")
