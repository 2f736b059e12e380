"""A record of what all clients of a run have received, and checks that hold for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import httpx

from service.runs.recovery.late import GAP
from tests._support.clients.api import Api, Event, answer_of, until


@dataclass
class Witness:
    """The events of one run by number, as any client received them."""

    run_id: str = ""
    events: dict[int, Event] = field(default_factory=dict)

    @property
    def final(self) -> Event | None:
        return next((event for event in self.events.values() if event.data.get("final")), None)

    @property
    def last_seq(self) -> int:
        return max(self.events, default=0)

    def note(self, event: Event) -> None:
        """Record an event. Another content of its number, or another end, is a failure."""
        assert self.run_id in ("", event.run_id)
        self.run_id = event.run_id
        known = self.events.setdefault(event.seq, event)
        assert known.raw == event.raw, f"event {event.seq} has two contents"
        ends = [each.seq for each in self.events.values() if each.data.get("final")]
        assert len(ends) <= 1, f"the run has two ends: {ends}"

    async def read(self, events: AsyncIterator[Event], count: int = 1_000_000) -> None:
        """Record the events of an open stream, `count` at most; a broken connection ends it."""
        last = 0
        try:
            async for event in events:
                assert event.seq > last, f"event {event.seq} after event {last}"
                self.note(event)
                last, count = event.seq, count - 1
                if not count:
                    return
        except httpx.TransportError:
            pass

    async def resume(self, api: Api, after: int) -> None:
        """Record what a client behind event `after` receives, to the end of the run."""
        for event in await api.replayed(self.run_id, f"?starting_after={after}"):
            self.note(event)

    async def check_soon(self, api: Api) -> None:
        """Check when the late events of a process that was silent are stored."""

        async def has_all() -> bool:
            known = {event.seq for event in await api.replayed(self.run_id)}
            return known >= set(self.events)

        await until(has_all)
        await self.check(api)

    async def check(self, api: Api) -> None:
        """Require that the service has every event that a client received, and one end."""
        shown = await api.ended(self.run_id)
        events = await api.replayed(self.run_id)
        received = sorted(self.events)
        for event in events:
            self.note(event)
        assert [seq for seq in received if seq not in {each.seq for each in events}] == []
        _check_numbers(events, shown.get("interrupted_at"))
        assert shown["events"] == len(events)
        assert shown["answer"] == answer_of(events)
        for after in {0, 1, len(events) - 1, events[-1].seq - 1, *received[-1:]}:
            rest = await api.replayed(self.run_id, f"?starting_after={after}")
            assert [each.raw for each in rest] == [e.raw for e in events if e.seq > after]


def _check_numbers(events: Iterable[Event], interrupted_at: int | None) -> None:
    *before, final = events
    assert [event.seq for event in before] == list(range(1, len(before) + 1))
    assert final.data["final"]
    if interrupted_at is None:
        assert final.seq == len(before) + 1
    else:
        assert (interrupted_at, final.data["code"]) == (len(before), "interrupted")
        assert final.seq == final.data["interrupted_at"] + 1 + GAP
