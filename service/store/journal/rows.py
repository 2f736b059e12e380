"""The rows of new runs and of events. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.domain import RunRequest
from service.store.journal.batch import LateEvents
from service.store.records import NewKey, NewRun, Segment
from service.store.rows import encode_list
from service.store.search.words import encode_text

_TITLE_CHARS = 80

Values = Mapping[str, Any]


def encode_conversation(opening: NewRun) -> Values:
    return {
        "owner": opening.ask.owner,
        "id": opening.ask.conversation_id,
        "title": opening.ask.title or _make_title(opening.ask),
        "created_at": opening.created_at,
        "updated_at": opening.created_at,
        "user_id": opening.ask.user_id,
    }


def _make_title(ask: RunRequest) -> str:
    questions = [message.content for message in ask.messages if message.role == "user"]
    lines = (line.strip() for line in (questions[-1] if questions else ask.question).splitlines())
    return next(filter(None, lines), "")[:_TITLE_CHARS]


def encode_configs(openings: Iterable[NewRun]) -> Sequence[Values]:
    by_hash = {
        opening.config_hash: {
            "hash": opening.config_hash,
            "ensemble": opening.ensemble,
            "content": opening.config,
            "created_at": opening.created_at,
        }
        for opening in openings
    }
    return [by_hash[key] for key in sorted(by_hash)]


def encode_messages(opening: NewRun) -> Iterable[Values]:
    for position, message in enumerate(opening.initial_messages):
        yield {
            "owner": opening.ask.owner,
            "conversation_id": opening.ask.conversation_id,
            "position": position,
            "role": message.role,
            "content": message.content,
            "created_at": opening.created_at,
            "whole": message.raw,
        }


def encode_supersession(opening: NewRun) -> Values:
    return {"run": opening.retry_of, "of_owner": opening.ask.owner, "by": opening.run_id}


def encode_key(opening: NewRun, key: NewKey) -> Values:
    return {
        "owner": opening.ask.owner,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "run_id": opening.run_id,
        "expires_at": key.expires_at,
    }


def encode_segment(segment: Segment) -> Values:
    return {
        "run_id": segment.run_id,
        "owner": segment.owner,
        "first_seq": segment.first_seq,
        "last_seq": segment.last_seq,
        "data": segment.data,
    }


def encode_late_events(late: LateEvents) -> Values:
    """Return the values of the statements GAP and ADD_LATE."""
    segment = late.segment
    return {
        "run": segment.run_id,
        "of_owner": segment.owner,
        "of_attempt": segment.attempt,
        "first_seq": segment.first_seq,
        "new_interrupted_at": segment.last_seq,
        "new_answer": late.answer,
        "new_answer_words": encode_text(late.answer),
        "new_tool_calls": encode_list(late.tool_calls),
    }
