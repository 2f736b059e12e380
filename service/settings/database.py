"""The settings of the database and of Redis."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


class DatabaseSettings(BaseSettings):
    """The settings of the database and of Redis. `Settings` extends it."""

    database_url: SecretStr | None = None
    postgres_host: str | None = None
    postgres_port: int = Field(default=5432, ge=1, le=65_535)
    postgres_user: str = "postgres"
    postgres_password: SecretStr | None = None
    postgres_db: str = "postgres"
    migrate_on_start: bool | None = None
    store_timeout_s: float = Field(default=4, gt=0)
    redis_url: SecretStr | None = None
    redis_addr: str | None = Field(
        default=None, pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s/:@]+)(:\d{1,5})?$"
    )
    redis_password: SecretStr | None = None

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
