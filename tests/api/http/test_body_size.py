"""The size of a JSON body by its text and its values, known before it is parsed."""

from __future__ import annotations

import json

import pytest

from service.api.http.body_size import MAX_VALUES, check_structure
from service.errors import RequestError

LIMIT_BYTES = 262_144
IMAGE = "data:image/png;base64," + "iVBOR/w0KGgo+" * 300_000


@pytest.mark.parametrize("unit", [b"{}", b"[]", b"1", b'""', b'{"a":1}', b"null"])
@pytest.mark.parametrize("size", [LIMIT_BYTES, 8_000_000])
def test_a_body_of_very_many_values_is_refused(unit: bytes, size: int) -> None:
    body = b'{"messages":[' + b",".join([unit] * (size // (len(unit) + 1))) + b"]}"
    with pytest.raises(RequestError) as caught:
        check_structure(body, LIMIT_BYTES)
    assert caught.value.code == "body_too_large"


def test_commas_and_brackets_in_text_are_no_values() -> None:
    text = 'a,[{"}],' * 25_000
    check_structure(json.dumps({"message": text}).encode(), LIMIT_BYTES)


@pytest.mark.parametrize("escape", [False, True])
def test_media_do_not_count_as_text(escape: bool) -> None:
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]})
    # PHP escapes slashes.
    check_structure((body.replace("/", r"\/") if escape else body).encode(), LIMIT_BYTES)


def test_as_many_values_as_allowed_are_accepted() -> None:
    check_structure(b"[" + b",".join([b"1"] * (MAX_VALUES - 1)) + b"]", LIMIT_BYTES)


@pytest.mark.parametrize("unit", [rb"\"", rb"\\", b'"'])
def test_a_string_without_an_end_is_searched_once(unit: bytes) -> None:
    check_structure(b'"' + unit * 1_000_000)  # with a search from each quote it takes hours
