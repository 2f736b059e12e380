"""Settings, read from the environment and then `.env`. `.env.example` documents each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from service.base_url import parse_base_url
from service.settings.access import AccessSettings
from service.settings.database import DatabaseSettings
from service.settings.limits import LimitSettings
from service.settings.pages import WebPageSettings

OPENAI_URL = "https://api.openai.com/v1"
GROQ_URL = "https://api.groq.com/openai/v1"
ENCODING = "utf-8-sig"  # editors on Windows write a byte order mark


class Settings(AccessSettings, DatabaseSettings, LimitSettings, WebPageSettings):
    """All settings with their defaults. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        env_file_encoding=ENCODING,
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

    spool_dir: Path = Path("data/spool")
    lease_s: float = Field(default=15, ge=1, le=600)
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

    @model_validator(mode="after")
    def _address_is_readable(self) -> Settings:
        _ = self.address
        return self

    @property
    def address(self) -> tuple[str, int]:
        """The host ("" for all interfaces) and the port to listen on."""
        host, _, port = self.http_addr.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError("HTTP_ADDR: must look like ':8080' or 'host:8080'")
        return (
            self.host if self.host is not None else host.strip("[]"),
            self.port if self.port is not None else int(port),
        )

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
