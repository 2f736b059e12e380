"""A model server that answers as the models of stored runs did, and a fixture for tests.

Speaks OpenAI's chat completions. The address of a run is `/runs/{id}/v1`, that of one of its agents
`/runs/{id}/agents/{name}/v1`; a request to `/v1` finds its run by the question and the model.
`POST /api/process` returns the event stream of a run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from service.mock_llm.transport import MockTransport, ModelServer
from service.mock_llm.wire import Plan, error_plan, json_plan
from service.replay.document import RunRecord, list_models
from service.replay.order import CallOrder, choose_run, is_question
from service.replay.responses import Wish, plan_response
from service.replay.stream import plan_stream

_ADDRESS = re.compile(r"(?:/runs/(?P<run>[^/]+))?(?:/agents/(?P<agent>[^/]+))?/(?P<rest>.*)")
_OTHER_QUESTION = ("x-replay", "other-question")


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _ChatRequest(msgspec.Struct):
    """The fields of a chat request that decide about its response; all others are accepted."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def texts(self) -> Sequence[str]:
        """The texts of the messages, without those of the system."""
        said = [each for each in self.messages if each.get("role") not in ("system", "developer")]
        return [_read_text(each.get("content")) for each in said]


class _Question(msgspec.Struct):
    message: str = ""


class ReplayServer(ModelServer):
    """Answers as the models of the given runs did.

    Times are divided by `speed`, which is 0 for no waits. An unknown question gets the recorded
    answer with a header `x-replay: other-question`, or 404 if `is_strict`.
    """

    def __init__(
        self, records: Sequence[RunRecord], *, speed: float = 1.0, is_strict: bool = False
    ) -> None:
        super().__init__()
        self._records = {each.run_id: each for each in records}
        self._speed = speed
        self._is_strict = is_strict
        self._orders = {
            run_id: CallOrder(each, time.monotonic) for run_id, each in self._records.items()
        }

    def respond(self, method: str, path: str, body: bytes) -> Plan:
        """Return the response to a request; `path` excludes the query."""
        self.requests += 1
        address = _ADDRESS.fullmatch(path)
        run_id = unquote(address["run"] or "") if address else ""
        if address is None or (run_id and run_id not in self._records):
            return error_plan(404, "There is no such run here.")
        records = {run_id: self._records[run_id]} if run_id else self._records
        rest = address["rest"]
        if rest.endswith("chat/completions"):
            agent = unquote(address["agent"] or "")
            return self._chat(records, agent, body) if method == "POST" else _refuse("POST")
        if rest.endswith("models"):
            return _list_models(records) if method == "GET" else _refuse("GET")
        if rest.endswith("api/process"):
            return self._process(records, body) if method == "POST" else _refuse("POST")
        return error_plan(404, f"Invalid URL ({method} {path}).")

    def _chat(self, records: Mapping[str, RunRecord], agent: str, body: bytes) -> Plan:
        try:
            request = msgspec.json.decode(body, type=_ChatRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return error_plan(400, f"The body is not a chat request: {error}.")
        texts = request.texts
        record = choose_run(records, texts, request.model)
        is_known = is_question(record, texts)
        if self._is_strict and not is_known:
            return error_plan(404, "This question was not recorded.", param="messages")
        text = texts[0] if texts else ""
        found = self._orders[record.run_id].find(agent, request.model, text)
        if found is None:
            return error_plan(
                404, f"No call of {agent or request.model} was recorded.", param="model"
            )
        options = request.stream_options
        wish = Wish(
            is_stream=bool(request.stream),
            wants_usage=options is not None and options.include_usage,
            speed=self._speed,
            late_ms=found.late_ms,
            headers=() if is_known else (_OTHER_QUESTION,),
        )
        return plan_response(found.call, wish, self.requests)

    def _process(self, records: Mapping[str, RunRecord], body: bytes) -> Plan:
        try:
            question = msgspec.json.decode(body, type=_Question) if body.strip() else _Question()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return error_plan(400, f"The body is not a question: {error}.")
        asked = [each for each in records.values() if each.question == question.message]
        if not asked and self._is_strict:
            return error_plan(404, "This question was not recorded.", param="message")
        return plan_stream([*asked, *records.values()][0], self._speed)


def replay_transport(
    *records: RunRecord, speed: float = 0.0, is_strict: bool = False
) -> MockTransport:
    """Return an httpx transport that answers as the models of stored runs did, by default at once.

    For tests: `httpx.AsyncClient(transport=replay_transport(record))`.
    """
    return MockTransport(ReplayServer(records, speed=speed, is_strict=is_strict))


def _list_models(records: Mapping[str, RunRecord]) -> Plan:
    names = list_models([*records.values()])
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "replay"} for name in names]
    return json_plan(200, {"object": "list", "data": models})


def _refuse(allowed: str) -> Plan:
    return error_plan(405, f"Only {allowed} is allowed here.", ("allow", allowed))


def _read_text(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    texts = (each.get("text") if isinstance(each, dict) else each for each in parts)
    return "".join(each for each in texts if isinstance(each, str))
