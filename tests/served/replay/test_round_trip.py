"""A run that is exported from one service is repeated by another at a replay server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from service.replay.document import read_document
from tests._support.clients.api import Api, Event, client_of, events_of
from tests._support.servers.processes import Process, fork, run_server
from tests._support.servers.services import UNHURRIED_STORE, Told

QUESTION = "Warum ist der Himmel blau? 👋 \u2028"
_OF_THE_RUN = {
    "run_id", "trace_id", "conversation_id", "created_at", "config_hash", "seq", "events",
    "elapsed_ms", "first_token_ms", "delay_ms", "waited_ms", "at_ms", "took_ms", "after_ms",
}  # fmt: skip
_PACE = "first_ms=60&gap_ms=20"
ENSEMBLES = f"""
default = "mixed"
[agents.plain]
model = "mock?tokens=12&{_PACE}"
prompt = "Say \\"so\\"."
[agents.busy]
model = "mock?tokens=9&fault=status&status=429&retry_after=0.1&times=1&{_PACE}"
[agents.bad]
model = "mock?fault=status&status=500&seed=3"
retries = 1
[agents.broken]
model = "mock?tokens=20&fault=reset&after=8&times=1&{_PACE}"
[agents.cut]
model = "mock?tokens=20&fault=cut&after=5&times=1&{_PACE}"
[agents.thinker]
model = "mock?dialect=deepseek&reasoning=1&tokens=8&{_PACE}"
[agents.judge]
model = "mock?tokens=20&first_ms=200&gap_ms=20"
[prices."mock?tokens=12&{_PACE}"]
input = 2.0
output = 4.0
[ensembles.mixed]
agents = ["plain", "busy", "bad", "broken", "cut", "thinker"]
combiner = "judge"
straggler_grace_s = "none"
[ensembles.copies]
agents = ["plain", "plain"]
combiner = "judge"
straggler_grace_s = "none"
[ensembles.judged]
strategy = "best_of"
agents = ["plain", "thinker"]
judge = "judge"
straggler_grace_s = "none"
"""


_FILE = "mixed.toml"


def _database(folder: Path) -> str:
    return f"sqlite:///{folder}/runs.sqlite"


@dataclass(frozen=True)
class Original:
    """A recorded run: its events as a client received them, and its document as a file."""

    events: Sequence[Event]
    document: dict[str, Any]
    file: Path


@pytest.fixture(scope="module")
def first(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The service that records the runs."""
    folder = tmp_path_factory.mktemp("first")
    file = folder / _FILE
    file.write_text(ENSEMBLES)
    settings = (
        told(folder)
        | UNHURRIED_STORE
        | {
            "ENSEMBLES_FILE": str(file),
            "DATABASE_URL": _database(folder),
        }
    )
    with run_server(folder, "serve", "--port", "0", **settings) as process:
        yield process


@pytest.fixture
async def recorder(first: Process) -> AsyncIterator[Api]:
    async with client_of(first.url) as client:
        yield client


async def record(api: Api, folder: Path, message: str, **fields: Any) -> Original:
    events = await api.ask(message, **fields)
    response = await api.http.get(f"/api/runs/{events[0].run_id}/export")
    file = folder / "run.json"
    file.write_bytes(response.content)
    return Original(events, response.json(), file)


async def repeat(
    original: Original, told: Told, folder: Path, message: str, **fields: Any
) -> Original:
    """Return the same question's run in a second service whose models are the replay."""
    ensembles = folder / "again.toml"
    arguments = (str(original.file), "--port", "0", "--write-ensembles", str(ensembles))
    beside = folder / "second"
    beside.mkdir()
    with run_server(folder, "replay", *arguments):
        settings = told(beside) | {
            "ENSEMBLES_FILE": str(ensembles),
            "LLM_BASE_URL": "http://127.0.0.1:1/v1",  # no agent needs it
        }
        with run_server(beside, "serve", "--port", "0", **settings) as second:
            async with client_of(second.url) as api:
                return await record(api, beside, message, **fields)


def list_by_source(events: Sequence[Event]) -> dict[str, list[dict[str, Any]]]:
    """Return the data of the events without ids and times; adjacent pieces of text are joined."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        data = drop_ids(event.data)
        known = found.setdefault(data["source"], [])
        is_text = event.type.endswith((".delta", ".reasoning"))
        if is_text and known and known[-1]["type"] == event.type:
            known[-1]["message"] += data["message"]
        else:
            known.append(data)
    return found


def drop_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: drop_ids(each) for key, each in value.items() if key not in _OF_THE_RUN}
    return [drop_ids(each) for each in value] if isinstance(value, list) else value


def list_calls(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a document, with the text of each as one piece."""
    calls = []
    for call in drop_ids(document["calls"]):
        pieces = call.pop("pieces")
        texts = {
            kind: "".join(each.get(kind, "") for each in pieces) for kind in ("text", "reasoning")
        }
        calls.append({**call, **texts})
    return sorted(calls, key=lambda call: str(call["agent"]))


@pytest.mark.parametrize(
    "fields",
    [
        {"ensemble": "mixed", "stream_agents": True, "stream_reasoning": True},
        {"ensemble": "copies"},
        {"ensemble": "judged", "stream_reasoning": True},
    ],
    ids=lambda fields: fields["ensemble"],
)
async def test_the_second_service_repeats_the_run(
    recorder: Api, told: Told, tmp_path: Path, fields: dict[str, Any]
) -> None:
    question = f"{QUESTION} {fields['ensemble']}"
    original = await record(recorder, tmp_path, question, **fields)
    again = await repeat(original, told, tmp_path, question, **fields)
    assert list_by_source(again.events) == list_by_source(original.events)
    assert list_calls(again.document) == list_calls(original.document)
    for name in ("answer", "agents", "usage", "cost", "state"):
        shown = original.document["run"].get(name)
        assert drop_ids(again.document["run"].get(name)) == drop_ids(shown), name
    paces = [each.events[-1].data["elapsed_ms"] for each in (original, again)]
    assert paces[1] > 0.5 * paces[0], "the second run did not wait for the recorded pace"


async def test_the_event_stream_is_replayed_byte_for_byte(recorder: Api, tmp_path: Path) -> None:
    original = await record(recorder, tmp_path, f"{QUESTION} stream", stream_agents=True)
    sent = b"".join(event.raw for event in original.events)
    arguments = (str(original.file), "--port", "0", "--speed", "0")
    with run_server(tmp_path, "replay", *arguments) as replay:
        async with client_of(replay.url.removesuffix("/v1")) as api:
            served = await api.http.post("/api/process", json={"message": "any", "message_id": "m"})
    assert served.content == sent
    assert len(events_of(served.content)) == len(original.events)
    printed = fork(tmp_path, "replay", str(original.file), "--events", "--speed", "0")
    assert await asyncio.to_thread(printed.wait) == 0
    assert (tmp_path / "out").read_bytes() == sent


async def test_openais_sdk_gets_the_recorded_answers(recorder: Api, tmp_path: Path) -> None:
    original = await record(recorder, tmp_path, f"{QUESTION} sdk", ensemble="mixed")
    run = read_document(original.file.read_bytes(), "run.json")
    answers = {each["name"]: each.get("answer") for each in original.document["run"]["agents"]}
    arguments = (str(original.file), "--port", "0", "--speed", "10")
    with run_server(tmp_path, "replay", *arguments) as replay:
        root = replay.url.removesuffix("/v1")
        models = {call.agent: call.model for call in run.calls}

        def client_for(agent: str) -> openai.AsyncOpenAI:
            url = f"{root}/runs/{run.run_id}/agents/{agent}/v1"
            return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

        async with client_for("thinker") as client:
            stream = await client.chat.completions.create(
                model=models["thinker"],
                messages=[{"role": "user", "content": run.question}],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
        text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
        assert text == answers["thinker"]
        assert chunks[-1].usage is not None
        async with client_for("busy") as client:
            messages: Any = [{"role": "user", "content": run.question}]
            with pytest.raises(openai.RateLimitError) as busy:
                await client.chat.completions.create(model=models["busy"], messages=messages)
            assert busy.value.response.headers["retry-after"] == "0.1"
            reply = await client.chat.completions.create(model=models["busy"], messages=messages)
            assert reply.choices[0].message.content == answers["busy"]


async def test_the_command_exports_the_same_document(
    recorder: Api, first: Process, tmp_path: Path
) -> None:
    original = await record(recorder, tmp_path, f"{QUESTION} command", ensemble="copies")
    settings = {
        "DATABASE_URL": _database(first.folder),
        "ENSEMBLES_FILE": str(first.folder / _FILE),
    }
    run_id = original.events[0].run_id
    command = fork(tmp_path, "export", run_id, "--out", "exported.json", **settings)
    assert await asyncio.to_thread(command.wait) == 0
    assert (tmp_path / "exported.json").read_bytes() == original.file.read_bytes()
