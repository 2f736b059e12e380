"""Invalid requests: each gets its status and an error message, and harms no other request."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests._support.clients.api import (
    Answered,
    Api,
    answered,
    asking,
    assert_whole,
    connected,
    events_of,
    exchange,
    head,
    posting,
    take_response,
)
from tests._support.patience import PATIENCE_S
from tests._support.servers.processes import Process

JSON = {"Content-Type": "application/json"}
ERROR = {"error", "code", "request_id", "trace_id"}


def assert_refused(response: Answered, status: int, code: str) -> dict[str, Any]:
    """Require the contract's error shape and return it."""
    assert response.status == status, response.body[:500]
    assert response.headers["content-type"] == "application/json"
    problem: dict[str, Any] = response.json
    assert ERROR <= problem.keys() <= ERROR | {"details"}
    assert problem["code"] == code
    assert problem["error"].endswith(".")
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["trace_id"] == response.headers["x-trace-id"]
    assert "x-run-id" not in response.headers
    return problem


async def posted(service: Process, body: bytes, *lines: str) -> Answered:
    return answered(await exchange(service.port, posting(body, *lines)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"message": "x",}',
        b"\x00",
        b'{"message": "a\nb"}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b'{"message": "x", "message_id": "1"} {}',
        b"{\"message\": 'x'}",
    ],
)
async def test_bad_json_is_400(service: Process, body: bytes) -> None:
    assert_refused(await posted(service, body), 400, "bad_json")


async def test_json_may_start_with_a_byte_order_mark(service: Process) -> None:
    assert_refused(await posted(service, b"\xef\xbb\xbf{}"), 400, "bad_request")


@pytest.mark.parametrize("opening", [b"[", b'{"message":', b'{"a":[{"a":['])
async def test_json_a_hundred_thousand_levels_deep_is_400(service: Process, opening: bytes) -> None:
    depth = min(100_000, 250_000 // len(opening))
    assert_refused(await posted(service, opening * depth), 400, "bad_json")


@pytest.mark.parametrize("value", [b"[]", b"7", b"null", b'"text"', b"true"])
async def test_json_that_is_no_object_is_400(service: Process, value: bytes) -> None:
    assert_refused(await posted(service, value), 400, "bad_request")


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
@pytest.mark.parametrize("name", [b"message", b"message_id"])
async def test_invalid_utf8_is_400(service: Process, text: bytes, name: bytes) -> None:
    other = b"message_id" if name == b"message" else b"message"
    body = b'{"%b": "%b", "%b": "1"}' % (name, text, other)
    assert_refused(await posted(service, body), 400, "bad_json")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/process", rb'{"message": "%b", "message_id": "\udc00", "ensemble": "solo"}'),
        ("/stream", rb'{"prompt": "%b", "ensemble": "solo"}'),
        ("/chat", rb'{"messages": [{"role": "user", "content": "%b"}], "ensemble": "solo"}'),
        ("/conversation", rb'{"message": "%b", "session_name": "\ud83d", "ensemble": "solo"}'),
        (
            "/v1/chat/completions",
            rb'{"model": "solo", "messages": [{"role": "user", "content": "%b"}]}',
        ),
        ("/v1/responses", rb'{"model": "solo", "input": "%b"}'),
    ],
)
async def test_half_a_surrogate_pair_becomes_a_replacement_character(
    api: Api, path: str, body: bytes
) -> None:
    text = rb"\ud83d \\ud83d \uD83D\uDE00 \udfff\ud83d"
    response = await api.http.post(path, content=body % text, headers=JSON)
    assert response.status_code == 200, response.text
    run = await api.shown(response.headers["x-run-id"])
    conversation = await api.http.get(f"/api/conversations/{run['conversation_id']}")
    question = conversation.json()["messages"][0]["content"]
    assert question == "\ufffd \\ud83d \U0001f600 \ufffd\ufffd"


async def test_half_a_surrogate_pair_is_no_part_of_an_id(service: Process) -> None:
    body = rb'{"message": "x", "message_id": "1", "conversation_id": "\ud83d"}'
    problem = assert_refused(await posted(service, body), 400, "bad_request")
    assert [each["field"] for each in problem["details"]] == ["conversation_id"]


@pytest.mark.parametrize("coding", ["gzip", "ZSTD", "br", "deflate", "identity, gzip", "x-own"])
@pytest.mark.parametrize(
    "path", ["/api/process", "/chat", "/v1/responses", "/conversation/session"]
)
async def test_a_compressed_body_is_415_that_names_its_coding(
    api: Api, path: str, coding: str
) -> None:
    headers = JSON | {"Content-Encoding": coding}
    response = await api.http.post(path, content=gzip.compress(b"{}"), headers=headers)
    assert response.status_code == 415
    assert coding.removeprefix("identity, ") in response.text
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_an_uncompressed_body_may_name_its_coding(api: Api, coding: str) -> None:
    headers = JSON | {"Content-Encoding": coding}
    body = json.dumps(asking(ensemble="solo")).encode()
    response = await api.http.post("/api/process", content=body, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"message": "a\0b"}, "message"),
        ({"message_id": "a\0b"}, "message_id"),
        ({"message": ""}, "message"),
        ({"message": " \n\t\u2003"}, "message"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": "x" * 257}, "message_id"),
        ({"message": 7}, "message"),
        ({"message": None}, "message"),
        ({"message": ["Hi"]}, "message"),
        ({"message_id": 7}, "message_id"),
        ({"message_id": {"a": 1}}, "message_id"),
        ({"conversation_id": 7}, "conversation_id"),
        ({"conversation_id": ""}, "conversation_id"),
        ({"conversation_id": "a b"}, "conversation_id"),
        ({"conversation_id": "."}, "conversation_id"),
        ({"conversation_id": ".."}, "conversation_id"),
        ({"conversation_id": "a\r\nX-Forged: 1"}, "conversation_id"),
        ({"conversation_id": "a\n"}, "conversation_id"),
        ({"conversation_id": "é"}, "conversation_id"),
        ({"conversation_id": "x" * 129}, "conversation_id"),
        ({"ensemble": 7}, "ensemble"),
        ({"ensemble": "../x"}, "ensemble"),
        ({"stream_agents": "true"}, "stream_agents"),
        ({"stream_agents": 1}, "stream_agents"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": "5"}, "timeout_s"),
        ({"timeout_s": 1e300}, "timeout_s"),
        ({"mesage": "typo"}, "mesage"),
        ({"": 1}, ""),
        ({"model": "gpt-4o"}, "model"),
    ],
)
async def test_a_field_that_does_not_fit_is_named(
    api: Api, service: Process, fields: dict[str, Any], at: str
) -> None:
    body = json.dumps(asking() | fields).encode()
    problem = assert_refused(await posted(service, body), 400, "bad_request")
    (detail,) = problem["details"]
    assert detail["field"] == at
    assert detail["message"]


async def test_missing_fields_are_named_together(service: Process) -> None:
    problem = assert_refused(await posted(service, b"{}"), 400, "bad_request")
    assert problem["details"] == [
        {"field": "message", "message": "this field is required"},
        {"field": "message_id", "message": "this field is required"},
    ]


async def test_all_wrong_fields_are_in_the_sentence(api: Api) -> None:
    wrong = {"message": " ", "max_tokens": 0, "tokens": 5}
    problem = (await api.http.post("/api/process", json=wrong)).json()
    for field in ("message: ", "message_id: ", "max_tokens: ", "tokens: "):
        assert field in problem["error"]
    assert len(problem["details"]) == 4


async def test_a_thousand_unknown_fields_make_a_short_answer(service: Process) -> None:
    body = json.dumps(asking() | {f"{'x' * 200}{number}\r\n": 1 for number in range(1000)}).encode()
    response = await posted(service, body)
    assert_refused(response, 400, "bad_request")
    assert len(response.body) < 8_192


async def test_what_was_sent_does_not_come_back_in_an_error(service: Process) -> None:
    body = json.dumps(asking() | {"max_tokens": "a-secret-value"}).encode()
    assert b"a-secret-value" not in (await posted(service, body)).body


async def test_an_unknown_ensemble_is_400_and_says_which_there_are(service: Process) -> None:
    body = json.dumps(asking(ensemble="nope")).encode()
    problem = assert_refused(await posted(service, body), 400, "unknown_ensemble")
    assert problem["details"][0]["field"] == "ensemble"
    assert "fanout" in problem["details"][0]["message"]


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "json",
        "application/jsonx",
        "text/json",
        None,
    ],
)
async def test_another_media_type_is_415(api: Api, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    response = await api.http.post("/api/process", content=b"{}", headers=headers)
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"
    assert response.headers["x-trace-id"] == response.json()["trace_id"]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"]
)
async def test_json_by_another_name_is_taken(api: Api, kind: str) -> None:
    body = json.dumps(asking(ensemble="solo")).encode()
    response = await api.http.post("/api/process", content=body, headers={"Content-Type": kind})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/runs", "/api/process/", "/%00"])
async def test_an_unknown_address_is_404(api: Api, path: str) -> None:
    response = await api.http.get(f"{api.http.base_url}".rstrip("/") + path)
    assert response.status_code == 404
    assert response.json().keys() == ERROR
    assert response.headers["x-trace-id"] == response.json()["trace_id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/process", "POST"),
        ("PUT", "/api/process", "POST"),
        ("DELETE", "/api/runs/x", "GET"),
        ("GET", "/api/runs/x/cancel", "POST"),
        ("POST", "/health", "GET"),
    ],
)
async def test_another_method_is_405_with_those_allowed(
    api: Api, method: str, path: str, allowed: str
) -> None:
    response = await api.http.request(method, path)
    assert response.status_code == 405
    assert response.json()["code"] == "method_not_allowed"
    assert allowed in response.headers["allow"].split(", ")
    assert response.headers["x-trace-id"] == response.json()["trace_id"]


async def test_a_body_of_256_kb_is_taken_and_one_byte_more_is_413(service: Process) -> None:
    frame = json.dumps(asking("", ensemble="solo")).encode()
    fits = frame.replace(b'""', b'"%b"' % (b"x" * (262_144 - len(frame))), 1)
    assert len(fits) == 262_144
    assert (await posted(service, fits)).status == 200
    assert_refused(await posted(service, fits + b" "), 413, "body_too_large")


@pytest.mark.parametrize("size", [300_000, 5_000_000])
async def test_a_body_too_large_by_its_content_length_is_413_and_the_client_can_read_it(
    service: Process, size: int
) -> None:
    raw = await exchange(service.port, posting(b"x" * size))
    assert_refused(answered(raw), 413, "body_too_large")


@pytest.mark.parametrize("size", [300_000, 5_000_000])
async def test_a_body_too_large_in_chunks_is_413_and_the_client_can_read_it(
    service: Process, size: int
) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    body = chunk * (size // 4096) + b"0\r\n\r\n"
    raw = await exchange(
        service.port, head("Connection: close", "Transfer-Encoding: chunked") + body
    )
    assert_refused(answered(raw), 413, "body_too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_curl_shows_the_413(service: Process, tmp_path: Path, chunked: bool) -> None:
    (tmp_path / "body").write_bytes(b"x" * 3_000_000)
    told = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    done = subprocess.run(
        [
            *("curl", "-sS", "-w", "%{http_code}", f"{service.url}/api/process"),
            *("-H", "Content-Type: application/json", "-H", "Expect:", *told),
            *("--data-binary", f"@{tmp_path}/body"),
        ],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout.endswith(b"413"), done
    assert b"body_too_large" in done.stdout


async def test_a_body_nobody_asked_for_does_not_flow_in_for_ever(service: Process) -> None:
    """Only as much as the service accepts anywhere is ever taken in."""
    async with connected(service.port) as (reader, writer):
        writer.write(head("Content-Length: 1000000000", method="GET", path="/health"))
        block = b"x" * 65_536
        sent = 0
        try:
            while sent < 100_000_000 and not reader.at_eof():
                writer.write(block)
                await writer.drain()
                sent += len(block)
        except ConnectionError:
            pass
    assert sent < 50_000_000


async def test_a_slow_body_is_408(impatient: Process) -> None:
    raw = await exchange(impatient.port, head("Content-Length: 100") + b'{"message"')
    assert_refused(answered(raw), 408, "body_timeout")


async def test_huge_headers_are_refused(service: Process) -> None:
    raw = await exchange(service.port, head(f"X-Huge: {'x' * 100_000}"))
    assert raw.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"POST /api/process HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"\0" * 1000,
        b"\r\n" * 40_000,
    ],
)
async def test_what_is_not_http_is_hung_up_on(service: Process, request_: bytes) -> None:
    raw = await exchange(service.port, request_)
    assert raw == b"" or raw.startswith(b"HTTP/1.1 4")


async def test_a_length_beside_chunks_cannot_smuggle_a_second_request(service: Process) -> None:
    inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    raw = await exchange(
        service.port,
        head("Connection: close", "Content-Length: 4", "Transfer-Encoding: chunked")
        + b"0\r\n\r\n"
        + inner,
    )
    first, rest = take_response(raw)
    assert first.status == 400
    assert b"HTTP/1.1" not in rest


@pytest.mark.parametrize("request_id", ["mine", "a" * 128, "A.b_c-9", "0"])
async def test_a_sound_request_id_is_echoed(api: Api, request_id: str) -> None:
    for path in ("/health", "/nowhere"):
        response = await api.http.get(path, headers={"X-Request-ID": request_id})
        assert response.headers["x-request-id"] == request_id
    assert response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a" * 129, "a b", "a/b", "é", "a;b", "<script>", "a,b"])
async def test_any_other_request_id_is_replaced(api: Api, request_id: str) -> None:
    response = await api.http.get(
        "/health", headers={b"X-Request-ID": request_id.encode("latin-1")}
    )
    given = response.headers["x-request-id"]
    assert given != request_id
    assert 1 <= len(given) <= 128


@pytest.mark.parametrize(
    "line",
    [
        "X-Request-ID: a\rX-Forged: 1",
        "X-Request-ID: a\nX-Forged: 1",
        "Idempotency-Key: a\rX-Forged: 1",
        "Last-Event-ID: a\rX-Forged: 1",
    ],
)
async def test_a_header_cannot_inject_another(service: Process, line: str) -> None:
    body = json.dumps(asking(ensemble="solo")).encode()
    raw = await exchange(service.port, posting(body, line))
    assert b"forged" not in raw.partition(b"\r\n\r\n")[0].lower()


async def test_every_refusal_carries_the_trace_headers(api: Api) -> None:
    refused = [
        await api.http.get("/nowhere"),
        await api.http.get("/api/process"),
        await api.http.post("/api/process", json={}),
        await api.http.post("/api/process", content=b"x"),
        await api.http.post("/api/process", content=b"x" * 300_000, headers=JSON),
        await api.http.get("/api/runs/nope"),
    ]
    assert [each.status_code for each in refused] == [404, 405, 400, 415, 413, 404]
    for each in refused:
        assert each.headers["traceresponse"].split("-")[1] == each.headers["x-trace-id"]
        assert each.headers["x-request-id"]


async def test_after_all_that_the_service_still_answers(api: Api, service: Process) -> None:
    assert_whole(await api.ask())
    page = (await api.http.get("/metrics")).text
    assert "\nfanout_inflight_runs 0.0" in page
    bugs = [line for line in service.err.splitlines() if '"level":"error"' in line]
    assert bugs == []
    assert "Traceback" not in service.err


def test_curl_reads_the_stream(service: Process) -> None:
    done = subprocess.run(
        ["curl", "-sS", "-N", f"{service.url}/api/process", "--json", json.dumps(asking())],
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert_whole(events_of(done.stdout))
