"""A service in this process, without a socket: the same settings, the same database."""

from __future__ import annotations

import json
from collections import deque
from contextlib import ExitStack

from service.access.principal import ANONYMOUS
from service.api.http.body import parse_body
from service.api.runs.event_json import encoder
from service.api.runs.process import ProcessRequest
from service.app import Services
from service.domain import RunRequest
from service.errors import ServiceError
from service.runs.log import Reader, Silence
from service.runs.run import Run
from service.terminal.feed import AskedQuestion, AskFailed, RunEventFields


class LocalService:
    """Runs questions as the anonymous owner; `services` has been started."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def ask(self, question: AskedQuestion) -> LocalFeed:
        """Return the events of a new run."""
        return LocalFeed(self._services, question=question)

    def resume(self, run_id: str) -> LocalFeed:
        """Return all events of an existing run, from the first."""
        return LocalFeed(self._services, run_id=run_id)


class LocalFeed:
    """The events of one run of this process, or of one in its database."""

    def __init__(
        self, services: Services, *, question: AskedQuestion | None = None, run_id: str = ""
    ) -> None:
        self._runs = services.runs
        self._question = question
        self._run_id = run_id
        self._run: Run | None = None
        self._reader: Reader | None = None
        self._attached = ExitStack()
        self._events: deque[RunEventFields] = deque()

    async def next_event(self) -> RunEventFields | None:
        """Return the next event, None behind the last one. Raises AskFailed."""
        try:
            run, reader = await self._open()
        except ServiceError as error:
            raise AskFailed(error.message) from None
        while not self._events:
            events = await reader.take()
            if events is Silence.END:
                return None
            if not isinstance(events, Silence):
                encode = encoder(run)
                for seq, event in enumerate(events, reader.seq - len(events) + 1):
                    _, _, data = encode(seq, event).partition("data:")
                    self._events.append(json.loads(data))
        return self._events.popleft()

    async def cancel(self) -> None:
        """Cancel the run; its last events follow."""
        if self._run:
            await self._runs.cancel(self._run)

    async def close(self) -> None:
        """Stop reading."""
        self._attached.close()

    async def _open(self) -> tuple[Run, Reader]:
        if self._run is None or self._reader is None:
            if self._question:
                self._run = await self._runs.start(_to_request(self._question))
            else:
                self._run = await self._runs.find(self._run_id, ANONYMOUS.owner)
            self._reader = self._attached.enter_context(self._runs.attached(self._run))
        return self._run, self._reader


def _to_request(question: AskedQuestion) -> RunRequest:
    """Return the request, after the checks of `POST /api/process`. Raises RequestError."""
    return parse_body(ProcessRequest, json.dumps(question.to_fields())).to_request(ANONYMOUS)
