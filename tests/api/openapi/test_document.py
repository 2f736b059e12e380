"""The OpenAPI document and its page, generated from the declarations of the routes."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from quart import Quart
from typing_extensions import TypedDict, get_type_hints

from service.access.scopes import RouteScope
from service.api.chat import chat
from service.api.http.body import Body, Text
from service.api.http.query import PAGE, ChoiceParam
from service.api.openai import turns
from service.api.openapi.docs_page import mark_code, render, type_of
from service.api.openapi.document import document
from service.api.openapi.operation import (
    EVENTS,
    IDEMPOTENCY_KEY,
    LINES,
    Operation,
    ResponseSpec,
    Tag,
)
from service.api.runs.event_json import fields_of
from service.api.runs.schemas import RunEvent
from service.events import AgentDelta, AnswerDelta, Event
from tests._support.runs.event_samples import SAMPLES


class Asked(Body):
    """A question."""

    question: Text
    stream: bool = False


class Said(TypedDict):
    """An answer."""

    text: str


def _described(method: str, address: str, operation: Operation) -> dict[str, Any]:
    app = Quart("test", static_folder=None)

    @operation
    async def handler() -> str:
        return ""

    app.add_url_rule(address, "handler", handler, methods=[method])
    return document(app)


def _answers(operation: Operation, method: str = "POST", address: str = "/x") -> dict[str, Any]:
    described = _described(method, address, operation)
    (path,) = described["paths"].values()
    answers: dict[str, Any] = path[method.lower()]["responses"]
    return answers


WHOLE = ResponseSpec("It.", Said)


def test_a_route_that_says_nothing_of_itself_is_noticed() -> None:
    app = Quart("test", static_folder=None)

    @app.get("/silent")
    async def silent() -> str:
        return ""

    with pytest.raises(LookupError, match="/silent"):
        document(app)


def test_a_handler_stays_what_it_was() -> None:
    async def handler() -> None: ...

    assert Operation("It", tag=Tag.ASK, scope="read", answers=())(handler) is handler


def test_a_body_brings_the_errors_that_a_body_can_have() -> None:
    answers = _answers(Operation("Ask", tag=Tag.ASK, scope="read", body=Asked, answers=(WHOLE,)))
    assert list(answers) == [
        *("200", "400", "401", "403", "408", "413", "415", "421", "429", "500", "503")
    ]


def test_a_route_that_asks_models_may_exceed_a_budget() -> None:
    asking = Operation("Ask", tag=Tag.ASK, scope="run", body=Asked, answers=(WHOLE,), use="run")
    assert "402" in _answers(asking)


def test_an_idempotency_key_brings_its_error() -> None:
    asking = Operation(
        "Ask",
        tag=Tag.ASK,
        scope="read",
        body=Asked,
        parameters=(IDEMPOTENCY_KEY,),
        answers=(WHOLE,),
    )
    assert "422" in _answers(asking)


def test_an_id_in_the_address_may_be_of_nothing() -> None:
    answers = _answers(
        Operation("Look", tag=Tag.RUNS, scope="read", answers=(WHOLE,)), "GET", "/x/<run_id>"
    )
    assert list(answers) == ["200", "401", "403", "404", "421", "429", "500", "503"]


def test_an_address_that_takes_nothing_has_no_errors_of_the_store() -> None:
    look = Operation("Look", tag=Tag.OPERATIONS, scope="public", answers=(WHOLE,))
    assert list(_answers(look, "GET")) == ["200", "421", "500"]


def test_an_address_states_the_scope_that_it_needs() -> None:
    def security(scope: RouteScope) -> Any:
        look = Operation("Look", tag=Tag.RUNS, scope=scope, answers=(WHOLE,))
        return _described("GET", "/x", look)["paths"]["/x"]["get"]["security"]

    assert security("public") == []
    assert security("authenticated") == [{"bearer": []}, {"apiKey": []}, {}]
    assert security("run") == [{"bearer": ["run"]}, {"apiKey": ["run"]}, {}]


def test_a_status_without_words_is_noticed() -> None:
    with pytest.raises(LookupError, match="418"):
        _answers(Operation("Brew", tag=Tag.ASK, scope="read", answers=(WHOLE,), errors=(418,)))


@pytest.mark.parametrize(("address", "shape"), [("/x", "Error500"), ("/v1/x", "OpenAIError500")])
def test_errors_have_the_shape_that_the_clients_of_an_address_know(
    address: str, shape: str
) -> None:
    answers = _answers(
        Operation("Ask", tag=Tag.ASK, scope="read", answers=(WHOLE,)), address=address
    )
    assert answers["500"] == {"$ref": f"#/components/responses/{shape}"}


def test_variables_of_an_address_are_parameters() -> None:
    looking = Operation("Look", tag=Tag.RUNS, scope="read", answers=(WHOLE,))
    described = _described("GET", "/models/<path:model>", looking)
    (variable, _) = described["paths"]["/models/{model}"]["get"]["parameters"]
    assert variable["name"] == "model"
    assert variable["in"] == "path"
    assert variable["required"] is True


def test_what_a_parameter_takes_is_what_it_checks() -> None:
    kind = ChoiceParam("kind", "Which.", ("a", "b"), "a")
    listing = Operation(
        "List", tag=Tag.RUNS, scope="read", parameters=(*PAGE, kind), answers=(WHOLE,)
    )
    limit, offset, which, _ = _described("GET", "/x", listing)["paths"]["/x"]["get"]["parameters"]
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}
    assert offset["schema"]["minimum"] == 0
    assert which["schema"]["enum"] == ["a", "b"]


def test_forms_of_one_answer_are_its_media_types() -> None:
    forms = (
        WHOLE,
        ResponseSpec("Its events.", Said, media=EVENTS),
        ResponseSpec("Lines.", Said, media=LINES),
    )
    good = _answers(Operation("Ask", tag=Tag.ASK, scope="read", answers=forms))["200"]
    assert list(good["content"]) == ["application/json", EVENTS, LINES]
    assert good["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Said"}
    assert good["content"][LINES]["x-itemSchema"] == {"$ref": "#/components/schemas/Said"}


def test_the_schema_of_an_event_stream_is_that_of_an_event() -> None:
    stream = ResponseSpec("Events.", Said, media=EVENTS, closing="[DONE]")
    good = _answers(Operation("Ask", tag=Tag.ASK, scope="read", answers=(stream,)))["200"]
    data = good["content"][EVENTS]["schema"]["properties"]["data"]
    assert data["anyOf"][0] == {"const": "[DONE]"}
    assert data["anyOf"][1]["contentSchema"] == {"$ref": "#/components/schemas/Said"}


def test_a_body_is_described_by_the_model_that_checks_it() -> None:
    asking = Operation("Ask", tag=Tag.ASK, scope="read", body=Asked, answers=(WHOLE,))
    shape = _described("POST", "/x", asking)["components"]["schemas"]["Asked"]
    assert shape["required"] == ["question"]
    assert shape["additionalProperties"] is False
    assert shape["properties"]["stream"]["default"] is False


def test_only_errors_that_a_route_can_have_are_described() -> None:
    described = _described(
        "GET", "/x", Operation("Look", tag=Tag.RUNS, scope="read", answers=(WHOLE,))
    )
    assert list(described["components"]["responses"]) == [
        "Error401",
        "Error403",
        "Error421",
        "Error429",
        "Error500",
    ]


def test_what_is_not_markup_is_none_on_the_page() -> None:
    said = Operation("<b>Ask</b> `<x>`", tag=Tag.ASK, scope="read", answers=(WHOLE,))
    html = render(_described("GET", "/x", said)).html
    assert "<b>Ask</b>" not in html
    assert mark_code("<i>`a<b`") == "&lt;i&gt;<code>a&lt;b</code>"


def test_the_page_runs_nothing_but_its_own_script() -> None:
    policy = render(
        _described("GET", "/x", Operation("Look", tag=Tag.RUNS, scope="read", answers=(WHOLE,)))
    ).policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer, from 1 to 9"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": "array", "items": {"$ref": "#/x/Y"}}, 'list of <a href="#shape-Y">Y</a>'),
        ({"enum": ["<a>"]}, "<code>&lt;a&gt;</code>"),
        ({"const": "[DONE]"}, "<code>&#34;[DONE]&#34;</code>"),
        ({}, "anything"),
    ],
)
def test_a_type_is_shown_in_a_few_words(schema: dict[str, Any], shown: str) -> None:
    assert type_of(schema) == shown


def test_a_renamed_class_keeps_its_component_name() -> None:
    answers = tuple(ResponseSpec("It.", each) for each in (chat.ChatTurn, turns.CompletionTurn))
    asked = Operation("Ask", tag=Tag.ASK, scope="read", answers=answers)
    shapes = _described("GET", "/x", asked)["components"]["schemas"]
    assert {"chat.Turn", "openai_request.Turn"} <= set(shapes)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_every_event_has_its_type_and_its_fields_in_the_schema(event: Event) -> None:
    fields = get_type_hints(RunEvent)
    assert event.type in get_args(fields["type"])
    if not isinstance(event, AgentDelta | AnswerDelta):  # these are written without a dictionary
        assert set(fields_of(1, event)) <= set(fields)
