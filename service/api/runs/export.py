"""`GET /api/runs/{id}/export`: a run that has ended, as one JSON document that needs no service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from quart import Quart, Response
from typing_extensions import TypedDict

from service.api.dependencies import ApiDependencies
from service.api.http.pieces import Load, encode_json, respond_in_pieces
from service.api.http.principal import current_principal
from service.api.openapi.operation import Operation, ResponseSpec, Tag
from service.api.runs.event_json import encoder
from service.api.runs.export_parts import describe_call, describe_request, hide_secrets
from service.api.runs.runs import RunShown, describe_run
from service.ensembles.catalog import Catalog
from service.errors import RequestError
from service.events import Event
from service.runs.projections.recording import Recording, decode_recording
from service.runs.run import Run
from service.store.runs import RunStore
from service.version import VERSION

FORMAT = "llm-sse-service.run"
FORMAT_VERSION = 1
_EVENTS_PER_PART = 200  # encoded before other tasks may run; a few milliseconds


class ExportedEvent(TypedDict):
    """An event as `/api/process` sent it, and its time from the start of the run if known."""

    at_ms: int | None
    event: dict[str, Any]


class RunExport(TypedDict):
    """A run with everything that was stored of it. `timing` is unknown without a recording."""

    format: str
    version: int
    service: str
    timing: str
    run: RunShown
    request: dict[str, Any]
    ensemble: dict[str, Any]
    prices: dict[str, dict[str, float | None]]
    events: list[ExportedEvent]
    calls: list[dict[str, Any]]


def install(app: Quart, api: ApiDependencies) -> None:
    """Add the address to `app`."""

    @app.get("/api/runs/<run_id>/export")
    @Operation(
        "Export a run with its events, their times and the calls of models",
        tag=Tag.RUNS,
        scope="read",
        description="`python -m service replay FILE` replays the document as a model server.",
        answers=(ResponseSpec("The document, as a file.", RunExport),),
        errors=(409, 410),
    )
    async def export_run(run_id: str) -> Response:
        run = await api.runs.find(run_id, current_principal().owner)
        response = await respond_in_pieces(await make_parts(api.store.runs, api.catalog(), run))
        response.headers["Content-Disposition"] = f'attachment; filename="{run.id}.json"'
        return response


async def make_parts(store: RunStore, catalog: Catalog, run: Run) -> Iterator[Load]:
    """Return the document of a run in parts.

    Raises RequestError 404 for a deleted run, 409 before its end, and StorageUnavailable.
    """
    stored = await store.get(run.owner, run.id)
    if stored is None:
        raise RequestError("run_not_found", "There is no such run.")
    if not run.log.finished:
        sentence = "The run has not finished; export it after its final event."
        raise RequestError("run_not_finished", sentence)
    events = [*run.log.numbered()]
    data = await store.read_recording(run.owner, run.id)
    recording = decode_recording(data, (event for _, event in events))
    times = recording.times_ms if recording else ()
    is_timed = len(times) == len(events)
    config = await store.read_config(run.owner, run.id)
    head = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "service": VERSION,
        "timing": "recorded" if is_timed else "unknown",
        "run": await describe_run(run),
        "request": await describe_request(store, stored),
        "ensemble": hide_secrets(config),
        "prices": _list_prices(catalog, recording),
    }
    return _join_parts(head, run, events, times if is_timed else (), recording)


def _join_parts(
    head: Mapping[str, Any],
    run: Run,
    events: Sequence[tuple[int, Event]],
    times_ms: Sequence[int],
    recording: Recording | None,
) -> Iterator[Load]:
    encode = encoder(run)

    def write_event(at: int) -> str:
        data = encode(*events[at]).partition("\ndata: ")[2].rstrip("\n")
        time_ms = times_ms[at] if times_ms else "null"
        return f'{"," if at else ""}{{"at_ms":{time_ms},"event":{data}}}'

    async def load_head() -> Iterable[str]:
        return _encode_head(head)

    async def load_events(start: int) -> Iterable[str]:
        return [write_event(at) for at in range(start, min(len(events), start + _EVENTS_PER_PART))]

    async def load_call(number: int) -> Iterable[str]:
        assert recording is not None  # noqa: S101  (it has this call)
        opening = "," if number else ""
        return [opening, *encode_json(describe_call(recording.calls[number]))]

    async def load_text(text: str) -> Iterable[str]:
        return [text]

    calls = recording.calls if recording else ()
    yield load_head
    yield from (partial(load_events, start) for start in range(0, len(events), _EVENTS_PER_PART))
    yield partial(load_text, '],"calls":[')
    yield from (partial(load_call, number) for number in range(len(calls)))
    yield partial(load_text, "]}\n")


def _encode_head(head: Mapping[str, Any]) -> Iterator[str]:
    for number, (name, value) in enumerate(head.items()):
        yield f"{',' if number else '{'}{json.dumps(name)}:"
        yield from encode_json(value)
    yield ',"events":['


def _list_prices(catalog: Catalog, recording: Recording | None) -> Mapping[str, Any]:
    """Return the current prices of the called models, for the cost in a replay."""
    models = {call.model for call in recording.calls} if recording else set()
    fields = ("input", "output", "cached_input", "reasoning", "image")
    return {
        model: {name: getattr(catalog.prices[model], name) for name in fields}
        for model in sorted(models & catalog.prices.keys())
    }
