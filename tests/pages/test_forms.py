"""The page after a login: only a local path."""

from __future__ import annotations

import pytest

from service.pages.forms import read_next


@pytest.mark.parametrize("path", ["/", "/web/", "/web/chat/conv_1?a=b&c=%20#x", "/docs"])
def test_a_local_path_is_followed(path: str) -> None:
    assert read_next(path) == path


@pytest.mark.parametrize(
    "value",
    [
        "", "web", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "https://evil.example", "javascript:alert(1)", "%2f%2fevil.example", "/%2fevil.example",
        "/%5cevil.example", "%2F%2Fevil", "/\t/evil.example", "/\r\nSet-Cookie: a=b", "/a\r\nb",
        "/%0d%0aSet-Cookie:%20a=b", "/%09/evil.example", " //evil.example",
        "/ /evil.example", "/é", "/" + "x" * 3_000, "/\0",
    ],
)  # fmt: skip
def test_everything_else_leads_to_the_start_page(value: str) -> None:
    assert read_next(value) == "/web/"
