"""Addresses that other servers have are refused with the alternative of this service."""

from __future__ import annotations

import pytest

from service.api.http.unknown_addresses import describe_unknown


@pytest.mark.parametrize(
    ("path", "alternative"),
    [
        ("/v1/completions", "/v1/chat/completions"),
        ("/v1/embeddings", "/search"),
        ("/v1/images/generations", "image_url"),
        ("/v1/audio/transcriptions", "input_audio"),
        ("/v1/moderations", "server of the model"),
        ("/v1/files", "input_file"),
        ("/v1/files/file-1/content", "input_file"),
        ("/v1/assistants", "/v1/responses"),
        ("/v1/threads/t/runs", "/v1/responses"),
        ("/v1/batches", "background"),
        ("/v1/realtime", "/chat"),
        ("/v1/messages", "/v1/chat/completions"),
        ("/v1/anything/else", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "base URL"),
        ("/chat/completions", "base URL"),
        ("/embeddings", "base URL"),
        ("/api/chat", "/v1/chat/completions"),
        ("/anything", "GET /"),
        ("/", "GET /"),
    ],
)
def test_the_message_names_the_available_alternative(path: str, alternative: str) -> None:
    assert alternative in describe_unknown(path)
    assert describe_unknown(path).endswith(".")
