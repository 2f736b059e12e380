"""One agent alone, as `agent/NAME`, at every address that accepts an ensemble."""

from __future__ import annotations

import pytest

from tests._support.clients.api import Api


@pytest.mark.parametrize(
    ("address", "question"),
    [
        ("/api/process", {"message": "Why?", "message_id": "m1"}),
        ("/chat?stream=false", {"messages": [{"role": "user", "content": "Why?"}]}),
        ("/stream", {"prompt": "Why?"}),
        ("/conversation", {"message": "Why?", "user_id": "u1", "stream": False}),
    ],
)
async def test_an_agent_is_asked_alone(api: Api, address: str, question: dict[str, object]) -> None:
    answered = await api.http.post(address, json={**question, "ensemble": "agent/llm-1"})
    assert answered.status_code == 200, answered.text
    run = (await api.http.get(f"/api/runs/{answered.headers['X-Run-Id']}")).json()
    assert (run["ensemble"], run["state"]) == ("agent/llm-1", "completed")
    unknown = await api.http.post(address, json={**question, "ensemble": "agent/nobody"})
    assert unknown.status_code == 400
    assert unknown.json()["code"] == "unknown_ensemble"
