"""A record of what clients have received, and checks that it still holds.

A question counts as acknowledged once a response names its run, an event once its last byte has
arrived, and an agent's answer once its event has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from tests._support.clients.api import (
    Api,
    Event,
    answer_of,
    asking,
    assert_whole,
    follow,
)
from tests._support.llm.recorder import Recorder

_STATES = {"interrupted": "interrupted", "abandoned": "cancelled", "shutting_down": "failed"}


@dataclass
class Attempt:
    """One run as one client knows it."""

    run_id: str
    events: list[Event] = field(default_factory=list)

    @property
    def last(self) -> Event | None:
        return self.events[-1] if self.events else None

    @property
    def ended(self) -> bool:
        return self.last is not None and bool(self.last.data.get("final"))

    @property
    def completed(self) -> bool:
        return self.last is not None and self.last.type == "run.finished"

    def note(self, event: Event) -> None:
        assert event.run_id == self.run_id
        assert event.seq == len(self.events) + 1, f"event {event.seq} after {len(self.events)}"
        self.events.append(event)


@dataclass
class Question:
    """A question with its key; asked again, it may come to several runs, one after the other."""

    body: Mapping[str, Any]
    key: str = field(default_factory=lambda: uuid4().hex)
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def text(self) -> str:
        return str(self.body["message"])

    @property
    def headers(self) -> dict[str, str]:
        return {"Idempotency-Key": self.key}

    @property
    def latest(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    async def ask(self, api: Api, patience: int = 1_000_000) -> None:
        """Ask, and read until the end, or for `patience` events; a broken connection ends it."""
        post = api.http.stream("POST", "/api/process", json=self.body, headers=self.headers)
        try:
            async with post as response:
                assert response.status_code == 200, (await response.aread()).decode()
                attempt = self._attempt(response.headers["x-run-id"])
                known, attempt.events = attempt.events, []
                try:
                    async for event in follow(response):
                        attempt.note(event)
                        if len(attempt.events) >= patience:
                            break
                finally:
                    _same(known, attempt.events)
                    attempt.events = max(known, attempt.events, key=len)
        except httpx.TransportError:
            pass  # the service was killed

    async def follow(self, api: Api, patience: int = 1_000_000) -> None:
        """Read on from where the latest attempt was left."""
        attempt = self.latest
        assert attempt is not None
        headers = {"Last-Event-ID": f"{attempt.run_id}-{len(attempt.events)}"}
        url = f"/api/runs/{attempt.run_id}/events"
        try:
            async with api.http.stream("GET", url, headers=headers) as response:
                assert response.status_code == 200, (await response.aread()).decode()
                async for event in follow(response):
                    attempt.note(event)
                    patience -= 1
                    if not patience:
                        break
        except httpx.TransportError:
            pass

    def _attempt(self, run_id: str) -> Attempt:
        """Return the attempt that the service answers with: the latest, or rightly a new one."""
        latest = self.latest
        if latest is not None and latest.run_id == run_id:
            return latest
        assert run_id not in [each.run_id for each in self.attempts], "an attempt given up is back"
        assert latest is None or not latest.completed, "an answered question was asked again"
        self.attempts.append(Attempt(run_id))
        return self.attempts[-1]


def _same(one: list[Event], other: list[Event]) -> None:
    """Require that one list is the beginning of the other, byte for byte."""
    for first, second in zip(one, other, strict=False):
        assert first.raw == second.raw


def make_question(rng: Random, number: int, conversation_id: str | None = None) -> Question:
    """Return a question like no other."""
    more = {} if conversation_id is None else {"conversation_id": conversation_id}
    text = f"Why is the sky blue on day {number:05} of {rng.getrandbits(64):016x}?"
    return Question(asking(text, ensemble="fanout", stream_agents=rng.random() < 0.5, **more))


async def check(api: Api, question: Question) -> None:
    """Require of every attempt at `question` that all that was acknowledged is still so."""
    for attempt in question.attempts:
        await check_attempt(api, attempt, question.text)


async def check_attempt(api: Api, attempt: Attempt, question: str) -> None:
    shown = await api.ended(attempt.run_id)
    asked = await api.http.get(f"/history/{attempt.run_id}")
    assert asked.json()["prompt"] == question
    seen = len(attempt.events)
    headers = {"Last-Event-ID": f"{attempt.run_id}-{seen}"} if seen else None
    rest = await api.replayed(attempt.run_id, headers=headers)
    if attempt.ended:
        assert rest == []
    else:
        assert_whole(rest, after=seen)
        attempt.events += rest
    assert_whole(attempt.events)
    whole = await api.http.get(f"/api/runs/{attempt.run_id}/events")
    assert whole.content == b"".join(event.raw for event in attempt.events)
    _check_shown(shown, attempt.events)


def _check_shown(shown: Mapping[str, Any], events: list[Event]) -> None:
    last = events[-1].data
    if last["type"] == "run.finished":
        assert shown["state"] == "completed"
    else:
        assert last["code"] in _STATES, last
        assert shown["state"] == _STATES[last["code"]]
        assert last["partial"] is bool(answer_of(events))
    assert shown["answer"] == answer_of(events)
    assert shown["events"] == len(events)
    answered = [event.data["source"] for event in events if event.type == "agent.finished"]
    assert len(answered) == len(set(answered))
    agents = {agent["name"]: agent for agent in shown["agents"]}
    for name in answered:
        assert agents[name]["state"] == "answered"
        assert agents[name]["answer"]


async def check_not_paid_twice(api: Api, question: Question, models: Recorder) -> None:
    """Require that no agent was asked again in a run after one to which it had answered.

    The ensemble's agents have the names of their models.
    """
    if question.latest is None:
        return
    runs = await chain(api, question.latest.run_id)
    times = models.times(question.text)
    for model in ("one", "two"):
        states = [_state_of(run, model) for run in runs]
        allowed = states.index("answered") + 1 if "answered" in states else len(states)
        assert times.get(model, 0) <= allowed, (model, times, states)


def _state_of(run: Mapping[str, Any], agent: str) -> str:
    states = {each["name"]: str(each["state"]) for each in run["agents"]}
    return states.get(agent, "waiting")


async def chain(api: Api, run_id: str) -> list[dict[str, Any]]:
    """Return a run and those that it is a retry of, the first one first."""
    shown = await api.shown(run_id)
    before = await chain(api, shown["retry_of"]) if shown.get("retry_of") else []
    return [*before, shown]


async def history(api: Api) -> list[dict[str, Any]]:
    """Return all of `/history`, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        page = await api.http.get(f"/history?limit=100&offset={len(items)}")
        assert page.status_code == 200, page.text
        if not page.json()["items"]:
            return items
        items += page.json()["items"]
