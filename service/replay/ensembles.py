"""The ensembles file with which a service repeats a run at a replay server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from pydantic import BaseModel

from service.ensembles.tables import AgentTable, EnsembleTable
from service.replay.document import ReplayError, RunRecord
from service.replay.order import INSTANCE

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AGENT_KEYS = (
    "model", "provider", "prompt", "temperature", "top_p", "max_tokens", "context_tokens", "stream",
    "stream_options", "first_token_timeout_s", "idle_timeout_s", "timeout_s", "retries",
    "fallbacks", "extra_body", "content_parts", "think_tags", "continues_by",
)  # fmt: skip
_ROLES = ("combiner", "judge", "chair")
_ENSEMBLE_KEYS = (
    "strategy", "analyse", "provenance", "tools_policy", "min_answers", "straggler_grace_s",
    "straggler_max_s", "timeout_s", "max_cost_usd", "seed",
)  # fmt: skip
_SINGLE = "replay"  # the ensemble of a run that asked one agent, as agent/<name>


class _Layout(msgspec.Struct):
    """The agents of an exported ensemble by their places."""

    layers: list[list[dict[str, Any]]] | None = None
    agents: list[dict[str, Any]] | None = None
    combiner: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None
    chair: dict[str, Any] | None = None


def write_ensembles(record: RunRecord, url: str) -> str:
    """Return the text of `ensembles.toml` for a run; `url` is that of the server, without /v1.

    Each agent has an address of its own, so that agents with the same model get their own answers.
    Raises ReplayError for a document without its ensemble.
    """
    config = record.ensemble
    layout = _read_layout(record)
    layers = layout.layers or [layout.agents or []]
    members = [agent for layer in layers for agent in layer]
    roles = {role: agent for role in _ROLES if (agent := getattr(layout, role))}
    tables = {_base_name(agent): agent for agent in (*members, *roles.values())}
    name = str(config.get("name", ""))
    name = name if _NAME.fullmatch(name) else _SINGLE
    if not members or not all(map(_NAME.fullmatch, tables)):
        raise ReplayError(f"{record.run_id}: the document has no usable ensemble.")
    address = f"{url}/runs/{quote(record.run_id)}"
    lines = [f"default = {_write(name)}", ""]
    for agent, fields in tables.items():
        lines += [
            f"[agents.{_write(agent)}]",
            f"base_url = {_write(f'{address}/agents/{quote(agent)}/v1')}",
        ]
        given = _select_changed(AgentTable, {key: fields.get(key) for key in _AGENT_KEYS})
        lines += [*_write_fields(given), ""]
    lines += [f"[ensembles.{_write(name)}]"]
    names = [[_base_name(agent) for agent in layer] for layer in layers]
    lines.append(f"layers = {_write(names)}" if len(names) > 1 else f"agents = {_write(names[0])}")
    chosen = _select_changed(EnsembleTable, {key: config.get(key) for key in _ENSEMBLE_KEYS})
    if chosen.get("straggler_grace_s"):  # not "auto", the default, which alone has a longest wait
        chosen.pop("straggler_max_s", None)
    chosen |= {role: _base_name(agent) for role, agent in roles.items()}
    chosen["continue"] = config.get("continues")
    chosen["seed"] = config.get("seed") or record.run_id
    lines += [*_write_fields(chosen), ""]
    for model, price in record.prices.items():
        lines += [f"[prices.{_write(model)}]", *_write_fields(price), ""]
    return "\n".join(lines)


def _read_layout(record: RunRecord) -> _Layout:
    try:
        return msgspec.convert(record.ensemble, _Layout)
    except msgspec.ValidationError as error:
        raise ReplayError(
            f"{record.run_id}: the document has no usable ensemble: {error}."
        ) from error


def _select_changed(table: type[BaseModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that differ from the defaults of a table: some strategies refuse others."""
    defaults = {name: each.default for name, each in table.model_fields.items()}
    return {name: each for name, each in fields.items() if each != defaults.get(name)}


def _base_name(agent: Mapping[str, Any]) -> str:
    return str(agent.get("name", "")).partition(INSTANCE)[0]


def _write_fields(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if value is not None:
            yield f"{name} = {_write(value)}"


def _write(value: Any) -> str:
    """Return a value as TOML, whose strings are those of JSON but for DEL."""
    if isinstance(value, Mapping):
        items = ((key, each) for key, each in value.items() if each is not None)
        return "{" + ", ".join(f"{_write(str(key))} = {_write(each)}" for key, each in items) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_write(each) for each in value if each is not None) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
