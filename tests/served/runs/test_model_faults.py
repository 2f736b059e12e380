"""Model servers that fail, each in its own way."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests._support.clients.api import (
    Api,
    answer_of,
    asking,
    assert_whole,
    client_of,
    of_type,
    until,
)
from tests._support.llm.ensembles import FAULTS, ODDITIES
from tests._support.llm.mock_stats import Upstream
from tests._support.servers.processes import run_server
from tests._support.servers.services import KEY, Start, Told

# The error code that users receive for each fault. A fault occurs after 3 tokens, the
# default of `after`, unless its definition states otherwise.
CODES = {
    "status": "upstream_failed",
    "bad-key": "upstream_refused",
    "busy": "upstream_busy",
    "refuse": "upstream_unreachable",
    "hang": "upstream_timeout",
    "stall": "upstream_timeout",
    "drip": "upstream_timeout",
    "reset": "upstream_incomplete",
    "cut": "upstream_incomplete",
    "garbage": "upstream_bad_stream",
    "error-object": "upstream_failed",
    "binary": "upstream_incomplete",
    "empty": "upstream_empty",
    "reset-at-once": "upstream_incomplete",
}
AFTER_SOME_TEXT = {"stall", "reset", "cut", "garbage", "error-object"}


def test_every_fault_has_its_code() -> None:
    assert CODES.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_agents_failure_is_reported_and_does_not_end_the_run(
    api: Api, fault: str
) -> None:
    events = await api.ask(ensemble=f"one-{fault}")
    assert_whole(events)
    (failed,) = of_type(events, "agent.failed")
    assert failed["status"] == f"Failed bad-{fault}"
    assert failed["source"] == f"bad-{fault}"
    assert failed["code"] == CODES[fault]
    assert failed["message"].endswith(".")
    assert failed["partial"] == (fault in AFTER_SOME_TEXT)  # its text is used, marked as cut off
    used = ["llm-1", f"bad-{fault}"] if failed["partial"] else ["llm-1"]
    assert of_type(events, "combine.started")[0]["used"] == used
    assert events[-1].data["status"] == "Completed"
    shown = await api.shown(events[0].run_id)
    states = {agent["name"]: agent["state"] for agent in shown["agents"]}
    assert states == {"llm-1": "answered", f"bad-{fault}": "failed", "llm-combine": "answered"}


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - AFTER_SOME_TEXT))
async def test_an_agents_answer_replaces_a_combiner_that_fails_before_its_first_token(
    api: Api, fault: str
) -> None:
    events = await api.ask(ensemble=f"combiner-{fault}")
    assert_whole(events)
    (failed,) = of_type(events, "agent.failed")
    assert failed["source"] == f"bad-{fault}"
    assert failed["code"] == CODES[fault]
    shown = await api.shown(events[0].run_id)
    assert answer_of(events) == shown["agents"][0]["answer"] == shown["answer"]
    last = events[-1].data
    assert last["status"] == "Completed"
    assert last["degraded"] is True
    assert last["answered_by"] == shown["answered_by"] == "llm-1"


@pytest.mark.parametrize("fault", sorted(AFTER_SOME_TEXT))
async def test_a_combiner_that_fails_later_ends_the_run_with_its_partial_answer(
    api: Api, fault: str
) -> None:
    events = await api.ask(ensemble=f"combiner-{fault}")
    assert_whole(events)
    last = events[-1].data
    assert last["type"] == "run.failed"
    assert last["status"] == "error"
    assert last["source"] == f"bad-{fault}"
    assert last["code"] == CODES[fault]
    assert last["message"].endswith(".")
    assert last["partial"] is True
    assert (await api.shown(events[0].run_id))["answer"] == answer_of(events) != ""


async def test_a_run_without_any_answer_fails_with_every_reason(api: Api) -> None:
    events = await api.ask(ensemble="both-bad")
    assert_whole(events)
    assert len(of_type(events, "agent.failed")) == 2
    assert not of_type(events, "combine.started")
    last = events[-1].data
    assert last["type"] == "run.failed"
    assert last["status"] == "error"
    assert last["partial"] is False
    assert "bad-status: " in last["message"]
    assert "bad-cut: " in last["message"]


async def test_too_few_answers_fail_the_run(api: Api) -> None:
    last = (await api.ask(ensemble="both-needed"))[-1].data
    assert last["code"] == "too_few_answers"
    assert "1 of 2 agents answered, 2 needed" in last["message"]


async def test_a_busy_server_is_called_again_after_its_retry_after(api: Api) -> None:
    events = await api.ask("Is this asked twice?", ensemble="again")
    assert_whole(events)
    (retrying,) = of_type(events, "agent.retrying")
    assert retrying["status"] == "Retrying again"
    assert retrying["source"] == "again"
    assert retrying["code"] == "upstream_busy"
    assert retrying["attempt"] == 1
    assert retrying["delay_ms"] >= 50
    assert not of_type(events, "agent.failed")
    assert of_type(events, "combine.started")[0]["used"] == ["llm-1", "again"]
    shown = await api.shown(events[0].run_id)
    assert {agent["name"]: agent["retries"] for agent in shown["agents"]}["again"] == 1


async def test_the_partial_answer_of_a_straggler_is_used(api: Api, upstream: Upstream) -> None:
    events = await api.ask(ensemble="straggling")
    (skipped,) = of_type(events, "agent.skipped")
    assert skipped["status"] == "Skipped endless-1"
    assert skipped["code"] == "straggler"
    assert skipped["message"].endswith(".")
    assert skipped["usage"]["estimated"] is True
    assert of_type(events, "combine.started")[0]["used"] == ["llm-1", "endless-1"]
    assert events[-1].data["status"] == "Completed"
    await until(upstream.quiet)


async def test_a_straggler_without_output_is_left_out(api: Api) -> None:
    events = await api.ask(ensemble="mute-straggler")
    assert of_type(events, "combine.started")[0]["used"] == ["llm-1"]
    assert events[-1].data["status"] == "Completed"


async def test_the_answer_names_the_fallback_model_that_gave_it(api: Api) -> None:
    events = await api.ask(ensemble="combiner-stands-in")
    assert of_type(events, "agent.retrying")[0]["source"] == "stand-in"
    assert events[-1].data["status"] == "Completed"
    assert events[-1].data["degraded"] is True
    assert len(answer_of(events)) > 20


async def test_the_deadline_of_the_run_ends_all_calls(api: Api, upstream: Upstream) -> None:
    events = await api.ask(ensemble="hung-for-a-while")
    assert_whole(events)
    assert events[-1].data["status"] == "error"
    assert 450 < events[-1].data["elapsed_ms"] < 10_000
    await until(upstream.quiet)


@pytest.mark.parametrize("odd", ODDITIES)
async def test_unusual_but_complete_answers_are_accepted(api: Api, odd: str) -> None:
    events = await api.ask(ensemble=f"odd-{odd}")
    assert_whole(events)
    assert events[-1].data["status"] == "Completed"
    assert events[-1].data["usage"].get("estimated", False) is (odd == "no_usage")


async def test_unreachable_model_servers_fail_runs_and_nothing_else(
    tmp_path: Path, told: Told
) -> None:
    with run_server(tmp_path, "mock", "--port", "0") as mock:
        settings = told(tmp_path) | {"LLM_BASE_URL": mock.url}
        mock.signal(signal.SIGKILL)
        mock.wait()
        (tmp_path / "service").mkdir()
        with run_server(tmp_path / "service", "serve", "--port", "0", **settings) as service:
            async with client_of(service.url) as api:
                for _ in range(3):
                    events = await api.ask()
                    assert_whole(events)
                    assert events[-1].data["status"] == "error"
                    for failed in of_type(events, "agent.failed"):
                        assert failed["code"] == "upstream_unreachable"
                assert (await api.http.get("/health")).status_code == 200


async def test_a_missing_key_is_named_at_start_up_and_by_a_failed_run(start: Start) -> None:
    service = start(LLM_KEY="")
    async with client_of(service.url) as api:
        events = await api.ask()
    assert_whole(events)
    assert events[-1].data["status"] == "error"
    assert "LLM_KEY" in events[-1].data["message"]
    assert {failed["code"] for failed in of_type(events, "agent.failed")} == {"missing_key"}
    assert "Warning: LLM_KEY is not set" in service.err


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "GROQ_API_KEY"])
async def test_the_key_is_also_read_from_the_names_of_other_vendors(
    start: Start, name: str
) -> None:
    service = start(**{"LLM_KEY": "", name: KEY})
    async with client_of(service.url) as api:
        assert (await api.ask())[-1].data["status"] == "Completed"
    assert "is not set" not in service.err


async def test_the_key_appears_in_no_response_and_no_log(start: Start) -> None:
    service = start(LOG_LEVEL="debug")
    seen = b""
    async with client_of(service.url) as api:
        for ensemble in ("fanout", "one-bad-key", "one-refuse", "combiner-garbage", "blabbing"):
            response = await api.http.post("/api/process", json=asking(ensemble=ensemble))
            seen += response.content
            run_id = response.headers["x-run-id"]
            seen += (await api.http.get(f"/api/runs/{run_id}")).content
            seen += str(response.headers).encode()
        for path in ("/health", "/metrics", "/", "/nowhere", f"/{KEY}"):
            response = await api.http.get(path)
            seen += response.content if KEY not in path else b""
    service.end()
    assert b"[redacted]" in seen  # the blabbing server quotes the key it was sent
    assert KEY.encode() not in seen
    assert KEY not in service.out + service.err
