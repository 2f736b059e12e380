"""The settings of authentication, and the contradictions among them that prevent a start."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

_MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: as long as the hash of HS256
_SENDABLE = re.compile(r"[\x21-\x7e]+")

EMPTY_API_KEY = (
    "API_KEY: is empty. Set a key, or remove the setting: otherwise a missing secret would leave "
    "the service open."
)

AuthMode = Literal["off", "required"]
RegistrationMode = Literal["open", "invite", "closed"]


class AccessSettings(BaseSettings):
    """The settings of authentication. `service.settings.Settings` extends it."""

    auth: AuthMode = "off"
    api_key: SecretStr | None = None
    jwt_secret: SecretStr | None = None
    jwt_jwks: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    registration: RegistrationMode | None = None
    session_idle_s: float = Field(default=604_800, gt=0)
    session_lifetime_s: float = Field(default=2_592_000, gt=0)

    @field_validator("auth", "registration", mode="before")
    @classmethod
    def _lower_mode(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SENDABLE.fullmatch(value.get_secret_value()):
            raise ValueError(
                "must be printable ASCII without spaces: clients send it in a header. Remove the "
                "setting to have no static key"
            )
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and "-----BEGIN" in value.get_secret_value():
            raise ValueError("is a PEM key; tokens with public keys need JWT_JWKS")
        if value is not None and len(value.get_secret_value().encode()) < _MIN_SECRET_BYTES:
            raise ValueError(
                f"has less than {_MIN_SECRET_BYTES} bytes, so that tokens could be forged by "
                "trying secrets; `openssl rand -base64 32` makes one"
            )
        return value

    @field_validator("jwt_jwks")
    @classmethod
    def _names_a_file_or_url(cls, value: str | None) -> str | None:
        if value is None or "://" not in value:
            return value
        parts = urlsplit(value)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username is not None
        ):
            raise ValueError("must be a file, or a URL such as https://idp.example.com/jwks.json")
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> AccessSettings:
        if self.auth == "off" and "auth" in self.model_fields_set:
            for name in ("api_key", "jwt_secret", "jwt_jwks"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"AUTH: is off, but {name.upper()} is set. Remove one of the two: with "
                        f"AUTH=off the key would protect nothing"
                    )
        if self.jwt_secret and self.jwt_jwks:
            raise ValueError(
                "JWT_SECRET: JWT_JWKS is set too. Remove one of them: a token is verified with "
                "either a shared secret or public keys"
            )
        for name in ("jwt_issuer", "jwt_audience"):
            is_set = bool(getattr(self, name))
            if self.accepts_tokens and not is_set:
                raise ValueError(
                    f"{name.upper()}: is needed with JWT_SECRET or JWT_JWKS. Without it the "
                    "service would accept tokens that were issued for other services"
                )
            if is_set and not self.accepts_tokens:
                raise ValueError(
                    f"{name.upper()}: has no effect without JWT_SECRET or JWT_JWKS. Set one of "
                    "them, or remove it"
                )
        return self

    @property
    def registration_mode(self) -> RegistrationMode:
        """The value of REGISTRATION: by default open, but only if AUTH itself is required.

        With a static key or tokens alone, users who register would be a second way in.
        """
        return self.registration or ("open" if self.auth == "required" else "closed")

    @property
    def accepts_tokens(self) -> bool:
        """Whether a JWT can be a credential."""
        return bool(self.jwt_secret or self.jwt_jwks)

    @property
    def requires_auth(self) -> bool:
        """Whether every request needs a credential: AUTH, or a setting that only that needs."""
        return self.auth == "required" or bool(self.api_key) or self.accepts_tokens
