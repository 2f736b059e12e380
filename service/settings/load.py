"""Reading of the environment and of `.env`, and errors for malformed or unknown settings."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from service.settings.access import EMPTY_API_KEY
from service.settings.settings import ENCODING, Settings

# Variables that docker-compose.yml reads from the same `.env`.
FOR_COMPOSE = frozenset(
    {
        "APP_PORT", "GRAFANA_PORT", "JAEGER_PORT", "OTLP_GRPC_PORT", "OTLP_HTTP_PORT",
        "PROMETHEUS_PORT",
    }
)  # fmt: skip


class SettingsError(Exception):
    """A setting is malformed or unknown. Each line of the message names one setting."""


# The proxies of outgoing requests (service/llm/proxies.py); read in lower case too.
PROXY_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})

# The names that are allowed in `.env`, besides OpenTelemetry's and the agents' keys.
KNOWN = {*map(str.upper, Settings.model_fields), *FOR_COMPOSE, *PROXY_VARIABLES}


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Return the settings. Raises SettingsError with a line for each malformed one."""
    try:
        settings = Settings(_env_file=env_file)  # type: ignore[call-arg]  # pydantic-settings' own
    except ValidationError as error:
        raise SettingsError("\n".join(_format_fault(fault) for fault in error.errors())) from error
    names = {name.upper() for name in (*os.environ, *_read_file(env_file))}
    if settings.api_key is None and "API_KEY" in names:
        raise SettingsError(EMPTY_API_KEY)
    return settings


def read_variables(env_file: Path | None = Path(".env")) -> Mapping[str, str]:
    """Return the variables of `.env` and the environment; the environment takes precedence."""
    from_file = {key: value for key, value in _read_file(env_file).items() if value}
    return {**from_file, **os.environ}


def check_env_file(env_file: Path | None, key_variables: frozenset[str]) -> None:
    """Raise SettingsError for unknown names in `.env`, with the most similar known name.

    `key_variables` are the names in the agents' `key_env`.
    """
    faults = []
    for name in _read_file(env_file):
        if name.upper() in KNOWN or name in key_variables or name.startswith("OTEL_"):
            continue
        near = difflib.get_close_matches(name.upper(), KNOWN, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        faults.append(f"{name} in {env_file}: not a known setting{hint}")
    if faults:
        raise SettingsError("\n".join(faults))


def _read_file(env_file: Path | None) -> Mapping[str, str | None]:
    return dotenv_values(env_file, encoding=ENCODING) if env_file else {}


def _format_fault(fault: Mapping[str, object]) -> str:
    where, message = fault["loc"], str(fault["msg"]).removeprefix("Value error, ")
    # A fault of several settings together names them itself.
    return f"{str(where[0]).upper()}: {message}" if isinstance(where, tuple) and where else message
