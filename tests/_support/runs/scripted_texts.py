"""A model server that answers each model with scripted texts, for tests of strategies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import httpx

from tests._support.llm.scripted import DONE, Blocks, chunk

# The text of a model's answer; or several, one for each call; or a function of the request's body.
Script = str | Sequence[str] | Callable[[dict[str, Any]], str]
_CANDIDATE = re.compile(r'<candidate-\w+ label="(\w+)">\n(.*?)\n</candidate-\w+>', re.S)


class ScriptedTexts(httpx.AsyncBaseTransport):
    """Answers by the model's name. `refused` are models that refuse a `response_format`.

    `delays_s` has the seconds before a model's first token, `status` models that fail, `cut` models
    whose answers break off before their end.
    """

    def __init__(
        self,
        texts: Mapping[str, Script],
        *,
        refused: Mapping[str, Sequence[str]] | None = None,
        delays_s: Mapping[str, float] | None = None,
        status: Mapping[str, int] | None = None,
        cut: Collection[str] = (),
    ) -> None:
        self._texts = texts
        self._refused = refused or {}
        self._delays_s = delays_s or {}
        self._status = status or {}
        self._cut = cut
        self._calls: dict[str, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        model = body["model"]
        await asyncio.sleep(self._delays_s.get(model, 0.001))
        if model in self._status:
            return httpx.Response(self._status[model], json={"error": {"message": "It failed."}})
        kind = body.get("response_format", {}).get("type")
        if kind in self._refused.get(model, ()):
            message = f"response_format {kind} is not supported"
            return httpx.Response(400, json={"error": {"message": message}})
        number = self._calls[model] = self._calls.get(model, 0) + 1
        script = self._texts[model]
        if callable(script):
            text = script(body)
        elif isinstance(script, str):
            text = script
        else:
            text = script[min(number, len(script)) - 1]
        pieces = [chunk(piece) for piece in re.findall(r"\s*\S+|\s+$", text)]
        end = [] if model in self._cut else [chunk(finish="stop"), DONE]
        blocks = Blocks([*pieces, *end])
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=blocks)


def read_candidates(body: dict[str, Any]) -> dict[str, str]:
    """Return the texts that a judge was sent, by their letters, in its order."""
    return dict(_CANDIDATE.findall(body["messages"][-1]["content"]))


def points(by_text: Mapping[str, float]) -> Callable[[dict[str, Any]], str]:
    """Return a judge that gives each candidate the points of the first word that it contains."""

    def judge(body: dict[str, Any]) -> str:
        scores = {
            label: next(score for word, score in by_text.items() if word in text)
            for label, text in read_candidates(body).items()
        }
        return json.dumps({"reason": "As scripted.", "scores": scores})

    return judge


def ranking(*words: str) -> Callable[[dict[str, Any]], str]:
    """Return a reviewer that ranks candidates by the position of the word that they contain."""

    def review(body: dict[str, Any]) -> str:
        def place(label: str) -> int:
            return next(at for at, word in enumerate(words) if word in texts[label])

        texts = read_candidates(body)
        return json.dumps({"ranking": sorted(texts, key=place)})

    return review
