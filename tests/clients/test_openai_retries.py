"""OpenAI's SDK repeats a question only when that can help, and never multiplies other retries."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests._support.clients.openai_sdk import USER, client_of
from tests._support.llm.ensembles import Table, as_toml
from tests._support.llm.refusing_server import Refusal, RefusingServer
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process, run_server

SDK_RETRIES = 2
CONTEXT = {"message": "Too long.", "code": "context_length_exceeded", "param": "messages"}
REFUSALS = {
    "limited": Refusal(429, headers={"Retry-After": "1"}),
    "limited-ms": Refusal(429, headers={"retry-after-ms": "700"}),
    "limited-long": Refusal(429, headers={"Retry-After": "40"}),
    "limited-hours": Refusal(429, headers={"Retry-After": "7200"}),
    "limited-date": Refusal(429),  # the header is set by the test
    "busy": Refusal(429),
    "down": Refusal(503),
    "down-long": Refusal(503, headers={"Retry-After": "40"}),
    "broken": Refusal(500),
    "invalid": Refusal(400, {"message": "Unknown role.", "type": "invalid_request_error"}),
    "unprocessable": Refusal(422),
    "too-long": Refusal(400, CONTEXT),
    "filtered": Refusal(400, {"message": "Filtered.", "code": "content_filter"}),
    "key": Refusal(401, {"message": "Incorrect API key.", "code": "invalid_api_key"}),
    "forbidden": Refusal(403),
    "gone": Refusal(404, {"message": "No such model.", "type": "invalid_request_error"}),
    "quota": Refusal(429, {"message": "Quota.", "code": "insufficient_quota"}),
}
# Less time than the delay that a server requests: the service itself does not call again.
HASTY = {"timeout_s": 5.0}
PERMANENT = [
    "invalid", "unprocessable", "too-long", "filtered", "key", "forbidden", "gone", "quota",
]  # fmt: skip


def _ensembles() -> str:
    agents: dict[str, Table] = {name: {"model": name, **HASTY} for name in REFUSALS}
    agents |= {f"{name}-once": {"model": name, "retries": 0} for name in REFUSALS}
    pairs: dict[str, tuple[str, str]] = {
        "all-permanent": ("key", "invalid"),
        "all-down": ("down", "broken"),
        "one-may-answer": ("key", "limited-long"),
        "two-long": ("limited-long", "limited-hours"),
    }
    ensembles: dict[str, Table] = {
        name: {"agents": list(pair), "combiner": "busy"} for name, pair in pairs.items()
    }
    ensembles["both-needed"] = {**ensembles["one-may-answer"], "min_answers": 2}
    return as_toml(agents, {"default": ensembles["all-down"], **ensembles}, {})


@pytest.fixture(scope="module")
def models() -> Iterator[RefusingServer]:
    with RefusingServer(REFUSALS).serve() as server:
        yield server


@contextmanager
def _serve(models: RefusingServer, folder: Path) -> Iterator[Process]:
    unguarded = f'[endpoints."{models.url}"]\nbreaker = false\n'
    (folder / "refused.toml").write_text('default = "default"\n' + _ensembles() + unguarded)
    told = {"USE_LLM_MOCK": "false", "LLM_BASE_URL": models.url, "LLM_KEY": "sk-any-key"}
    file = str(folder / "refused.toml")
    with run_server(folder, "serve", "--port", "0", ENSEMBLES_FILE=file, **told) as process:
        yield process


@pytest.fixture(scope="module")
def refused_service(
    models: RefusingServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    with _serve(models, tmp_path_factory.mktemp("refused")) as process:
        yield process


@pytest.fixture
def fresh_service(models: RefusingServer, tmp_path: Path) -> Iterator[Process]:
    """A service whose budget for retries is unspent."""
    with _serve(models, tmp_path) as process:
        yield process


@dataclass
class Question:
    """The outcome of one call of the SDK: its error, the responses, and the calls of models."""

    error: openai.APIStatusError
    responses: list[httpx.Response] = field(default_factory=list)
    calls: int = 0
    conversations: int = 0

    @property
    def statuses(self) -> list[int]:
        return [each.status_code for each in self.responses]


async def _ask(
    service: Process, models: RefusingServer, model: str, retries: int = SDK_RETRIES, **fields: Any
) -> Question:
    responses: list[httpx.Response] = []

    async def note(response: httpx.Response) -> None:
        responses.append(response)

    def count_conversations() -> int:
        return int(httpx.get(f"{service.url}/api/conversations").json()["total"])

    calls, conversations = models.calls.total(), count_conversations()
    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]}, timeout=PATIENCE_S)
    async with client_of(service, max_retries=retries, http_client=http) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=model, messages=USER, **fields)
    return Question(
        caught.value,
        responses,
        models.calls.total() - calls,
        count_conversations() - conversations,
    )


@pytest.mark.parametrize("name", PERMANENT)
async def test_a_permanent_failure_is_one_call(
    refused_service: Process, models: RefusingServer, name: str
) -> None:
    asked = await _ask(refused_service, models, f"agent/{name}")
    assert (asked.calls, len(asked.responses), asked.conversations) == (1, 1, 1)
    assert asked.responses[0].headers["x-should-retry"] == "false"


async def test_an_ensemble_whose_agents_fail_permanently_calls_each_once(
    refused_service: Process, models: RefusingServer
) -> None:
    asked = await _ask(refused_service, models, "all-permanent")
    assert (asked.calls, asked.statuses, asked.conversations) == (2, [502], 1)
    assert asked.error.code == "too_few_answers"
    assert asked.responses[0].headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("model", "calls"),
    [("agent/busy", 3), ("agent/down", 3), ("agent/broken", 3), ("all-down", 6)],
)
async def test_the_services_own_retries_are_not_multiplied(
    fresh_service: Process, models: RefusingServer, model: str, calls: int
) -> None:
    asked = await _ask(fresh_service, models, model)
    assert (asked.calls, len(asked.responses), asked.conversations) == (calls, 1, 1)


@pytest.mark.parametrize("name", ["limited", "limited-ms"])
async def test_retries_of_the_service_wait_and_are_not_multiplied(
    fresh_service: Process, models: RefusingServer, name: str
) -> None:
    asked = await _ask(fresh_service, models, f"agent/{name}")
    assert (asked.calls, asked.statuses) == (3, [429])
    assert asked.responses[0].headers["retry-after"] == "1"


async def test_a_spent_budget_for_retries_is_reported_and_stops_the_sdk_too(
    fresh_service: Process, models: RefusingServer
) -> None:
    for _ in range(3):  # 4 retries each; the budget has 10
        asked = await _ask(fresh_service, models, "all-down")
    assert asked.calls < 6
    assert (asked.statuses, asked.conversations) == ([502], 1)
    assert asked.responses[0].headers["x-should-retry"] == "false"
    assert "limits its retries" in asked.error.message
    assert "the retry budget is spent" in fresh_service.err


async def test_the_sdk_waits_as_long_as_the_model_server_requests(
    refused_service: Process, models: RefusingServer
) -> None:
    started = time.monotonic()
    asked = await _ask(refused_service, models, "agent/limited-once")
    assert (asked.calls, asked.statuses) == (1 + SDK_RETRIES, [429] * (1 + SDK_RETRIES))
    assert isinstance(asked.error, openai.RateLimitError)
    assert time.monotonic() - started >= SDK_RETRIES  # seconds


@pytest.mark.parametrize(
    ("model", "status", "should_retry"),
    [
        ("agent/limited-long", 429, None),
        ("agent/down-long", 502, None),
        ("one-may-answer", 502, None),
        ("two-long", 502, None),
        ("both-needed", 502, "false"),
        ("agent/limited-hours", 429, "false"),  # SDKs ignore a delay of more than a minute
    ],
)
async def test_a_long_delay_is_passed_on(
    refused_service: Process,
    models: RefusingServer,
    model: str,
    status: int,
    should_retry: str | None,
) -> None:
    asked = await _ask(refused_service, models, model, retries=0)
    headers = asked.responses[0].headers
    assert asked.statuses == [status]
    assert headers.get("x-should-retry") == should_retry
    delay = "7200" if "hours" in model else "40"
    assert headers.get("retry-after") == (None if model == "both-needed" else delay)


async def test_a_delay_until_a_date_is_passed_on_in_seconds(
    refused_service: Process, models: RefusingServer
) -> None:
    until = email.utils.formatdate(time.time() + 50, usegmt=True)
    models.refusals = {**REFUSALS, "limited-date": Refusal(429, headers={"Retry-After": until})}
    asked = await _ask(refused_service, models, "agent/limited-date", retries=0)
    assert 0 < int(asked.responses[0].headers["retry-after"]) <= 50


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("invalid", "upstream_invalid_request"),
        ("unprocessable", "upstream_invalid_request"),
        ("filtered", "upstream_invalid_request"),
        ("too-long", "context_length_exceeded"),
    ],
)
async def test_an_error_of_the_caller_that_only_the_server_detects_is_400(
    refused_service: Process, models: RefusingServer, name: str, code: str, stream: bool
) -> None:
    asked = await _ask(refused_service, models, f"agent/{name}", stream=stream)
    assert isinstance(asked.error, openai.BadRequestError)
    assert (asked.error.code, asked.error.type) == (code, "invalid_request_error")
    assert str(REFUSALS[name].error["message"]) in asked.error.message


@pytest.mark.parametrize("name", ["key", "forbidden", "gone", "quota"])
async def test_an_error_of_the_configuration_is_no_error_of_the_caller(
    refused_service: Process, models: RefusingServer, name: str
) -> None:
    asked = await _ask(refused_service, models, f"agent/{name}")
    assert (asked.statuses, asked.error.code) == ([502], "upstream_refused")
