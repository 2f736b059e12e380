"""The program of a login in words."""

from __future__ import annotations

import pytest

from service.pages.accounts.browsers import describe_program


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
         "Firefox 140 on Linux"),
        (("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.86"), "Edge 131 on Windows"),
        (("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/131.0.0.0 Mobile Safari/537.36"), "Chrome 131 on Android"),
        (("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
         "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"), "Safari 18 on iPhone"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("<script>" + "x" * 300, "<script>" + "x" * 72),
        ("", "an unknown program"),
    ],
)  # fmt: skip
def test_a_login_is_named_by_its_browser_and_system(user_agent: str, words: str) -> None:
    assert describe_program(user_agent) == words
