"""The sentence, codes and fields of errors in the formats of many servers."""

from __future__ import annotations

import json
import time

import pytest

from service.llm.errors.bodies import read_error_body

VALIDATION = {"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}

# Bodies as the named servers send them; each has the sentence "No such model."
SHAPES: dict[str, object] = {
    "OpenAI": {"error": {"message": "No such model.", "type": "x", "param": None, "code": "y"}},
    "Ollama": {"error": "No such model."},
    "Gemini": [{"error": {"code": 404, "message": "No such model.", "status": "NOT_FOUND"}}],
    "vLLM": {"object": "error", "message": "No such model.", "type": "NotFoundError", "code": 404},
    "Cohere": {"message": "No such model."},
    "AWS": {"__type": "ValidationException", "Message": "No such model."},
    "FastAPI": {"detail": "No such model."},
    "Anthropic": {"type": "error", "error": {"type": "x", "message": "No such model."}},
    "Cloudflare": {"success": False, "errors": [{"code": 5007, "message": "No such model."}]},
    "Apigee": {"fault": {"faultstring": "No such model.", "detail": {"errorcode": "x.y"}}},
    "TGI": {"error": "No such model.", "error_type": "validation"},
    "Spring": {"timestamp": 1, "status": 404, "error": "Not Found", "message": "No such model."},
    "OAuth": {"error": "invalid_request", "error_description": "No such model."},
    "Azure": {"error": {"code": "x", "message": "No such model.", "innererror": {"code": "z"}}},
    "nested": {"error": {"message": {"detail": "No such model."}}},
    "quoted": {"error": {"message": '{"error": {"message": "No such model."}}'}},
    "flag": {"error": True, "message": "No such model."},
    "text in a list": {"error": ["No such model."]},
    "detail with an object": {"detail": {"error": {"message": "No such model."}}},
    "text": "No such model.",
    "MiniMax": {"base_resp": {"status_code": 1004, "status_msg": "No such model."}},
    "Baidu": {"error_code": 3, "error_msg": "No such model.", "id": "as-1"},
    "another name": {"ok": False, "id": "req-1", "data": {"info": "No such model."}},
    "another name in a list": {"id": "x", "results": [{"code": 4, "text": "No such model."}]},
}


@pytest.mark.parametrize("server", SHAPES)
def test_the_sentence_is_found_in_every_shape(server: str) -> None:
    assert read_error_body(json.dumps(SHAPES[server]).encode()).sentence == "No such model."


@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b" \r\n", b"data: ", b"event: error\ndata: "]
)
def test_the_first_bytes_decide_the_format(before: bytes) -> None:
    body = before + json.dumps(SHAPES["OpenAI"]).encode() + b"\n\n"
    assert read_error_body(body).sentence == "No such model."


def test_a_list_of_validation_faults_becomes_fields_with_reasons() -> None:
    facts = read_error_body(json.dumps({"detail": [VALIDATION]}).encode())
    assert facts.sentence == "seed: Extra inputs are not permitted"
    assert facts.fields == ["seed"]


def test_validation_faults_may_be_inside_a_message() -> None:
    body = {"object": "error", "message": {"detail": [VALIDATION]}, "type": "invalid"}
    facts = read_error_body(json.dumps(body).encode())
    assert (facts.sentence, facts.fields) == ("seed: Extra inputs are not permitted", ["seed"])


def test_a_problem_document_has_its_title_and_detail() -> None:
    body = {
        "type": "about:blank",
        "title": "Bad Request",
        "detail": "No such model.",
        "status": 400,
    }
    assert read_error_body(json.dumps(body).encode()).sentence == "Bad Request: No such model."


def test_errors_by_field_are_listed() -> None:
    body = {"title": "Invalid.", "status": 400, "errors": {"seed": ["Unknown."]}}
    facts = read_error_body(json.dumps(body).encode())
    assert (facts.sentence, facts.fields) == ("seed: Unknown.", ["seed"])


def test_a_router_reports_the_sentence_of_the_provider() -> None:
    raw = json.dumps({"error": {"message": "No such model.", "param": "model"}})
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}
    facts = read_error_body(json.dumps(body).encode())
    assert facts.sentence == "Provider returned error: No such model."
    assert "model" in facts.fields


def test_codes_of_all_levels_and_named_fields_are_collected() -> None:
    body = {"error": {"code": "a", "type": "b", "param": "top_p", "innererror": {"code": "c"}}}
    facts = read_error_body(json.dumps(body).encode())
    assert {"a", "b", "c"} <= set(facts.codes)
    assert facts.fields == ["top_p"]


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
         "502 Bad Gateway"),
        (b"<!DOCTYPE html>\n<TITLE>\n api.x | 522: Connection&nbsp;timed out </TITLE>",
         "api.x | 522: Connection timed out"),
        (b"<html><body><h1>Service <b>Unavailable</b></h1></body></html>", "Service Unavailable"),
        (b"<html><title></title><h1>Sorry</h1></html>", "Sorry"),
        (b"<?xml version='1'?><Error><Code>X</Code><Message>Denied.</Message></Error>", "Denied."),
        (b"<p>Only text</p>", "Only text"),
    ],
)  # fmt: skip
def test_a_page_yields_its_title_or_heading(page: bytes, sentence: str) -> None:
    assert read_error_body(page).sentence == sentence


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"upstream connect error\n or reset", "upstream connect error or reset"),
        (b"First part.\n\nSecond part.", "First part."),
        (b"{not json", "{not json"),
        (b"", ""),
        (b"null", ""),
        (b"{}", ""),
        (b"[]", ""),
        (b'{"error": {}}', ""),
        (b'{"error": {"code": "model_not_found"}}', "model_not_found"),
        (b'{"error": "half \\ud83d pair"}', "half \N{REPLACEMENT CHARACTER} pair"),
    ],
)
def test_other_bodies_yield_their_first_paragraph_or_nothing(body: bytes, sentence: str) -> None:
    assert read_error_body(body).sentence == sentence


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"error":' * 8_000,
        b'{"error":[' + b"[]," * 20_000 + b"1]}",
        b"<title>" * 9_000,
        b"<" * 65_000,
        b"&" * 65_000,
        b"data:" * 13_000,
        b"data:\n" * 10_000,
        b'{"message": "' + b"{" * 60_000 + b'"}',
        b"\xff" * 65_000,
        b"word " * 13_000,
    ],
)
def test_no_body_takes_long_to_read(body: bytes) -> None:
    start = time.thread_time()
    read_error_body(body)
    assert time.thread_time() - start < 1  # quadratic work over 64 KB would take many seconds
