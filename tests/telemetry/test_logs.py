"""Log lines: JSON with ids, readable lines, redaction of secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from telemetry import (
    Telemetry,
    bind_log,
    build_detached_context,
    configure_logging,
    logs,
    register_secret,
)
from tests._support.telemetry.asgi import call


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield io.StringIO()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logs._registered.clear()


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_line_has_the_ids_of_its_request_and_run(
    quiet: Telemetry, stream: io.StringIO
) -> None:
    configure_logging(level="info", json=True, stream=stream)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bind_log(run_id="run_1", conversation_id="conv_1")
        logging.getLogger("service").warning("slow %s", "agent", extra={"agent": "llm-1"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    wire = await call(quiet.middleware(app), x_request_id="req")
    line = json_lines(stream)[0]
    span_id = wire.headers["traceresponse"].split("-")[2]
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "service",
        "message": "slow agent",
        "request_id": "req",
        "trace_id": wire.headers["x-trace-id"],
        "span_id": span_id,
        "run_id": "run_1",
        "conversation_id": "conv_1",
        "agent": "llm-1",
    }


async def test_work_in_a_detached_context_has_the_ids_of_its_request_only(
    quiet: Telemetry, stream: io.StringIO
) -> None:
    configure_logging(level="info", json=True, stream=stream)
    other: ContextVar[str] = ContextVar("other", default="")

    async def work() -> None:
        assert other.get() == ""
        logging.getLogger("service").warning("late")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bind_log(run_id="run_1")
        other.set("of the web framework")
        await asyncio.create_task(work(), context=build_detached_context())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    await call(quiet.middleware(app), x_request_id="req")
    line = json_lines(stream)[0]
    assert (line["request_id"], line["run_id"]) == ("req", "run_1")


def test_the_time_is_rfc_3339_in_utc() -> None:
    assert logs._rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert logs._rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_is_never_written(stream: io.StringIO, as_json: bool) -> None:
    configure_logging(level="info", json=as_json, stream=stream)
    register_secret('quo"ted-sécret')
    logger = logging.getLogger("t")
    logger.info("sent Authorization: Bearer abc.DEF-123456 and bearer zzzzzzzz")
    logger.info('key "sk-proj-AbCdEf123456", then\nsk-onanewline123456')
    logger.info("a groq gsk_abcdefgh12345678", extra={"token": 'quo"ted-sécret'})
    try:
        raise ValueError("Incorrect API key\nsk-inthetraceback123")
    except ValueError:
        logger.exception("failed with %s", 'quo"ted-sécret')
    text = stream.getvalue()
    for part in ("abc.DEF", "zzzz", "AbCdEf", "onanew", "abcdefgh", "ted-s", "inthetrace"):
        assert part not in text
    assert text.count("[redacted]") >= 7


def test_words_that_only_resemble_keys_are_not_redacted(stream: io.StringIO) -> None:
    configure_logging(level="info", json=True, stream=stream)
    logging.getLogger("t").info("task-1234567890 on disk-1234567890")
    assert json_lines(stream)[0]["message"] == "task-1234567890 on disk-1234567890"


@pytest.mark.parametrize("value", ["", "k", "ken", "ollama", "1234567"])
def test_a_value_below_eight_characters_is_not_redacted(value: str) -> None:
    register_secret(value)
    assert logs.redact(f"the token {value} of") == f"the token {value} of"
    assert logs.redact_value(f"the token {value} of", value) == f"the token {value} of"


@pytest.mark.parametrize(
    "text", ["passwords0 are", "a xpasswords", "Passwörter: üpasswords", "passwordsé"]
)
def test_a_short_secret_is_not_redacted_inside_a_word(text: str) -> None:
    register_secret("passwords")
    assert logs.redact(text) == logs.redact_value(text, "passwords") == text


@pytest.mark.parametrize("before", ["", " ", '"', "=", ":", "_", "\\n", "%20", "@", "/", "é "])
@pytest.mark.parametrize("after", ["", " ", '"', ".", "@host", "\\n", "_"])
def test_a_short_secret_is_redacted_as_a_word(before: str, after: str) -> None:
    register_secret("passwords")
    assert logs.redact(f"{before}passwords{after}") == f"{before}[redacted]{after}"


def test_a_long_secret_is_redacted_anywhere() -> None:
    secret = "0123456789abcdefghij"
    assert logs.redact_value(f"x{secret}y", secret) == "x[redacted]y"


def test_a_readable_line_is_one_line(stream: io.StringIO) -> None:
    configure_logging(level="debug", json=False, stream=stream)
    logging.getLogger("t").info("GET /a\n2026 forged\u2028line", extra={"status": 200})
    (line,) = stream.getvalue().splitlines()
    assert "INFO    t: GET /a\\n2026 forged\\u2028line  status=200" in line


@pytest.mark.parametrize("value", [object(), {1: "a"}, "\ud800", 10**30, float("nan"), {"a"}])
def test_every_extra_value_gives_a_valid_line(stream: io.StringIO, value: object) -> None:
    configure_logging(level="info", json=True, stream=stream)
    logging.getLogger("t").info("odd", extra={"value": value})
    assert json_lines(stream)[0]["message"] == "odd"


def test_configuring_again_replaces_the_handler(stream: io.StringIO) -> None:
    configure_logging(level="info", json=True, stream=stream)
    configure_logging(level="warning", json=True, stream=stream)
    logging.getLogger("t").info("no")
    logging.getLogger("t").warning("yes")
    assert [line["message"] for line in json_lines(stream)] == ["yes"]


def test_an_unknown_level_is_an_error(stream: io.StringIO) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging(level="loud", json=True, stream=stream)


def test_an_access_line_repeats_nothing(stream: io.StringIO) -> None:
    configure_logging(level="info", json=False, stream=stream)
    shown = {"method": "GET", "path": "/runs/r1", "status": 200}
    extra = {**shown, "run_id": "r1", "conversation_id": "c", "bytes": 5}
    logging.getLogger("access").info("GET /runs/r1 200", extra=extra)
    line = stream.getvalue()
    assert line.count("r1") == line.count("/runs") == 1
    assert "bytes=5" in line
    assert "conversation_id" not in line
