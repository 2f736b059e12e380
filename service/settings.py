"""Settings, read from the environment and then `.env`. `.env.example` documents each."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.base_url import parse_base_url

OPENAI_URL = "https://api.openai.com/v1"
GROQ_URL = "https://api.groq.com/openai/v1"

_ENCODING = "utf-8-sig"  # editors on Windows write a byte order mark
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})

# Settings of related services that this version ignores; start-up warns about them.
WITHOUT_EFFECT = frozenset(
    {
        "API_KEY", "JWT_SECRET", "RATE_LIMIT_ENABLED", "RATE_LIMIT_REQUESTS",
        "RATE_LIMIT_WINDOW_SECONDS",
    }
)  # fmt: skip

# Variables that docker-compose.yml reads from the same `.env`.
FOR_COMPOSE = frozenset(
    {
        "APP_PORT", "GRAFANA_PORT", "JAEGER_PORT", "OTLP_GRPC_PORT", "OTLP_HTTP_PORT",
        "PROMETHEUS_PORT",
    }
)  # fmt: skip


class SettingsError(Exception):
    """A setting is malformed or unknown. Each line of the message names one setting."""


class Settings(BaseSettings):
    """All settings with their defaults. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        env_file_encoding=_ENCODING,
    )

    llm_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    groq_api_key: SecretStr | None = None
    use_llm_mock: bool = True
    llm_base_url: str | None = None
    openai_base_url: str | None = None
    openai_model: str | None = None
    max_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    max_response_bytes: int = Field(default=8_388_608, ge=65_536, le=268_435_456)
    ensembles_file: Path = Path("ensembles.toml")

    http_addr: str = ":8080"
    host: str | None = None
    port: int | None = Field(default=None, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=64)
    max_body_bytes: int = Field(default=262_144, ge=1_024)
    max_media_body_bytes: int = Field(default=8_388_608, ge=1_024)
    body_timeout_s: float = Field(default=20, gt=0)
    send_timeout_s: float = Field(default=30, gt=0)
    keep_alive_s: float = Field(default=15, gt=0)
    drain_s: float = Field(default=20, ge=0)
    allowed_hosts: str = Field(default="", pattern=r"^\s*((\*|[^\s/,:]+)\s*(,\s*|$))*$")
    allowed_origins: str = Field(
        default="",
        pattern=r"^\s*((\*|null|file://|[A-Za-z][\w+.-]*://[^\s/,]+/?)\s*(,\s*|$))*$",
    )

    detach_grace_s: float = Field(default=30, ge=0)
    max_open_runs: int = Field(default=4_000, ge=1)
    run_retention_s: float = Field(default=86_400, ge=0)
    idempotency_ttl_s: float = Field(default=86_400, ge=0)
    max_exchanges: int = Field(default=20, ge=0, le=1_000)

    database_url: SecretStr | None = None
    postgres_host: str | None = None
    postgres_port: int = Field(default=5432, ge=1, le=65_535)
    postgres_user: str = "postgres"
    postgres_password: SecretStr | None = None
    postgres_db: str = "postgres"
    migrate_on_start: bool | None = None
    store_timeout_s: float = Field(default=4, gt=0)
    spool_dir: Path = Path("data/spool")
    lease_s: float = Field(default=15, ge=1, le=600)
    redis_url: SecretStr | None = None
    redis_addr: str | None = Field(
        default=None, pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s/:@]+)(:\d{1,5})?$"
    )
    redis_password: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_json: bool | None = None
    production: bool = False
    trust_traceparent: bool = False
    traceparent_hosts: str = ""

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("llm_base_url", "openai_base_url")
    @classmethod
    def _normalize_address(cls, value: str | None) -> str | None:
        return parse_base_url(value) if value else None

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value()) if value else None
        try:
            readable = parts is None or (parts.scheme in _REDIS_SCHEMES and parts.port != 0)
        except ValueError:
            readable = False
        if not readable:
            raise ValueError("must look like redis://:password@host:6379/0")
        return value

    @model_validator(mode="after")
    def _address_is_readable(self) -> Settings:
        _ = self.address
        return self

    @property
    def address(self) -> tuple[str, int]:
        """The host ("" for all interfaces) and the port to listen on."""
        host, _, port = self.http_addr.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError("must look like ':8080' or 'host:8080'")
        return (
            self.host if self.host is not None else host.strip("[]"),
            self.port if self.port is not None else int(port),
        )

    @property
    def database(self) -> str:
        """The database's URL, with its password if it has one."""
        if self.database_url:
            return self.database_url.get_secret_value()
        if not self.postgres_host:
            return "sqlite:///data/service.db"
        password = self.postgres_password
        login = quote(self.postgres_user, safe="")
        if password:
            login += ":" + quote(password.get_secret_value(), safe="")
        name = quote(self.postgres_db, safe="")
        return f"postgresql://{login}@{self.postgres_host}:{self.postgres_port}/{name}"

    @property
    def migrates_on_start(self) -> bool:
        """Whether `serve` migrates the database: by default only SQLite."""
        if self.migrate_on_start is not None:
            return self.migrate_on_start
        return self.database.startswith("sqlite")

    @property
    def redis(self) -> str | None:
        """Redis' URL, with its password if it has one."""
        if self.redis_url:
            return self.redis_url.get_secret_value()
        if not self.redis_addr:
            return None
        password = self.redis_password
        login = f":{quote(password.get_secret_value(), safe='')}@" if password else ""
        return f"redis://{login}{self.redis_addr}/0"

    @property
    def json_logs(self) -> bool:
        """Whether log lines are JSON: LOG_JSON, by default the value of PRODUCTION."""
        return self.production if self.log_json is None else self.log_json

    @property
    def default_key(self) -> SecretStr | None:
        """The API key of agents without a `key_env`, if their server may receive it."""
        return self.llm_key or self.openai_api_key or self.groq_api_key

    @property
    def _only_groq(self) -> bool:
        # A Groq key must never be sent to another provider's server.
        return bool(self.groq_api_key) and not (self.llm_key or self.openai_api_key)

    @property
    def default_base_url(self) -> str:
        """The address of agents without a `base_url`."""
        if self.llm_base_url:
            return self.llm_base_url
        return GROQ_URL if self._only_groq else (self.openai_base_url or OPENAI_URL)

    @property
    def default_model(self) -> str:
        """The model of agents without a `model`."""
        on_groq = self._only_groq and not self.llm_base_url
        return self.openai_model or ("llama-3.3-70b-versatile" if on_groq else "gpt-4o-mini")


# The proxies of outgoing requests (service/llm/proxies.py); read in lower case too.
PROXY_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})

# The names that are allowed in `.env`, besides OpenTelemetry's and the agents' keys.
KNOWN = {*map(str.upper, Settings.model_fields), *WITHOUT_EFFECT, *FOR_COMPOSE, *PROXY_VARIABLES}


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Return the settings. Raises SettingsError with a line for each malformed one."""
    try:
        return Settings(_env_file=env_file)  # type: ignore[call-arg]  # pydantic-settings' own
    except ValidationError as error:
        raise SettingsError("\n".join(_format_fault(fault) for fault in error.errors())) from error


def read_variables(env_file: Path | None = Path(".env")) -> Mapping[str, str]:
    """Return the variables of `.env` and the environment; the environment takes precedence."""
    from_file = dotenv_values(env_file, encoding=_ENCODING) if env_file else {}
    return {**{key: value for key, value in from_file.items() if value}, **os.environ}


def check_env_file(env_file: Path | None, key_variables: frozenset[str]) -> None:
    """Raise SettingsError for unknown names in `.env`, with the most similar known name.

    `key_variables` are the names in the agents' `key_env`.
    """
    faults = []
    for name in dotenv_values(env_file, encoding=_ENCODING) if env_file else {}:
        if name.upper() in KNOWN or name in key_variables or name.startswith("OTEL_"):
            continue
        near = difflib.get_close_matches(name.upper(), KNOWN, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        faults.append(f"{name} in {env_file}: not a known setting{hint}")
    if faults:
        raise SettingsError("\n".join(faults))


def _format_fault(fault: Mapping[str, object]) -> str:
    where = fault["loc"]
    name = str(where[0]).upper() if isinstance(where, tuple) and where else "HTTP_ADDR"
    return f"{name}: {str(fault['msg']).removeprefix('Value error, ')}"
