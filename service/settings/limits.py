"""The settings of limits, and of the proxies that report the address of a client."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from service.access.addresses import TrustedProxies

_WINDOW_S = 60.0


class LimitSettings(BaseSettings):
    """The settings of limits. `service.settings.Settings` extends it."""

    limits_file: Path = Path("limits.toml")
    rate_limit_enabled: bool = True
    rate_limit_requests: int | None = Field(default=None, ge=1, le=1_000_000)
    rate_limit_window_seconds: float | None = Field(default=None, ge=1, le=86_400)
    trusted_proxies: str = ""

    @field_validator("trusted_proxies")
    @classmethod
    def _lists_networks(cls, value: str) -> str:
        try:
            TrustedProxies(value)
        except ValueError as error:
            raise ValueError(
                f"must list addresses and networks such as 10.0.0.0/8: {error}"
            ) from None
        return value

    @model_validator(mode="after")
    def _window_has_requests(self) -> LimitSettings:
        if self.rate_limit_window_seconds and not self.rate_limit_requests:
            raise ValueError(
                "RATE_LIMIT_WINDOW_SECONDS: has no effect without RATE_LIMIT_REQUESTS. Set both, "
                "or remove it"
            )
        return self

    @property
    def rate_limit_window_s(self) -> float:
        """The window of RATE_LIMIT_REQUESTS: a minute, unless it is set."""
        return self.rate_limit_window_seconds or _WINDOW_S
