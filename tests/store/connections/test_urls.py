"""DATABASE_URL: valid and invalid values, and the protection of the password."""

from __future__ import annotations

import logging
from io import StringIO
from pathlib import Path

import pytest

from service.settings import SettingsError
from service.store.connections.urls import parse_url
from telemetry import configure_logging, redact


def test_a_relative_path_is_relative_to_the_current_folder() -> None:
    address = parse_url("sqlite:///data/service.db")
    assert (address.dialect, address.path) == ("sqlite", Path.cwd() / "data" / "service.db")


def test_a_fourth_slash_makes_the_path_absolute() -> None:
    assert parse_url(" sqlite:////data/service.db\n").path == Path("/data/service.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="needs a file"):
        parse_url(url)


@pytest.mark.parametrize("url", ["sqlite:///a.db?mode=ro", "sqlite://host/a.db"])
def test_a_sqlite_file_has_a_path_only(url: str) -> None:
    with pytest.raises(SettingsError, match="path only"):
        parse_url(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_several_schemes_select_postgresql(scheme: str) -> None:
    address = parse_url(f"{scheme}://user:word%40@host:6543/name")
    assert address.dialect == "postgresql"
    assert address.dsn == "postgresql://user:word%40@host:6543/name"


def test_options_of_libpq_alone_are_removed() -> None:
    url = "postgres://host/name?sslmode=require&connect_timeout=10&channel_binding=require"
    assert parse_url(url).dsn == "postgresql://host/name?sslmode=require"


@pytest.mark.parametrize("url", ["mysql://host/name", "http://host", "redis://host:6379/0"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="must begin with"):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "word-s3cret",
        "postgres://user:word-s3cret@host:port/name",
        "mysql://user:word-s3cret@host/name",
        "sqlite://user:word-s3cret@/x",
    ],
)
def test_no_error_contains_the_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_url(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in repr(error)
        error = error.__cause__ or error.__context__


def test_the_log_redacts_the_password() -> None:
    lines = StringIO()
    configure_logging(level="info", json=True, stream=lines)
    address = parse_url("postgres://user:tr%C3%A8s-s3cret@host/name")
    logging.getLogger("test").warning("connecting to %s, that is %r", address.dsn, address)
    assert "s3cret" not in lines.getvalue()
    assert "très-s3cret" not in redact("très-s3cret")
    assert "s3cret" not in repr(address)


def test_the_identity_of_a_database_does_not_depend_on_the_password() -> None:
    one, two, other = (
        parse_url(f"postgres://{each}").identity
        for each in ("user:a-word@host/name", "user:b-word@host/name", "user:a-word@host/other")
    )
    assert one == two != other
