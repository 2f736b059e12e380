"""Settings: their sources and defaults, and the errors for malformed or unknown ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import (
    GROQ_URL,
    OPENAI_URL,
    Settings,
    SettingsError,
    check_env_file,
    load_settings,
    read_variables,
)

SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def _settings(env_file: Path, **values: str) -> Settings:
    env_file.write_text("\n".join(f"{name.upper()}={value}" for name, value in values.items()))
    return load_settings(env_file)


def _complaint(env_file: Path, **values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        _settings(env_file, **values)
    return str(caught.value)


# --- where they come from ---


def test_no_setting_is_required(env_file: Path) -> None:
    settings = load_settings(env_file)
    assert (settings.use_llm_mock, settings.address) == (True, ("", 8080))


def test_a_setting_is_read_from_the_file(env_file: Path) -> None:
    assert _settings(env_file, max_tokens="7").max_tokens == 7


def test_the_environment_takes_precedence_over_the_file(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_TOKENS", "9")
    assert _settings(env_file, max_tokens="7").max_tokens == 9


@pytest.mark.parametrize("name", ["llm_base_url", "port", "log_json", "llm_key", "max_tokens"])
def test_an_empty_setting_counts_as_not_set(env_file: Path, name: str) -> None:
    assert _settings(env_file, **{name: ""}) == Settings()


def test_names_are_case_insensitive(env_file: Path) -> None:
    env_file.write_text("max_tokens=7")
    assert load_settings(env_file).max_tokens == 7


# --- malformed ones ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_llm_mock", "perhaps"),
        ("llm_base_url", "ftp://models.test"),
        ("llm_base_url", "models.test/v1"),
        ("openai_base_url", "models.test/v1"),
        ("llm_base_url", "https://user:password@models.test/v1"),
        ("llm_base_url", "https://models.test/v1?key=secret"),
        ("openai_base_url", "https://models.test/v1/responses"),
        ("max_tokens", "0"),
        ("max_tokens", "many"),
        ("port", "65536"),
        ("workers", "0"),
        ("workers", "1.5"),
        ("max_body_bytes", "10"),
        ("body_timeout_s", "0"),
        ("send_timeout_s", "-1"),
        ("keep_alive_s", "0"),
        ("drain_s", "-1"),
        ("detach_grace_s", "soon"),
        ("max_open_runs", "0"),
        ("run_retention_s", "-1"),
        ("idempotency_ttl_s", "-1"),
        ("max_exchanges", "-1"),
        ("postgres_port", "0"),
        ("migrate_on_start", "maybe"),
        ("store_timeout_s", "0"),
        ("redis_url", "http://redis.test"),
        ("redis_url", "redis://redis.test:port"),
        ("redis_addr", "user:secret@redis.test"),
        ("log_level", "loud"),
        ("log_json", "2"),
        ("production", "no way"),
        ("trust_traceparent", "x"),
        ("trace_url", "javascript:alert(1)"),
        ("trace_url", "http:///trace/{trace_id}"),
        ("http_addr", "localhost"),
        ("http_addr", "localhost:"),
        ("http_addr", "localhost:http"),
        ("http_addr", ":65536"),
        ("http_addr", ":-1"),
        ("http_addr", ":²"),
    ],
)
def test_a_malformed_setting_is_named(env_file: Path, name: str, value: str) -> None:
    assert _complaint(env_file, **{name: value}).startswith(f"{name.upper()}: ")


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("http://jaeger.test/trace/{trace_id}?raw", "http://jaeger.test/trace/abc?raw"),
        ("http://jaeger.test/trace/", "http://jaeger.test/trace/abc"),
    ],
)
def test_the_address_of_a_trace_has_its_id(env_file: Path, template: str, url: str) -> None:
    assert _settings(env_file, trace_url=template).find_trace_url("abc") == url
    assert _settings(env_file).find_trace_url("abc") is None


@pytest.mark.parametrize("name", ["drain_s", "keep_alive_s", "detach_grace_s", "run_retention_s"])
def test_a_duration_is_a_number(env_file: Path, name: str) -> None:
    assert _complaint(env_file, **{name: "nan"}).startswith(f"{name.upper()}: ")


def test_every_malformed_setting_has_a_line(env_file: Path) -> None:
    lines = _complaint(env_file, workers="none", log_level="loud", port="x").splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["LOG_LEVEL", "PORT", "WORKERS"]


def test_the_error_of_an_address_shows_the_format(env_file: Path) -> None:
    error = _complaint(env_file, http_addr="nowhere")
    assert error == "HTTP_ADDR: must look like ':8080' or 'host:8080'"


def test_the_malformed_value_is_not_shown(env_file: Path) -> None:
    error = _complaint(env_file, llm_base_url=SECRET, llm_key=SECRET, port=SECRET)
    assert SECRET not in error


def test_settings_do_not_show_their_keys(env_file: Path) -> None:
    settings = _settings(env_file, llm_key=SECRET, openai_api_key=SECRET, groq_api_key=SECRET)
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())


# --- unknown ones ---


def _unknown(env_file: Path, text: str, *keys: str) -> str:
    env_file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        check_env_file(env_file, frozenset(keys))
    return str(caught.value)


def test_an_unknown_name_is_reported_with_the_most_similar_one(env_file: Path) -> None:
    error = _unknown(env_file, "DETACH_GRACE=3")
    assert error == f"DETACH_GRACE in {env_file}: not a known setting; did you mean DETACH_GRACE_S?"


def test_an_unknown_name_similar_to_none_is_reported_without_a_suggestion(env_file: Path) -> None:
    assert _unknown(env_file, "ZZZ=1").endswith("not a known setting")


def test_every_unknown_name_has_a_line(env_file: Path) -> None:
    assert len(_unknown(env_file, "WORKERZ=1\nWORKERS=1\nPORTT=1").splitlines()) == 2


def test_an_unknown_names_value_is_not_shown(env_file: Path) -> None:
    assert SECRET not in _unknown(env_file, f"LLM_KEYY={SECRET}")


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_ANYTHING", "workers"])
def test_names_that_other_programs_read_are_known(env_file: Path, name: str) -> None:
    env_file.write_text(f"{name}=1")
    check_env_file(env_file, frozenset())


def test_variables_that_agents_name_as_key_env_are_known(env_file: Path) -> None:
    env_file.write_text("MY_LAB_KEY=x")
    check_env_file(env_file, frozenset({"MY_LAB_KEY"}))


def test_no_file_has_no_unknown_names(env_file: Path) -> None:
    check_env_file(env_file, frozenset())
    check_env_file(None, frozenset())


# --- variables ---


def test_variables_come_from_the_environment_first_and_then_from_the_file(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("LAB_A=file\nLAB_B=file\nLAB_C=\n")
    monkeypatch.setenv("LAB_A", "environment")
    variables = read_variables(env_file)
    assert (variables["LAB_A"], variables["LAB_B"], "LAB_C" in variables) == (
        "environment",
        "file",
        False,
    )


# --- the address ---


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":9000", ("", 9000)),
        ("9000", ("", 9000)),
        ("localhost:9000", ("localhost", 9000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:9000", ("::1", 9000)),
    ],
)
def test_an_address_is_a_port_or_host_and_port(
    env_file: Path, address: str, expected: tuple[str, int]
) -> None:
    assert _settings(env_file, http_addr=address).address == expected


def test_host_and_port_take_precedence_over_the_address(env_file: Path) -> None:
    settings = _settings(env_file, http_addr="a:1", host="127.0.0.1", port="2")
    assert settings.address == ("127.0.0.1", 2)


def test_a_port_alone_keeps_the_host_of_the_address(env_file: Path) -> None:
    assert _settings(env_file, http_addr="a:1", port="2").address == ("a", 2)


def test_port_zero_is_valid(env_file: Path) -> None:
    assert _settings(env_file, port="0").address == ("", 0)


# --- keys choose the server ---


def test_without_a_key_the_default_server_is_openais(env_file: Path) -> None:
    settings = load_settings(env_file)
    assert (settings.default_base_url, settings.default_model) == (OPENAI_URL, "gpt-4o-mini")
    assert settings.default_key is None


@pytest.mark.parametrize("name", ["llm_key", "openai_api_key", "groq_api_key"])
def test_the_key_may_have_any_of_three_names(env_file: Path, name: str) -> None:
    key = _settings(env_file, **{name: SECRET}).default_key
    assert key is not None
    assert key.get_secret_value() == SECRET


def test_llm_key_takes_precedence_over_the_others(env_file: Path) -> None:
    key = _settings(env_file, llm_key="a", openai_api_key="b", groq_api_key="c").default_key
    assert key is not None
    assert key.get_secret_value() == "a"


def test_a_groq_key_alone_selects_groqs_server_and_model(env_file: Path) -> None:
    settings = _settings(env_file, groq_api_key=SECRET)
    assert settings.default_base_url == GROQ_URL
    assert settings.default_model.startswith("llama")


def test_a_groq_key_beside_another_key_has_no_effect(env_file: Path) -> None:
    settings = _settings(env_file, groq_api_key=SECRET, openai_api_key=SECRET)
    assert (settings.default_base_url, settings.default_model) == (OPENAI_URL, "gpt-4o-mini")


def test_a_configured_address_and_model_take_precedence(env_file: Path) -> None:
    settings = _settings(
        env_file, groq_api_key=SECRET, llm_base_url="http://lab.test/v1", openai_model="m"
    )
    assert (settings.default_base_url, settings.default_model) == ("http://lab.test/v1", "m")


def test_openais_variable_for_the_address_is_honoured(env_file: Path) -> None:
    settings = _settings(env_file, openai_base_url="http://gate.test/v1/", openai_api_key=SECRET)
    assert settings.default_base_url == "http://gate.test/v1"


def test_llm_base_url_takes_precedence_over_openais_variable(env_file: Path) -> None:
    settings = _settings(env_file, openai_base_url="http://a.test", llm_base_url="http://b.test")
    assert settings.default_base_url == "http://b.test"


def test_the_file_may_have_a_byte_order_mark_and_windows_line_ends(env_file: Path) -> None:
    env_file.write_bytes(b"\xef\xbb\xbfMAX_TOKENS=7\r\nWORKERS=2\r\n")
    settings = load_settings(env_file)
    assert (settings.max_tokens, settings.workers) == (7, 2)
    assert read_variables(env_file)["MAX_TOKENS"] == "7"
    check_env_file(env_file, frozenset())


# --- logs ---


@pytest.mark.parametrize(
    ("values", "json"),
    [
        ({}, False),
        ({"production": "true"}, True),
        ({"production": "true", "log_json": "false"}, False),
        ({"log_json": "true"}, True),
    ],
)
def test_logs_are_json_in_production_unless_configured(
    env_file: Path, values: dict[str, str], json: bool
) -> None:
    assert _settings(env_file, **values).json_logs is json


def test_a_log_level_may_be_in_upper_case(env_file: Path) -> None:
    assert _settings(env_file, log_level="WARNING").log_level == "warning"


# --- the database and Redis ---


def test_the_default_database_is_a_file(env_file: Path) -> None:
    assert _settings(env_file).database == "sqlite:///data/service.db"
    assert _settings(env_file).migrates_on_start


def test_special_characters_in_postgres_variables_are_quoted_in_the_url(env_file: Path) -> None:
    settings = _settings(
        env_file,
        postgres_host="db",
        postgres_user="me",
        postgres_password="p@ss/w:rd",
        postgres_db="a b",
    )
    assert settings.database == "postgresql://me:p%40ss%2Fw%3Ard@db:5432/a%20b"
    assert not settings.migrates_on_start


def test_database_url_takes_precedence(env_file: Path) -> None:
    settings = _settings(env_file, postgres_host="db", database_url="sqlite:///here.db")
    assert settings.database == "sqlite:///here.db"


def test_redis_is_a_url_or_an_address_with_a_password(env_file: Path) -> None:
    assert _settings(env_file).redis is None
    assert _settings(env_file, redis_addr="r:6380").redis == "redis://r:6380/0"
    both = _settings(env_file, redis_addr="r:6380", redis_password="p@ss")
    assert both.redis == "redis://:p%40ss@r:6380/0"
    assert _settings(env_file, redis_url="redis://u/3", redis_addr="r").redis == "redis://u/3"


# --- authentication ---

TOKENS = {"jwt_secret": "s" * 32, "jwt_issuer": "https://idp.test", "jwt_audience": "llm-sse"}


@pytest.mark.parametrize(
    ("values", "required"),
    [
        ({}, False),
        ({"auth": "off"}, False),
        ({"auth": "Required"}, True),
        ({"api_key": "a-static-key"}, True),
        (TOKENS, True),
        ({**TOKENS, "jwt_secret": "", "jwt_jwks": "/etc/jwks.json"}, True),
    ],
)
def test_a_key_or_tokens_set_auth_to_required(
    env_file: Path, values: dict[str, str], required: bool
) -> None:
    assert _settings(env_file, **values).requires_auth is required


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"auth": "on"}, "AUTH", "'off' or 'required'"),
        ({"auth": "off", "api_key": "a-static-key"}, "AUTH", "API_KEY is set"),
        ({**TOKENS, "auth": "off"}, "AUTH", "JWT_SECRET is set"),
        ({"api_key": ""}, "API_KEY", "is empty"),
        ({"api_key": "'  '"}, "API_KEY", "printable ASCII"),
        ({"api_key": "'two words'"}, "API_KEY", "printable ASCII"),
        ({"api_key": "clé-secrète"}, "API_KEY", "printable ASCII"),
        ({**TOKENS, "jwt_secret": "s" * 31}, "JWT_SECRET", "less than 32 bytes"),
        ({**TOKENS, "jwt_secret": "-----BEGIN PUBLIC KEY-----"}, "JWT_SECRET", "is a PEM key"),
        ({**TOKENS, "jwt_jwks": "jwks.json"}, "JWT_SECRET", "JWT_JWKS is set too"),
        ({**TOKENS, "jwt_issuer": ""}, "JWT_ISSUER", "is needed"),
        ({**TOKENS, "jwt_audience": ""}, "JWT_AUDIENCE", "is needed"),
        ({"jwt_issuer": "https://idp.test"}, "JWT_ISSUER", "has no effect"),
        ({**TOKENS, "jwt_secret": "", "jwt_jwks": "ftp://idp.test/keys"}, "JWT_JWKS", "a URL"),
        ({**TOKENS, "jwt_secret": "", "jwt_jwks": "https://u:p@idp.test"}, "JWT_JWKS", "a URL"),
    ],
)
def test_contradictory_and_dangerous_settings_of_authentication_are_refused(
    env_file: Path, values: dict[str, str], name: str, words: str
) -> None:
    complaint = _complaint(env_file, **values)
    assert complaint.startswith(f"{name}: ")
    assert words in complaint
    for secret in ("a-static-key", "s" * 31):
        assert secret not in complaint
