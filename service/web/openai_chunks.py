"""An answer as OpenAI's `chat.completion.chunk` objects, each as ASCII JSON.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
from typing import Any

from service.runs.run import Run


class Chunks:
    """Writes the chunks of one run's answer; id, time and model are the same in all of them."""

    def __init__(self, run: Run) -> None:
        head = {
            "id": f"chatcmpl-{run.id.removeprefix('run_')}",
            "object": "chat.completion.chunk",
            "created": int(run.created_at.timestamp()),
            "model": run.ensemble_name,
        }
        self._opening = json.dumps(head)[:-1] + ', "choices": [{"index": 0, "delta": '

    def role(self) -> str:
        """Return the first chunk, which says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> str:
        """Return the chunk of a piece of the answer. There are many: kept cheap."""
        return f'{self._opening}{{"content": {json.dumps(text)}}}, "finish_reason": null}}]}}'

    def silence(self) -> str:
        """Return a chunk without text, for a client that takes nothing but chunks."""
        return self._chunk({})

    def end(self, finish_reason: str) -> str:
        """Return the last chunk, which says why the text ends here."""
        return self._chunk({}, finish_reason)

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> str:
        return (
            f'{self._opening}{json.dumps(delta)}, "finish_reason": {json.dumps(finish_reason)}}}]}}'
        )


def error_object(message: str, code: str) -> dict[str, Any]:
    """Return an error as OpenAI has it."""
    return {"error": {"message": message, "type": "server_error", "param": None, "code": code}}
