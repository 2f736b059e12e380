"""Refusals of a request's form in the wordings of many servers, and their corrections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain import Message
from service.ensembles.agents import AgentDefaults, build_agent
from service.ensembles.tables import AgentTable
from service.llm.failures import make_status_error, make_stream_error
from service.llm.requests.rules import Correction, RequestRules, choose_rules, find_correction

USUAL = RequestRules()
FIELDS: dict[str, Any] = {
    "stream": True,
    "max_tokens": 100,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 3,
    "top_k": 5,
    "response_format": {"type": "json_object"},
    "tools": [{}],
    "stop": ["x"],
}
MESSAGES = [Message("system", "Be brief."), Message("user", "Hi")]


def _correct(
    body: object, status: int = 400, rules: RequestRules = USUAL, **fields: Any
) -> Correction | None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = make_status_error(status, {}, content, "model")
    return find_correction(error, rules, fields or FIELDS, MESSAGES)


# The body of each server, and the parameter that it refuses.
REFUSALS: list[tuple[object, str]] = [
    ({"error": {"message": "Unsupported value: 'temperature' does not support 0.5 with this model. "
                "Only the default (1) value is supported.", "param": "temperature",
                "code": "unsupported_value"}}, "temperature"),
    ({"error": {"message": "Unsupported parameter: 'top_p' is not supported with this model."}},
     "top_p"),
    ({"error": {"message": "Unrecognized request argument supplied: stream_options"}},
     "stream_options"),
    ({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"],
                  "msg": "Extra inputs are not permitted"}]}, "stream_options"),
    ({"detail": [{"loc": ["body", "stream_options", "include_usage"], "msg": "extra fields not "
                  "permitted"}]}, "stream_options"),
    ({"object": "error", "message": {"detail": [
        {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not "
         "permitted"}]}}, "seed"),
    ([{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"seed\": "
                 "Cannot find field.", "status": "INVALID_ARGUMENT"}}], "seed"),
    ({"error": {"message": "litellm.UnsupportedParamsError: openai does not support parameters: "
                "['temperature'], for model=gpt-5"}}, "temperature"),
    ({"error": "json: unknown field \"top_k\""}, "top_k"),
    ({"message": "property 'top_k' is unsupported"}, "top_k"),
    ({"error": {"message": "`temperature` is deprecated for this model."}}, "temperature"),
    ({"error": {"message": "`temperature` and `top_p` cannot both be specified for this model. "
                "Please use only one."}}, "top_p"),
    ({"error": {"message": "Input should be less than or equal to 0.4", "param": "temperature"}},
     "temperature"),
    ({"title": "One or more validation errors occurred.", "errors": {"seed": ["Not allowed."]}},
     "seed"),
    ({"error": {"message": "invalid temperature: only 1 is allowed"}}, "temperature"),
    ({"error": {"message": "Invalid 'temperature': must be 1"}}, "temperature"),
    ({"error": "Argument not supported on this model: topK", "code": "invalid argument"}, "top_k"),
    ({"error": {"message": "Please do not send stream_options."}}, "stream_options"),
    ({"error": {"message": "Stream options are not supported."}}, "stream_options"),
    ({"error": {"message": "include_usage is not supported"}}, "stream_options"),
    ({"error": {"message": "Top-P is not available for this model"}}, "top_p"),
    ({"error": {"message": "Remove temperature from the request and try again"}}, "temperature"),
    ({"error": {"message": "模型不支持 temperature 参数"}}, "temperature"),
    ({"error": {"message": "Additional properties are not allowed ('seed' was unexpected)"}},
     "seed"),
    ({"errors": [{"field": "top_p", "message": "is invalid"}]}, "top_p"),
    (b"Failed to deserialize the JSON body: unknown field `stream_options`, expected `model`",
     "stream_options"),
    ({"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(
        {"error": {"message": "Unsupported parameter: 'top_k'", "param": "top_k"}})}}}, "top_k"),
]  # fmt: skip


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(("body", "name"), REFUSALS)
def test_a_refused_parameter_is_left_out(body: object, name: str, status: int) -> None:
    found = _correct(body, status)
    assert found is not None
    assert found.rules.left_out == {name}
    assert found.change == f"without {name}"


def test_a_refusal_of_penalties_names_none_of_them() -> None:
    body = {"error": {"message": "Penalty is not enabled for models/gemini-2.5-flash-lite"}}
    found = _correct(body, presence_penalty=0.1, temperature=0.5)
    assert found is not None
    assert found.rules.left_out == {"presence_penalty"}


def test_a_refusal_within_a_stream_is_corrected_too() -> None:
    error = make_stream_error({"message": "Unsupported parameter: 'top_p'"}, "model")
    found = find_correction(error, USUAL, FIELDS, MESSAGES)
    assert found is not None
    assert found.rules.left_out == {"top_p"}


def test_an_unexpected_argument_is_corrected_also_with_status_500() -> None:
    body = {"error": "create() got an unexpected keyword argument 'stream_options'"}
    found = _correct(body, 500)
    assert found is not None
    assert found.rules.left_out == {"stream_options"}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this "
                   "model. Use 'max_completion_tokens' instead.", "param": "max_tokens"}},
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]},
    ],
)  # fmt: skip
def test_a_refused_name_of_the_token_limit_is_replaced_by_the_other(body: object) -> None:
    found = _correct(body)
    assert found is not None
    assert found.rules.limit_field == "max_completion_tokens"
    assert found.rules.apply(FIELDS)["max_completion_tokens"] == 100
    assert "max_tokens" not in found.rules.apply(FIELDS)
    assert found.change == "with max_completion_tokens instead of max_tokens"


def test_the_token_limit_is_replaced_in_the_other_direction_too() -> None:
    rules = RequestRules("max_completion_tokens")
    body = {"error": {"message": "Unrecognized request argument: max_completion_tokens"}}
    found = _correct(body, rules=rules, max_completion_tokens=7)
    assert found is not None
    assert found.rules.apply({"max_completion_tokens": 7}) == {"max_tokens": 7}


def test_when_both_names_of_the_limit_are_refused_nothing_is_changed() -> None:
    rules = RequestRules("max_completion_tokens", frozenset({"max_tokens"}))
    body = {"error": {"message": "Unknown argument: max_completion_tokens"}}
    assert _correct(body, rules=rules, max_completion_tokens=7) is None


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Unsupported: 'response_format'", "param": "response_format"}},
        {"error": {"message": "Unsupported parameter: 'stop'", "param": "stop"}},
        {"error": {"message": "`tools` is not supported by this model", "param": "tools"}},
        {"detail": [{"loc": ["body", "stream"], "msg": "Extra inputs are not permitted"}]},
        {"error": {"message": "max_tokens is too large: 100000. This model supports at most 16384 "
                   "completion tokens.", "param": "max_tokens"}},
        {"error": {"message": "The model `seed-1` does not exist", "code": "model_not_found"}},
        {"error": {"message": "Invalid value", "param": "messages[0].content"}},
        {"error": {"message": "Unsupported parameter: 'logit_bias'"}},  # not sent
        {"error": {"message": "Bad request"}},
        b"",
    ],
)  # fmt: skip
def test_other_refusals_are_not_corrected(body: object) -> None:
    assert _correct(body) is None


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_other_statuses_are_not_corrected(status: int) -> None:
    assert _correct({"error": {"message": "Unsupported parameter: 'top_p'"}}, status) is None


def test_a_parameter_that_is_left_out_is_not_corrected_again() -> None:
    rules = RequestRules(left_out=frozenset({"top_p"}))
    assert _correct({"error": {"message": "Unknown: 'top_p'"}}, rules=rules) is None


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_refused_system_role_is_folded_into_the_first_question(status: int) -> None:
    found = _correct({"error": {"message": "System role not supported"}}, status)
    assert found is not None
    assert found.rules.arrange(MESSAGES) == [Message("user", "Be brief.\n\nHi")]


def test_a_refused_order_of_roles_becomes_alternating() -> None:
    body = {"error": {"message": "Conversation roles must alternate user/assistant/user/..."}}
    found = _correct(body, 500)
    assert found is not None
    assert found.rules.alternates


def test_learned_rules_add_to_those_of_the_agent() -> None:
    own = RequestRules("max_completion_tokens", frozenset({"stream_options"}), folds_system=True)
    learned = RequestRules("max_tokens", frozenset({"top_p"}), alternates=True)
    assert own.merge(learned) == RequestRules(
        "max_completion_tokens", frozenset({"stream_options", "top_p"}), True, True
    )
    renamed = RequestRules("max_tokens", frozenset({"max_completion_tokens"}))
    assert own.merge(renamed).limit_field == "max_tokens"


# --- families and settings ---


def _rules(**keys: Any) -> RequestRules:
    defaults = AgentDefaults(model="gpt-4o-mini", base_url="https://models.test/v1", max_tokens=10)
    agent = build_agent("a", AgentTable(**keys), defaults)
    return choose_rules(agent, agent.model)


@pytest.mark.parametrize(
    "model", ["gpt-5-mini", "gpt-5", "openai/gpt-5.1", "o1", "o3-mini", "o4-mini"]
)
def test_reasoning_models_receive_no_sampling_parameters(model: str) -> None:
    rules = _rules(model=model)
    assert {"temperature", "top_p", "presence_penalty", "frequency_penalty"} <= rules.left_out
    assert rules.limit_field == "max_completion_tokens"


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-chat-latest", "gpt-oss-20b", "llama3.2", "o5x"])
def test_other_models_receive_every_parameter(model: str) -> None:
    assert _rules(model=model) == RequestRules()


def test_openai_receives_the_limit_as_max_completion_tokens() -> None:
    assert _rules(base_url="https://api.openai.com/v1").limit_field == "max_completion_tokens"


def test_stream_options_can_be_switched_off() -> None:
    assert _rules(stream_options=False).left_out == {"stream_options"}


def test_models_without_a_system_role_are_known() -> None:
    assert _rules(model="o1-mini").folds_system
