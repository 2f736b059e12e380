"""Parses `limits.toml`, and the limits that are stored with a user or a key. No I/O."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from service.ensembles.toml_lines import line_of, load_tables, syntax_fault
from service.limits.rules import RESERVED, Rule, Rules
from service.limits.tables import AllowanceTable, LimitsTable, MatchTable, RuleTable


class LimitsError(Exception):
    """Limits are invalid. Each line of the message has the form `file:line: key: reason`."""


def parse_rules(text: str, *, source: str) -> Rules:
    """Return the rules of TOML text; `source` names the file in errors.

    Raises LimitsError with the line and the reason of each fault.
    """
    try:
        tables = load_tables(text)
        file = LimitsTable.model_validate(tables)
    except tomllib.TOMLDecodeError as error:
        line, reason = syntax_fault(error, text)
        raise LimitsError(f"{source}:{line}: {reason}") from error
    except ValidationError as error:
        raise LimitsError("\n".join(_describe_faults(error, text, source))) from error
    names = _name_rules(file.rules)
    for index, table in enumerate(file.rules):
        if table.name and (table.name in RESERVED or names.index(table.name) < index):
            line = line_of(text, ("rules", index, "name"))
            reason = "is reserved" if table.name in RESERVED else "is the name of two rules"
            raise LimitsError(f"{source}:{line}: rules.{index}.name: {table.name!r} {reason}")
    pairs = zip(names, file.rules, strict=True)
    return Rules([Rule(name, table.match, table) for name, table in pairs])


def parse_allowance(limits: Mapping[str, Any]) -> AllowanceTable:
    """Return the limits of a user or a key: `requests`, `burst`, `streams`, `tokens`, `cost_usd`.

    Raises LimitsError with a line `key: reason` for each fault.
    """
    try:
        return AllowanceTable.model_validate(dict(limits))
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'limits'}: {_reword(fault['msg'])}"
            for fault in error.errors()
        )
        raise LimitsError("\n".join(faults)) from error


def _name_rules(rules: Sequence[RuleTable]) -> list[str]:
    """Return a name for each rule: its own, or the words of its match, each once."""
    names: list[str] = []
    for rule in rules:
        name = rule.name or _describe_match(rule.match)
        number = 1
        while not rule.name and (name in names or name in RESERVED):
            number += 1
            name = f"{_describe_match(rule.match)}-{number}"
        names.append(name)
    return names


def _describe_match(match: MatchTable) -> str:
    words = [
        f"{key}={','.join(map(str, values))}"
        for key, values in match.model_dump().items()
        if values
    ]
    return " ".join(words) or "everyone"


def _describe_faults(error: ValidationError, text: str, source: str) -> Iterator[str]:
    for fault in error.errors():
        where = tuple(fault["loc"])
        line = line_of(text, where)
        yield f"{source}:{line}: {'.'.join(map(str, where)) or 'file'}: {_reword(fault['msg'])}"


def _reword(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return {
        "Extra inputs are not permitted": "this key is not known",
        "Field required": "this key is missing",
    }.get(message, message[:1].lower() + message[1:])
