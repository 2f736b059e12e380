"""JSON logs and metrics of a running service."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families

from tests._support.clients.api import Api, asking, client_of, follow, until
from tests._support.servers.processes import Process
from tests._support.servers.service_log import read_log_lines
from tests._support.servers.services import Start
from tests._support.telemetry.metrics_page import Page, read_metrics

HEX_32 = re.compile(r"[0-9a-f]{32}")


async def logged(process: Process, **fields: Any) -> dict[str, Any]:
    """Wait for the one line that has these fields."""

    def found() -> list[dict[str, Any]]:
        return [line for line in read_log_lines(process) if line.items() >= fields.items()]

    async def there() -> bool:
        return bool(found())

    await until(there)
    (line,) = found()
    return line


async def test_a_request_and_its_run_each_log_one_line_with_the_same_ids(
    api: Api, service: Process
) -> None:
    headers = {"X-Request-ID": "request-of-the-logging-test"}
    response = await api.http.post("/api/process", json=asking(), headers=headers)
    ids = {
        "request_id": "request-of-the-logging-test",
        "trace_id": response.headers["x-trace-id"],
        "run_id": response.headers["x-run-id"],
        "conversation_id": response.headers["x-conversation-id"],
    }
    run = await logged(service, logger="service.run", **ids)
    assert run["outcome"] == "completed"
    assert run["ensemble"] == "fanout"
    assert run["elapsed_ms"] > 0
    access = await logged(service, logger="access", **ids)
    assert access["method"] == "POST"
    assert access["path"] == "/api/process"
    assert access["status"] == 200
    assert access["bytes"] == len(response.content)
    assert access["duration_ms"] >= run["elapsed_ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", access["time"])


async def test_a_failed_run_logs_why(api: Api, service: Process) -> None:
    run_id = (await api.ask(ensemble="both-bad"))[0].run_id
    line = await logged(service, logger="service.run", run_id=run_id)
    assert line["outcome"] == "failed"
    assert line["error_type"] == "too_few_answers"


async def test_a_degraded_run_logs_its_reasons_and_the_missing_agents(
    api: Api, service: Process
) -> None:
    run_id = (await api.ask(ensemble="all-degraded"))[0].run_id
    line = await logged(service, logger="service.run", run_id=run_id)
    assert (line["degraded_by"], line["missing"]) == ("agents,combiner", "bad-busy")


async def test_the_request_of_a_disconnected_client_is_marked(
    hasty: Api, impatient: Process
) -> None:
    run_id = await hasty.started(ensemble="endless")
    line = await logged(impatient, logger="access", run_id=run_id, path="/api/process")
    assert line["client_disconnected"] is True
    line = await logged(impatient, logger="service.run", run_id=run_id)
    assert line["outcome"] == "cancelled"
    assert line["error_type"] == "abandoned"


async def test_a_client_cannot_forge_a_log_line(api: Api, service: Process) -> None:
    await api.http.get('/forged%0A{"level":"error","forged":true}')
    line = await logged(service, path='/forged\n{"level":"error","forged":true}')
    assert line["level"] == "info"
    assert not [line for line in read_log_lines(service) if "forged" in line]


async def test_content_is_not_logged(api: Api, service: Process) -> None:
    question = "A question that is nobody else's business"
    events = await api.ask(question, stream_agents=True)
    await logged(service, logger="access", run_id=events[0].run_id)
    assert question not in service.err
    said = (await api.shown(events[0].run_id))["answer"]
    assert said[:40] not in service.err


async def test_health_checks_do_not_fill_the_log(api: Api, service: Process) -> None:
    await api.http.get("/health/live")
    await api.http.get("/marker-of-the-health-test")
    await logged(service, path="/marker-of-the-health-test")
    assert not [line for line in read_log_lines(service) if line.get("path") == "/health/live"]


async def test_readable_log_lines_are_the_default_outside_production(start: Start) -> None:
    service = start(LOG_JSON="")
    async with client_of(service.url) as api:
        run_id = (await api.ask())[0].run_id

        async def written() -> bool:
            return "access: POST /api/process 200" in service.err

        await until(written)
    assert "service.run: run completed" in service.err
    assert f"run_id={run_id}" in service.err
    assert not read_log_lines(service)


@pytest.fixture
async def measured(start: Start) -> Page:
    """The metrics of a service after a known number of runs of each kind."""
    service = start(DETACH_GRACE_S="0.1")
    async with client_of(service.url) as api:
        for _ in range(3):
            run_id = (await api.ask())[0].run_id
        await api.ask(ensemble="solo")
        await api.ask(ensemble="one-status")
        await api.ask(ensemble="both-bad")
        await api.ask(ensemble="combiner-status")
        await api.ask(ensemble="mute-straggler")
        await api.ask("Is this counted?", ensemble="again")
        async with api.asked(ensemble="endless") as response:
            cancelled = (await anext(follow(response))).run_id
            await api.http.post(f"/api/runs/{cancelled}/cancel")
        await api.ended(await api.started(ensemble="hung"))
        await api.replayed(run_id)
        await api.http.get("/nowhere")
        await api.http.get("/api/process")
        return await read_metrics(api)


async def test_the_metrics_count_runs_calls_and_requests(measured: Page) -> None:
    runs = "fanout_runs_total"
    assert measured(runs, workflow="fanout", outcome="completed") == 3
    assert measured(runs, workflow="solo", outcome="completed") == 1
    assert measured(runs, workflow="both-bad", outcome="failed") == 1
    assert measured(runs, workflow="endless", outcome="cancelled") == 1
    assert measured(runs, workflow="hung", outcome="cancelled") == 1
    assert measured(runs) == 11

    degraded = "fanout_degraded_runs_total"
    assert measured(degraded, workflow="one-status", reason="agents") == 1
    assert measured(degraded, workflow="mute-straggler", reason="agents") == 1
    assert measured(degraded, workflow="combiner-status", reason="combiner") == 1
    assert measured(degraded) == 3

    agents = "fanout_agent_outcomes_total"
    assert measured(agents, agent="llm-2", outcome="answered") == 3 + 1
    assert measured(agents, agent="llm-combine", outcome="answered") == 3 + 1 + 1 + 1
    assert measured(agents, agent="bad-status", outcome="failed") == 1 + 1 + 1
    assert measured(agents, agent="hung-1", outcome="skipped") == 1
    assert measured(agents, agent="hung-1", outcome="cancelled") == 1
    assert measured(agents, agent="again", outcome="answered") == 1

    assert measured("fanout_retries_total", agent="again", reason="upstream_busy") == 1
    assert measured("fanout_step_downs_total", agent="bad-status") == 1
    assert measured("fanout_resumes_total") == 1
    assert measured("fanout_inflight_runs") == 0
    assert measured("fanout_open_streams") == 0
    assert measured("fanout_cost_usd_total", agent="assistant") > 0

    durations = "gen_ai_invoke_workflow_duration_seconds_count"
    assert measured(durations) == 11
    assert measured(durations, workflow="fanout", error_type="") == 3
    assert measured(durations, workflow="both-bad", error_type="too_few_answers") == 1
    assert measured("gen_ai_invoke_agent_duration_seconds_count", agent="llm-2") == 4
    assert measured("fanout_time_to_first_output_seconds_count", workflow="fanout") == 3
    assert measured("fanout_time_to_first_output_seconds_count", workflow="both-bad") == 0

    calls = "gen_ai_client_operation_duration_seconds_count"
    assert measured(calls, error_type="upstream_busy") == 1
    solo_model = "mock?tokens=20&first_ms=5&gap_ms=2"
    assert measured(calls, request_model=solo_model) == 1
    assert measured("gen_ai_client_token_usage_sum", request_model=solo_model) > 20
    first_chunk = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
    assert measured(first_chunk, request_model=solo_model) == 1

    requests = "http_server_request_duration_seconds_count"
    assert measured(requests, route="/api/process", method="POST", status_code="200") == 11
    assert measured(requests, status_code="404", route="_OTHER") == 1
    assert measured(requests, status_code="405") == 1
    assert measured("http_server_active_requests") == 1  # the one for the page itself


async def test_client_input_never_becomes_a_label(api: Api) -> None:
    await api.http.get("/label-made-up-by-a-caller")
    await api.http.request("BREW", "/health")
    await api.http.post("/api/process", json=asking(ensemble="made-up"))
    page = (await api.http.get("/metrics")).text
    for made_up in ("label-made-up", "BREW", "made-up", "run_0"):
        assert made_up not in page


async def test_openmetrics_is_returned_on_request(api: Api) -> None:
    await api.ask()
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    response = await api.http.get("/metrics", headers=accept)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
    found = open_families(response.text)  # type: ignore[no-untyped-call]  # the library's gap
    assert {family.name for family in found} >= {"fanout_runs"}
