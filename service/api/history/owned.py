"""The caller's conversations, for every address that reads or deletes one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NotRequired

from service.access.principal import Principal
from service.accounts.audit import make_entry
from service.api.history.items import format_time, read_partial_answer
from service.api.http.degraded import AnswerMarks, answer_marks
from service.api.http.pieces import LoadItems
from service.api.http.query import is_valid_id
from service.api.openai.schemas import ToolCallShown
from service.errors import RequestError
from service.messages import format_tool_call
from service.runs.runs import Runs
from service.store.conversations import Conversations
from service.store.records import Conversation, ConversationTurn

# Loads some turns of a conversation.
LoadTurns = Callable[[], Awaitable[Iterable[ConversationTurn]]]


class StoredMessage(AnswerMarks):
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

    async def list_turns(self, principal: Principal, conversation_id: str) -> Iterator[LoadTurns]:
        """Return loads of the turns, in order, each of a few MB.

        The answer of a running run has the text so far.
        """
        owner = principal.owner
        turns = await self.kept.list_turns(owner, conversation_id)

        async def read(part: Sequence[str]) -> Sequence[ConversationTurn]:
            return await self._add_partial_answers(
                owner, await self.kept.list_turns_of(owner, part)
            )

        first = partial(self._add_partial_answers, owner, turns.items)
        return iter([first, *(partial(read, part) for part in turns.unread)])

    async def list_messages(
        self, principal: Principal, conversation_id: str
    ) -> Iterator[LoadItems]:
        """Return loads of the turns as StoredMessages."""

        async def read(load: LoadTurns) -> Iterable[Mapping[str, Any]]:
            return map(message_json, await load())

        loads = await self.list_turns(principal, conversation_id)
        return (partial(read, load) for load in loads)

    async def _add_partial_answers(
        self, owner: str, turns: Iterable[ConversationTurn]
    ) -> Sequence[ConversationTurn]:
        """Return the turns; the answer of a running run as far as it is written."""
        complete: list[ConversationTurn] = []
        for turn in turns:
            complete.append(turn)
            if turn.state != "running" or turn.run_id is None:
                continue
            so_far = await read_partial_answer(self._runs, owner, turn.run_id)
            if so_far:
                complete.append(replace(turn, role="assistant", content=so_far))
        return complete

    async def delete(self, principal: Principal, conversation_id: str) -> None:
        """Cancel the runs of a conversation, then delete it with all its data.

        Raises RequestError 404.
        """
        await self.find(principal, conversation_id)
        running = await self.kept.list_running_run_ids(principal.owner, conversation_id)
        await self._runs.cancel_all(principal.owner, running)
        entry = make_entry("conversation.deleted", principal, conversation_id)
        if not await self.kept.delete(principal.owner, conversation_id, [entry]):
            raise conversation_not_found()


def message_json(turn: ConversationTurn) -> dict[str, Any]:
    """Return a turn as a StoredMessage."""
    return {
        "role": turn.role,
        "content": turn.content,
        "created_at": format_time(turn.created_at),
        **({"run_id": turn.run_id, "status": turn.state} if turn.run_id else {}),
        **({"error": turn.error} if turn.error else {}),
        **answer_marks(turn),
        **(
            {"tool_calls": [format_tool_call(each) for each in turn.tool_calls]}
            if turn.tool_calls
            else {}
        ),
    }


def conversation_not_found() -> RequestError:
    """Return the error for an unknown conversation."""
    return RequestError("conversation_not_found", "There is no such conversation.")
